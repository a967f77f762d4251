"""How images are resized and cropped, in whole pixels: what all decoders have in common. It depends on no library.

Sizes and boxes are those of timm's and torchvision's evaluation transforms (tests/evaluators/test_images.py).
"""

from __future__ import annotations

from typing import NamedTuple

from qubastore.conditions import Shift
from qubastore.models.preprocessing import Preprocessing

Size = tuple[int, int]
"""Width and height, pixels."""


class Box(NamedTuple):
    """A part of an image, which may reach beyond its edges; right and bottom are one past the last pixel."""

    left: int
    top: int
    right: int
    bottom: int


class Steps(NamedTuple):
    """What is done to an image, in this order; None means nothing.

    Attributes:
        before: Box that is cut out first, black outside the image.
        resize: Size to resize to.
        after: Box that is cut out of the resized image.
        fill: Colour of `after` outside the image.
    """

    before: Box | None
    resize: Size | None
    after: Box | None
    fill: tuple[int, int, int]


def steps(size: Size, preprocessing: Preprocessing, shift: Shift | None = None) -> Steps:
    """The steps from an image of a size to a model's input.

    Args:
        size: Width and height of the image.
        preprocessing: How to resize and crop.
        shift: How to move the crop. With the order `crop-first`, the model's crop is taken from the original image and
            then resized, as CropShift in the code of arXiv 2311.09215 (utils/transforms.py, lines 18 to 49) does: its
            edges are truncated to whole pixels. If nothing is cropped (`whole`, borders), the image is shifted and
            resized.
    """
    before = None
    if shift is not None:
        pixels, direction, order = Shift(*shift)
        if order == "crop-first" and preprocessing.mode == "shorter":
            height, width = preprocessing.crop
            return Steps(crop_first(size, preprocessing, pixels, direction), (width, height), None, (0, 0, 0))
        left, top = shift_offsets(size, pixels, direction)
        before = Box(left, top, left + size[0], top + size[1])
    resized = resized_size(size, preprocessing)
    fill = (0, 0, 0)
    if preprocessing.mode == "border":
        red, green, blue = (round(255 * value) for value in preprocessing.mean)
        fill = (red, green, blue)
    return Steps(
        before, resized if resized != size else None, center(resized, preprocessing.crop, preprocessing.center), fill
    )


def resized_size(size: Size, preprocessing: Preprocessing) -> Size:
    """The width and height to resize to."""
    width, height = size
    target_height, target_width = preprocessing.resize
    if preprocessing.mode == "squash":
        return target_width, target_height
    if preprocessing.mode == "shorter" and target_height == target_width:
        # torchvision truncates the longer edge.
        if width <= height:
            return target_width, int(target_width * height / width)
        return int(target_width * width / height), target_width
    # timm rounds both edges.
    ratios = height / target_height, width / target_width
    ratio = max(ratios) if preprocessing.mode == "border" else min(ratios)
    return round(width / ratio), round(height / ratio)


def center(size: Size, crop: tuple[int, int], rounding: str = "even") -> Box:
    """The box of a height and width in the middle of an image; it reaches beyond an image that is smaller."""
    left, top = _offset(size[0], crop[1], rounding), _offset(size[1], crop[0], rounding)
    return Box(left, top, left + crop[1], top + crop[0])


def _offset(have: int, want: int, rounding: str) -> int:
    if rounding == "down":
        return (have - want) // 2
    return round((have - want) / 2) if have >= want else -((want - have) // 2)


def crop_first(size: Size, preprocessing: Preprocessing, pixels: int, direction: str) -> Box:
    """The part of an image that, resized, is the model's crop, moved by some pixels of the image."""
    (height, width), (edge_height, edge_width) = preprocessing.crop, preprocessing.resize
    # The edge that decides the scale, before and after resizing.
    fits_width = size[0] * edge_height <= size[1] * edge_width
    have, want = (size[0], edge_width) if fits_width else (size[1], edge_height)
    right, down = shift_offsets(size, pixels, direction)
    # Same order of operations as that code: rounding may otherwise move the crop by a pixel.
    left = int(((size[0] / have * want) - width) / 2 * have / want + right)
    top = int(((size[1] / have * want) - height) / 2 * have / want + down)
    return Box(left, top, left + int(width * have / want), top + int(height * have / want))


def shift_offsets(size: Size, pixels: int, direction: str) -> tuple[int, int]:
    """The offsets of a shift to the right and down, in pixels.

    Args:
        size: Width and height of the image.
        pixels: Distance, from 0 up.
        direction: `right`, `down`, `both`, or `longer`: right if the image is wider than high, else down.
    """
    if direction == "longer":
        direction = "right" if size[0] > size[1] else "down"
    return (pixels if direction in ("right", "both") else 0), (pixels if direction in ("down", "both") else 0)
