"""Benchmark of decoding: from the file of a photograph to pixels, by decoder and by library. It needs ../shared."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import Figures, Row, alternate
from benchmarks.photographs import photographs

if TYPE_CHECKING:
    from qubastore.models.preprocessing import Preprocessing


def decoding(folder: Path) -> Iterator[Row]:
    """From files to 224 x 224 pixels on one core: our decoders, other kept libraries, and where Pillow's time goes."""
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    from qubastore.conditions import PILLOW, TORCHVISION
    from qubastore.datasets.decoding import open_image
    from qubastore.evaluators.pixels.pillow import prepare
    from qubastore.evaluators.worker.images import SampleFile, decode
    from qubastore.models.preprocessing import Preprocessing

    del folder
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in photographs()[:200]]
    own = Preprocessing(crop=(224, 224), resize=(256, 256))
    transforms = v2.Compose([v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])

    def by(decoder: str) -> Callable[[bytes], np.ndarray]:
        def one(data: bytes) -> np.ndarray:
            pixels = decode([SampleFile(0, "photograph", None, data)], own, decoder=decoder).pixels
            assert pixels is not None
            return pixels[0]

        return one

    def torchvision_pil(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(transforms(image.convert("RGB")))

    def draft(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (256, 256))
            return np.asarray(prepare(image.convert("RGB"), own))

    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "--decoder pillow": by(PILLOW),
        "--decoder torchvision": by(TORCHVISION),
        "torchvision transforms on Pillow images": torchvision_pil,
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

    def seconds(way: Callable[[bytes], np.ndarray]) -> float:
        """CPU time of this thread, which other work on the machine disturbs less than the time of the clock."""
        started = time.thread_time()
        for data in files:
            way(data)
        return time.thread_time() - started

    times = alternate({name: (lambda way=way: seconds(way)) for name, way in ways.items()})
    each = {name: 1000 * found.median / len(files) for name, found in times.items()}
    exact = [ways["--decoder pillow"](data).astype(int) for data in files[:50]]
    texts = []
    for name, way in ways.items():
        away = np.abs(np.stack([way(data).astype(int) for data in files[:50]]) - exact)
        texts.append(f"{name}: {each[name]:.2f} ms, {100 * (away > 0).mean():.2f} % of values differ, by {away.max()}")
    mine, other = each["--decoder pillow"], each["--decoder torchvision"]
    stages = ", ".join(f"{name} {ms:.2f}" for name, ms in _stages(files, own).items())
    yield Row(
        "decode + resize + crop of a photograph, one core",
        f"{mine:.2f} ms",
        "; ".join(texts[1:]),
        f"--decoder torchvision takes {other / mine:.2f} of the time",
        "the fastest kept library with the same pixels",
        None,
        f"Pillow's, in ms: {stages}; docs/decisions/0032-decoders-make-runs.md for the choice",
        Figures("ms", mine, other, other / mine),
    )


def _stages(files: list[bytes], own: Preprocessing) -> dict[str, float]:
    """Milliseconds of CPU per photograph of each step of the default decoder."""
    from PIL import Image

    from qubastore.evaluators.pixels.geometry import center, resized_size
    from qubastore.hashing import content_hash

    steps: dict[str, Callable[[object], object]] = {
        "open": lambda data: Image.open(io.BytesIO(data)),  # type: ignore[arg-type]
        "decode": lambda image: image.load() and image,  # type: ignore[attr-defined]
        "convert": lambda image: image.convert("RGB"),  # type: ignore[attr-defined]
        "resize": lambda image: image.resize(resized_size(image.size, own), Image.Resampling.BICUBIC),  # type: ignore[attr-defined]
        "crop": lambda image: image.crop(center(image.size, own.crop)),  # type: ignore[attr-defined]
        "to an array": np.asarray,
    }
    values: list[object] = list(files)
    found = {}
    for name, step in steps.items():
        started = time.thread_time()
        values = [step(value) for value in values]
        found[name] = 1000 * (time.thread_time() - started) / len(files)
    started = time.thread_time()
    for data in files:
        content_hash(data)
    found["hash of the file"] = 1000 * (time.thread_time() - started) / len(files)
    return found
