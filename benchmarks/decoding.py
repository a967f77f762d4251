"""Benchmark of decoding: from the bytes of a photograph to pixels, by library. It needs ../shared."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Figures, Row, alternate
from benchmarks.photographs import photographs


def decoding(folder: Path) -> Iterator[Row]:
    """From bytes to 224 x 224 pixels on one core: the speed of maintained libraries, and their distance from Pillow."""
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms import v2

    from qubastore.evaluators.worker.images import open_image, prepare
    from qubastore.models.preprocessing import Preprocessing

    del folder
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in photographs()[:200]]
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
        Figures("ms", mine, best[0], best[0] / mine),
    )
