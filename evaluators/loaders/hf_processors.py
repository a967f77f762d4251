"""An image processor of transformers as `Preprocessing`, checked pixel for pixel against the processor itself.

The processor is the one that works on PIL images and NumPy arrays: the torchvision one gives other pixels, by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qubastore.errors import ModelError, in_one_line
from qubastore.evaluators.loaders.fixed_images import fixed_pixels
from qubastore.models.preprocessing import Preprocessing

SIZES = ((281, 417), (417, 281), (333, 517), (512, 331), (300, 300), (97, 64))
"""Height and width of the images that the check is made with: both orientations, margins that are odd, small ones."""

SAME = 1e-5
"""Largest difference of a normalised value: rounding in single precision. A level of a pixel is above 0.01."""


def preprocessing_of(processor: Any, where: str) -> Preprocessing:
    """The preprocessing that an image processor does.

    Args:
        processor: An image processor of transformers, of the backend `pil`.
        where: Prefix of error messages.

    Raises:
        ModelError: if resizing, cropping and normalising cannot do what it does.
    """
    kind = type(processor).__name__
    try:
        found = _read(processor)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _inexpressible(where, kind, in_one_line(error)) from None
    for index, (height, width) in enumerate(SIZES):
        pixels = fixed_pixels(height, width)[index % 4]
        _check(processor, found, pixels, f"{where}, {kind}")
    return found


def _read(processor: Any) -> Preprocessing:
    settings = processor.to_dict()
    size = dict(settings.get("size") or {})
    if not settings.get("do_resize", False):
        raise ValueError("it does not resize images, which then differ in size")
    crop = dict(settings.get("crop_size") or {}) if settings.get("do_center_crop") else {}
    share = settings.get("crop_pct")
    edge = size.get("shortest_edge")
    mode = "squash"
    if edge and share and not crop:
        # ConvNeXt: below 384 pixels a crop of the centre, from there up the whole image, squashed.
        input_size = (edge, edge)
        resize = (int(edge / share),) * 2 if edge < 384 else input_size
        mode = "shorter" if edge < 384 else "squash"
    elif edge:
        if size.get("longest_edge"):
            raise ValueError(f"it resizes to {size}")
        mode, resize = "shorter", (edge, edge)
        input_size = (crop["height"], crop["width"])
    else:
        resize = (size["height"], size["width"])
        input_size = (crop["height"], crop["width"]) if crop else resize
    mean, std = statistics(settings)
    return Preprocessing(
        crop=input_size,
        resize=resize,
        mode=mode,
        interpolation=_FILTERS[int(settings["resample"])],
        mean=mean,
        std=std,
        center="down",
    )


def statistics(settings: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that a processor's settings come to, for pixels in [0, 1].

    Raises:
        ValueError: if it does something else to values, or a setting is missing.
    """
    if settings.get("do_flip_channel_order") or settings.get("do_color_quantize"):
        raise ValueError("it exchanges or quantises colours")
    factor = settings["rescale_factor"] if settings.get("do_rescale", False) else 1.0
    normalised = settings.get("do_normalize", False)
    try:
        mean, std = (_three(settings[f"image_{name}"]) if normalised else (plain,) * 3 for name, plain in _STATISTICS)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has no mean or standard deviation: {error}") from None
    # The division by 255 comes first here; (factor * x - mean) / std is the same with other constants.
    return tuple(value / (255 * factor) for value in mean), tuple(value / (255 * factor) for value in std)


_STATISTICS = (("mean", 0.0), ("std", 1.0))

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""The numbers that Pillow gives its filters."""


def _three(value: Any) -> tuple[float, ...]:
    return (float(value),) * 3 if isinstance(value, (int, float)) else tuple(map(float, value))


def _check(processor: Any, found: Preprocessing, pixels: NDArray[np.uint8], where: str) -> None:
    """Compare one image, prepared by both."""
    from PIL import Image

    from qubastore.evaluators.pixels.pillow import prepare

    image = Image.fromarray(pixels)
    try:
        expected = np.asarray(processor(image, return_tensors="np")["pixel_values"])[0]
    except Exception as error:
        raise ModelError(
            f"{where} fails on an image of {image.width} x {image.height} pixels", found=in_one_line(error)
        ) from error
    ours = np.asarray(prepare(image, found), np.float64).transpose(2, 0, 1) / 255
    mean, std = (np.asarray(values).reshape(3, 1, 1) for values in (found.mean, found.std))
    ours = (ours - mean) / std
    if expected.shape != ours.shape:
        reason = f"it gives {expected.shape}, and a resize and a crop {ours.shape}"
    elif (difference := float(np.abs(expected - ours).max())) <= SAME * max(1.0, float(np.abs(ours).max())):
        return
    else:
        reason = f"values differ by up to {difference:.3g} on an image of {image.width} x {image.height} pixels"
    raise _inexpressible(where, "its processor", reason)


def _inexpressible(where: str, kind: str, reason: str) -> ModelError:
    return ModelError(
        f"{where}: {kind} does what resizing, cropping and normalising cannot",
        found=reason,
        expected="one resize, one crop of the centre, one mean and standard deviation per channel",
        hint="preprocess=224/0.875/bilinear, for another one; or python:FILE.py:FACTORY with a function",
    )
