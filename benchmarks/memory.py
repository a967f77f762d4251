"""Benchmark of the memory of the driver and the evaluator of a large ingest. It needs ../shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figures, Row, in_process
from benchmarks.photographs import SMALL, photographs

N_MEMORY = 50_000

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
    def log(self, text): pass
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
    """Memory of the driver and the evaluator during an ingest of 50,000 images with 1,000 logits each."""
    images = folder / "photographs"
    sources = photographs()
    small = folder / "resized"
    small.mkdir()
    from PIL import Image

    # Photographs of 256 pixels are faster, and as many bytes are in flight as with larger ones.
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
        Figures("GiB", found["driver"] / 1024, ratio=parts[-1] / parts[0]),
    )
