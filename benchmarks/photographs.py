"""Shared parts of the benchmarks on photographs: images, models, and an ingest timed from its first image."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.measure import SHARED

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


class Clock:
    """A display that records when the models are loaded and the first image can be processed."""

    def __init__(self) -> None:
        self.begun = 0.0

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def log(self, text: str) -> None:
        """Nothing."""

    def begin(self, *_: object) -> None:
        """Record the time at which the first run starts."""
        self.begun = self.begun or time.perf_counter()

    def advance(self, *_: object) -> None:
        """Nothing."""


def repeated(folder: Path, n: int) -> Path:
    """Make a folder of `n` links to the 500 photographs, under new names."""
    root = folder / f"photographs-{n}"
    for index in range(n):
        source = photographs()[index % 500]
        path = root / source.parent.name / f"{index // 500}_{source.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(source)
    return root


def photographs() -> list[Path]:
    """The 500 photographs, sorted."""
    return sorted(PHOTOGRAPHS.glob("*/*.JPEG"))


def ingested(folder: Path, models: list[str], images: Path, precision: str = "fp32") -> tuple[float, float, float]:
    """Run an ingest; return its seconds from the first image to the end, of forward passes, and in total."""
    import qubastore as package
    from qubastore.datasets.image_folder import image_folder
    from qubastore.evaluators import ingest

    store_path = folder / "ingested"
    shutil.rmtree(store_path, ignore_errors=True)
    clock = Clock()
    with package.init(store_path) as store:
        started = time.perf_counter()
        report = ingest(store, models, [image_folder("imagenet-val", images)], display=clock, precision=precision)
        ended = time.perf_counter()
        assert not report.errors
        forward = store.rows("select sum(seconds) from shards")[0][0]
    return ended - clock.begun, forward, ended - started
