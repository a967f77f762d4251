"""Decoding an image file into RGB: what every model, and everybody who looks at the image, sees."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def open_image(data: bytes) -> Image.Image:
    """Decode an image into RGB with 8 bits per channel, as torchvision's loader does.

    Palettes are applied, CMYK and other colour spaces converted, the alpha channel is dropped (hidden colours show),
    the first of several frames is used, and an EXIF orientation is not applied. Values that torchvision's loader clips
    to black or white are scaled instead: 16 bits per channel by 1/257, floats from 0 to 1 by 255.

    Raises:
        ValueError: if the range of values is unknown: 32-bit integers, and floats outside [0, 1].
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith(("I", "F")):
            image.load()
            return _scaled_to_8_bits(image).convert("RGB")
        return image.convert("RGB")


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """A greyscale image of more than 8 bits, scaled to 8 bits."""
    values = np.asarray(image)
    # Pillow gives a 16-bit PNG or PGM as 32 bits, depending on its release.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        scaled = values.astype(np.float64) / 257
    elif image.mode == "F" and values.size and np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
        scaled = values.astype(np.float64) * 255
    else:
        lowest, highest = (values.min(), values.max()) if values.size else (0, 0)
        raise ValueError(
            f"mode {image.mode} has no known range: values from {lowest:g} to {highest:g}; save it with 8 or 16 bits"
        )
    grey = np.rint(scaled).astype(np.uint8)
    # In TIFF, 0 may mean white, which Pillow inverts only for 8 bits.
    tags = getattr(image, "tag_v2", {})
    return Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey)


_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
