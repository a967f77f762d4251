"""Benchmarks of throughput: ingest of one and of eight models against bare loops, and forward passes alone.

They need ../shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import SHARED, Figures, Row, alternate, in_process
from benchmarks.photographs import LITE, SMALL, ingested, repeated

N_IMAGES, N_EIGHT = 2_000, 1_000


BARE = """
import sys, time, importlib.util
import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
file, names, root, limit = sys.argv[1], sys.argv[2].split(","), sys.argv[3], int(sys.argv[4])
spec = importlib.util.spec_from_file_location("models", file)
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)
torch.set_num_threads(2)
total = 0.0
for name in names:
    net, config = getattr(models, name)()
    net = net.eval().to(memory_format=torch.channels_last)
    size = config["input_size"][-1]
    mean, std = config.get("mean", (0.485, 0.456, 0.406)), config.get("std", (0.229, 0.224, 0.225))
    steps = v2.Compose([
        v2.Resize(int(size / config.get("crop_pct", 0.875)), interpolation=v2.InterpolationMode.BICUBIC),
        v2.CenterCrop(size), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    data = ImageFolder(root, steps)
    loader = torch.utils.data.DataLoader(data, batch_size=32, num_workers=2)
    started = time.perf_counter()
    right = n = 0
    with torch.inference_mode():
        for images, labels in loader:
            right += int((net(images.contiguous(memory_format=torch.channels_last)).argmax(1) == labels).sum())
            n += len(labels)
            if n >= limit:
                break
    total += time.perf_counter() - started
RESULT = {"seconds": total, "images": n * len(names), "right": right}
"""


def one_model(folder: Path) -> Iterator[Row]:
    """Ingest of one model, against a DataLoader and a loop."""
    from qubastore.evaluators.worker.environment import cpu_environment

    images = repeated(folder, N_IMAGES)
    whole: list[float] = []

    def ours() -> float:
        seconds, _, total = ingested(folder, [LITE], images)
        whole.append(total)
        return seconds

    def bare(environment: dict[str, str], limit: int) -> Callable[[], float]:
        file = str(SHARED / "models" / "efficientnet_lite.py")

        def run() -> float:
            found = in_process(BARE, file, "lite0", str(images), str(limit), environment=environment)
            return found["seconds"] / found["images"] * N_IMAGES

        return run

    # Without our memory settings it is so slow that a quarter of the images is enough.
    ways = {"ours": ours, "tuned": bare(cpu_environment(), N_IMAGES), "bare": bare({}, N_IMAGES // 4)}
    times = alternate(ways, warm_up=False)
    mine, tuned, plain = (N_IMAGES / times[name].median for name in ("ours", "tuned", "bare"))
    yield Row(
        f"ingest of one model (lite0, {N_IMAGES:,} photographs), Ray's start and model loading apart",
        f"{mine:.0f} images/s",
        f"DataLoader + loop, 2 workers and 2 threads, our memory settings: {tuned:.0f} images/s; without them:"
        f" {plain:.0f} images/s",
        f"{mine / tuned:.2f}; {mine / plain:.2f}",
        ">= 0.9",
        mine / tuned >= 0.9,
        f"{times['ours'].spread} ours, {times['tuned'].spread} tuned; with model loading {min(whole):.1f} s",
        Figures("images/s", mine, tuned, mine / tuned),
    )


def eight_models(folder: Path) -> Iterator[Row]:
    """Ingest of eight models with the same preprocessing, so that images are decoded once."""
    from qubastore.evaluators.worker.environment import cpu_environment

    images = repeated(folder, N_EIGHT)
    file = folder / "small.py"
    file.write_text(SMALL)
    names = [f"small{i}" for i in range(8)]
    shares: list[float] = []

    def ours() -> float:
        seconds, forward, _ = ingested(folder, [f"python:{file}:{name}" for name in names], images)
        shares.append(1 - forward / seconds)
        return seconds

    environment = cpu_environment()
    times = alternate(
        {
            "ours": ours,
            "bare": lambda: in_process(
                BARE, str(file), ",".join(names), str(images), str(N_EIGHT), environment=environment
            )["seconds"],
        },
        warm_up=False,
    )
    ratio = times["bare"].median / times["ours"].median
    yield Row(
        f"ingest of 8 small models with one preprocessing, {N_EIGHT:,} photographs, metrics included",
        f"{times['ours'].median:.1f} s",
        f"8 bare loops, one after another: {times['bare'].median:.1f} s",
        f"{ratio:.1f} x",
        ">= 3 x where decoding dominates",
        ratio >= 3,
        f"{times['ours'].spread}; {100 * float(np.median(shares)):.0f} % of our time is not forward passes",
        Figures("s", times["ours"].median, times["bare"].median, ratio),
    )


PRECISIONS = """
import sys, time, statistics, importlib.util
import torch
spec = importlib.util.spec_from_file_location("models", sys.argv[1])
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)
torch.set_num_threads(2)
net = models.lite0()[0].eval().requires_grad_(False).to(memory_format=torch.channels_last)
torch.manual_seed(0)
images = torch.rand(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)
compiled = torch.compile(net, dynamic=False)
planar, plain = models.lite0()[0].eval(), images.contiguous()
def bf16(call):
    with torch.autocast("cpu", torch.bfloat16): return call(images)
ways = {"fp32": lambda: net(images), "fp32_planar": lambda: planar(plain), "fp32_compiled": lambda: compiled(images),
        "bf16": lambda: bf16(net), "bf16_compiled": lambda: bf16(compiled)}
times = {name: [] for name in ways}
with torch.inference_mode():
    for way in ways.values(): way()
    for _ in range(7):
        for name, way in ways.items():
            started = time.perf_counter(); way(); times[name].append(time.perf_counter() - started)
RESULT = {name: 32 / statistics.median(found) for name, found in times.items()}
"""


def precisions(folder: Path) -> Iterator[Row]:
    """Forward passes of lite0 alone: the effect of channels-last order, autocast and torch.compile."""
    from qubastore.evaluators.worker.environment import cpu_environment

    del folder
    file = str(SHARED / "models" / "efficientnet_lite.py")
    found = in_process(PRECISIONS, file, environment=cpu_environment())
    base = found["fp32"]
    yield Row(
        "forward passes of lite0 alone, batches of 32, channels last (fp32, the default)",
        f"{base:.0f} images/s",
        f"planar order: {found['fp32_planar']:.0f}; fp32-compiled: {found['fp32_compiled']:.0f};"
        f" bf16: {found['bf16']:.0f}; bf16-compiled: {found['bf16_compiled']:.0f} images/s",
        "; ".join(f"{found[name] / base:.2f}" for name in ("fp32_planar", "fp32_compiled", "bf16", "bf16_compiled")),
        "used where it helps",
        None,
        "medians of seven; every precision is a run of its own",
        Figures("images/s", base, found["bf16_compiled"], base / found["bf16_compiled"]),
    )
