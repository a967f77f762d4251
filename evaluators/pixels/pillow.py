"""Decode, resize and crop with Pillow: the pixels of timm's and torchvision's evaluation transforms.

tests/evaluators/test_images.py compares them.
"""

from __future__ import annotations

from PIL import Image

from qubastore.conditions import Shift
from qubastore.evaluators.pixels.geometry import Box, steps
from qubastore.models.preprocessing import Preprocessing

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def prepare(image: Image.Image, preprocessing: Preprocessing, shift: Shift | None = None) -> Image.Image:
    """Resize and crop an RGB image to the input size, with a shift or without one."""
    before, resize, after, fill = steps(image.size, preprocessing, shift)
    if before is not None:
        image = _cut(image, before, (0, 0, 0))
    if resize is not None:
        image = image.resize(resize, _FILTERS[preprocessing.interpolation])
    return image if after is None else _cut(image, after, fill)


def _cut(image: Image.Image, box: Box, fill: tuple[int, int, int]) -> Image.Image:
    """A part of an image, of one colour where it reaches beyond the image."""
    if box.left >= 0 and box.top >= 0 and box.right <= image.width and box.bottom <= image.height:
        return image.crop(box)
    padded = Image.new("RGB", (box.right - box.left, box.bottom - box.top), fill)
    padded.paste(image, (-box.left, -box.top))
    return padded
