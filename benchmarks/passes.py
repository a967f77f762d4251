"""Rows of passes over images: ingest beside a bare loop, decoding, the whole protocol. They need ../shared."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import SHARED, Row, alternate, in_process

N_IMAGES, N_EIGHT, N_PROTOCOL, N_MEMORY = 2_000, 1_000, 48, 50_000
PHOTOGRAPHS = SHARED / "data" / "imagenet-500"
LITE = f"python:{SHARED / 'models' / 'efficientnet_lite.py'}:lite0"

SMALL = '''
import torch
from torch import nn

CONFIG = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"}


def make(seed):
    """Patches of 16 x 16 pixels, averaged: next to no work beside decoding."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 16, stride=16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1000)
    )
''' + "".join(f"\n\ndef small{i}():\n    return make({i}), CONFIG\n" for i in range(8))

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


class _Clock:
    """A display that notes when the models were loaded and the first image could go through."""

    def __init__(self) -> None:
        self.begun = 0.0

    def __enter__(self) -> _Clock:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Nothing."""

    def begin(self, *_: object) -> None:
        """The first run is about to be worked on."""
        self.begun = self.begun or time.perf_counter()

    def advance(self, *_: object) -> None:
        """Nothing."""


def repeated(folder: Path, n: int) -> Path:
    """The 500 photographs under new names, `n` in all, as links."""
    root = folder / f"photographs-{n}"
    for index in range(n):
        source = _photographs()[index % 500]
        path = root / source.parent.name / f"{index // 500}_{source.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(source)
    return root


def _photographs() -> list[Path]:
    return sorted(PHOTOGRAPHS.glob("*/*.JPEG"))


def ingested(folder: Path, models: list[str], images: Path, precision: str = "fp32") -> tuple[float, float, float]:
    """Seconds from the first image to the end, decode share of CPU time, and whole seconds of an ingest."""
    import qubastore as package
    from qubastore.datasets.image_folder import image_folder
    from qubastore.evaluators import ingest

    store_path = folder / "ingested"
    shutil.rmtree(store_path, ignore_errors=True)
    clock = _Clock()
    with package.init(store_path) as store:
        started = time.perf_counter()
        report = ingest(store, models, [image_folder("imagenet-val", images)], display=clock, precision=precision)
        ended = time.perf_counter()
        assert not report.errors
        forward = store.rows("select sum(seconds) from shards")[0][0]
    return ended - clock.begun, forward, ended - started


def one_model(folder: Path) -> Iterator[Row]:
    """Ingest of one model beside a DataLoader and a loop."""
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

    # As slow as it is without our memory settings, a quarter of the images tells enough.
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
    )


def eight_models(folder: Path) -> Iterator[Row]:
    """Eight models with one preprocessing: decoded once."""
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
    """Forward passes of lite0 alone: what channels-last order, autocast and torch.compile are good for."""
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
    )


MEMORY = """
import os, sys, threading, time
from pathlib import Path
import qubastore
from qubastore.datasets.image_folder import image_folder
from qubastore.evaluators import ingest

def anonymous(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"): return int(line.split()[1]) / 1024
    return 0.0

def evaluators():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try: text = path.read_bytes()
        except OSError: continue
        if text.startswith(b"ray::Evaluator"): yield int(path.parent.name)

samples, done = [], threading.Event()
class Progress:
    images = 0
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def say(self, text): pass
    def begin(self, *_): pass
    def advance(self, run, n, failed): self.images += n
progress = Progress()

def watch():
    while not done.wait(0.2):
        try: samples.append((progress.images, anonymous(os.getpid()), max(map(anonymous, evaluators()), default=0.0)))
        except OSError: pass

watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
started = time.perf_counter()
with qubastore.init(sys.argv[3]) as store:
    report = ingest(store, [sys.argv[1]], [image_folder("imagenet-val", sys.argv[2])], display=progress)
    assert not report.errors and report.images == progress.images, report.errors
seconds = time.perf_counter() - started
done.set(); watcher.join()
RESULT = {"driver": max(s[1] for s in samples), "seconds": seconds, "images": report.images}
for part in range(1, 5):
    low, high = (part - 1) * report.images / 4, part * report.images / 4
    RESULT[f"part{part}"] = max((s[2] for s in samples if low < s[0] <= high), default=0.0)
"""


def memory(folder: Path) -> Iterator[Row]:
    """Ingest of 50,000 images, 1,000 logits each: what the driver and the evaluator hold."""
    images = folder / "photographs"
    sources = _photographs()
    small = folder / "resized"
    small.mkdir()
    from PIL import Image

    # Photographs of 256 pixels: as many bytes in flight as of larger ones, in less time.
    for number, source in enumerate(sources):
        with Image.open(source) as image:
            image.convert("RGB").resize((256, 256)).save(small / f"{number}.jpg", quality=85)
    for number in range(N_MEMORY):
        which = number % len(sources)
        path = images / sources[which].parent.name / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(small / f"{which}.jpg")
    (folder / "small.py").write_text(SMALL)
    found = in_process(MEMORY, f"python:{folder / 'small.py'}:small0", str(images), str(folder / "store"))
    parts = [found[f"part{part}"] / 1024 for part in range(1, 5)]
    flat = max(parts[1:]) <= 1.1 * parts[0]
    yield Row(
        f"memory of an ingest of {N_MEMORY:,} images, 1,000 logits each kept",
        f"driver {found['driver'] / 1024:.2f} GiB at most",
        "evaluator, largest in each quarter of the images: " + ", ".join(f"{part:.2f}" for part in parts) + " GiB",
        f"last quarter / first: {parts[-1] / parts[0]:.2f}",
        "driver under 1.5 GiB, evaluator flat",
        found["driver"] / 1024 < 1.5 and flat,
        f"one pass, {found['seconds']:.0f} s; anonymous resident memory, five times a second",
    )


def decoding(folder: Path) -> Iterator[Row]:
    """One core, from bytes to pixels of 224 x 224: what kept libraries do, and how far they are from Pillow."""
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms import v2

    from qubastore.evaluators.worker.images import open_image, prepare
    from qubastore.models.preprocessing import Preprocessing

    del folder
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in _photographs()[:200]]
    own = Preprocessing(crop=(224, 224), resize=(256, 256))
    pil = v2.Compose([v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])

    def ours(data: bytes) -> np.ndarray:
        return np.asarray(prepare(open_image(data), own))

    def torchvision_pil(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(pil(image.convert("RGB")))

    def torchvision_io(data: bytes) -> np.ndarray:
        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        return np.asarray(pil(pixels).permute(1, 2, 0))

    def draft(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (256, 256))
            return np.asarray(prepare(image.convert("RGB"), own))

    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "Pillow (ours, the default)": ours,
        "torchvision transforms on Pillow images": torchvision_pil,
        "torchvision.io and tensors": torchvision_io,
        "Pillow with JPEG scaled decoding": draft,
    }
    try:
        import simplejpeg
    except ImportError:
        simplejpeg = None
    if simplejpeg is not None:
        ways["simplejpeg and Pillow"] = lambda data: np.asarray(
            prepare(Image.fromarray(simplejpeg.decode_jpeg(data)) if data[:2] == b"\xff\xd8" else open_image(data), own)
        )

    def all_of(way: Callable[[bytes], np.ndarray]) -> None:
        for data in files:
            way(data)

    times = alternate({name: (lambda way=way: all_of(way)) for name, way in ways.items()})
    exact = [ours(data).astype(int) for data in files[:50]]
    each = {name: 1000 * found.median / len(files) for name, found in times.items()}
    distance = {
        name: float(
            np.mean([np.abs(way(data).astype(int) - want).mean() for data, want in zip(files[:50], exact, strict=True)])
        )
        for name, way in ways.items()
    }
    mine = each.pop("Pillow (ours, the default)")
    others = "; ".join(f"{name}: {ms:.2f} ms, {distance[name]:.2f}/255 away" for name, ms in each.items())
    best = min((ms, name) for name, ms in each.items() if distance[name] <= 1)
    yield Row(
        "decode + resize + crop of a photograph, one core",
        f"{mine:.2f} ms",
        others,
        f"the fastest within 1/255 ({best[1]}) takes {best[0] / mine:.2f} of the time",
        "the fastest kept library within 1/255",
        None,
        "see docs/decisions/0015-how-speed-was-won.md for the choice",
    )


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
    """All that the nine dimensions need of one model, on the same images: a clean set, two attacks, five other sets."""
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
        clock = _Clock()
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
    )
