"""Benchmark of the whole protocol: nine dimensions of one model against plain loops. It needs ../shared."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import SHARED, Figures, Row, alternate, in_process
from benchmarks.photographs import LITE, Clock, repeated

N_PROTOCOL = 48

PROTOCOL = """
import sys, time, importlib.util, json
import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
file, root, cells, n_clean = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), 8
spec = importlib.util.spec_from_file_location("models", file)
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)
torch.set_num_threads(2)
net, config = models.lite0()
net = net.eval()
steps = v2.Compose([v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(224), v2.PILToTensor(),
                    v2.ToDtype(torch.float32, scale=True)])
def normal(x): return (x - 0.5) / 0.5
passes = 0
def loop(root, attack=None):
    global passes
    for images, labels in torch.utils.data.DataLoader(ImageFolder(root, steps), batch_size=32, num_workers=2):
        passes += len(images)
        if attack: images = attack(images, labels)
        with torch.inference_mode(): net(normal(images))
def climb(x, y, size):
    x = x.detach().requires_grad_()
    torch.nn.functional.cross_entropy(net(normal(x)), y).backward()
    return (x + size * x.grad.sign()).detach().clamp(0, 1)
def fgsm(x, y): return climb(x, y, 8 / 255)
def pgd(x, y):
    z = (x + torch.empty_like(x).uniform_(-8 / 255, 8 / 255)).clamp(0, 1)
    for _ in range(10): z = torch.max(torch.min(climb(z, y, 2 / 255), x + 8 / 255), x - 8 / 255)
    return z
started = time.perf_counter()
# Accuracy, two attacks' clean accuracy, ECE, ACE, class balance, object focus, OOD: each passes the clean set.
for _ in range(n_clean): loop(root)
loop(root, fgsm); loop(root, pgd)
for cell in cells: loop(cell)
RESULT = {"seconds": time.perf_counter() - started, "passes": passes}
"""


def protocol(folder: Path) -> Iterator[Row]:
    """All runs that the nine dimensions of one model need: a clean set, two attacks, five other sets."""
    import qubastore as package
    from qubastore.datasets.image_folder import image_folder
    from qubastore.evaluators import ingest
    from qubastore.evaluators.worker.environment import cpu_environment

    images = repeated(folder, N_PROTOCOL)
    cells = []
    for number in range(5):
        copy = folder / f"cell{number}"
        shutil.copytree(images, copy, symlinks=True)
        cells.append(copy)
    found: dict[str, dict[str, float]] = {}

    def ours() -> float:
        shutil.rmtree(folder / "protocol", ignore_errors=True)
        clock = Clock()
        with package.init(folder / "protocol") as store:
            sets = [image_folder(f"cell-{i}", cell) for i, cell in enumerate(cells)]
            clean = image_folder("clean", images)
            report = ingest(store, [LITE], [clean], conditions=["clean", "fgsm", "pgd"], display=clock)
            report_cells = ingest(store, [LITE], sets)
            ended = time.perf_counter()
        found["ours"] = {"passes": report.images + report_cells.images}
        return ended - clock.begun

    def theirs() -> float:
        file = str(SHARED / "models" / "efficientnet_lite.py")
        found["theirs"] = in_process(
            PROTOCOL, file, str(images), json.dumps([str(c) for c in cells]), environment=cpu_environment()
        )
        return found["theirs"]["seconds"]

    times = alternate({"ours": ours, "theirs": theirs}, warm_up=False)
    ratio = times["theirs"].median / times["ours"].median
    yield Row(
        f"protocol of nine dimensions, one model, {N_PROTOCOL} photographs a set (clean, FGSM, PGD, five others)",
        f"{times['ours'].median:.1f} s, {found['ours']['passes']:.0f} image passes",
        f"plain loops: {times['theirs'].median:.1f} s, {found['theirs']['passes']:.0f} image passes",
        f"{ratio:.1f} x wall; {found['theirs']['passes'] / found['ours']['passes']:.1f} x passes over all sets,"
        " 8 x over the clean set",
        ">= 5 x fewer image passes, >= 3 x wall",
        found["theirs"]["passes"] / found["ours"]["passes"] >= 5 and ratio >= 3,
        f"{times['ours'].spread}; PGD's ten gradients are the same work on both sides",
        Figures("s", times["ours"].median, times["theirs"].median, ratio),
    )
