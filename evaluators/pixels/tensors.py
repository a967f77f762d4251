"""Decode, resize and crop with torchvision and torch, on a CPU or a GPU.

torchvision's decoder on the CPU gives Pillow's pixels for plain JPEG files; NVIDIA's on a GPU (nvJPEG) does not, nor
does torch's resize of either (docs/decoders.md). Everything else than a plain JPEG file is left to Pillow.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qubastore.conditions import Shift
from qubastore.errors import IngestError, in_one_line
from qubastore.evaluators.pixels.geometry import Box, steps
from qubastore.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

MODES = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest-exact"}
"""Filter -> mode of torch's interpolation, antialiased but for `nearest`; other filters of Pillow do not exist."""

_END_OF_IMAGE = b"\xff\xd9"


def is_plain_jpeg(image: Image.Image, data: bytes) -> bool:
    """Whether a file is one that torchvision and nvJPEG decode as Pillow does: a whole JPEG, 8 bits, grey or YCbCr.

    CMYK, RGB stored as such and files of several images are not, nor is one without its end, which a GPU would decode
    to an image that is partly grey.

    Args:
        image: The image, opened but not decoded.
        data: The file.
    """
    components = {component[0] for component in getattr(image, "layer", ())}
    return (
        image.format == "JPEG"
        and image.mode in ("L", "RGB")
        and image.info.get("adobe_transform", 1) == 1
        and not components & set(b"RGB")
        and data.rstrip(b"\0").endswith(_END_OF_IMAGE)
    )


def decode_jpegs(files: Sequence[bytes], device: torch.device | str = "cpu") -> list[torch.Tensor | None]:
    """Decode JPEG files into RGB on a device: (3, h, w) uint8 each; None for a file that the decoder refuses.

    Raises:
        IngestError: if the decoder does not work at all.
        OutOfMemoryError: torch's, if the images do not fit the device.
    """
    import torch

    try:
        return [*_decoded(files, device)]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ImportError) as error:
        # torchvision raises the same error for a bad file as for a library that it lacks, or a GPU that is lost.
        if len(files) > 1:
            return [each for file in files for each in decode_jpegs([file], device)]
        try:
            _decoded([_known_file()], device)
        except (RuntimeError, ImportError):
            raise IngestError(
                f"torchvision decodes no image on {device}",
                expected="a torchvision with its decoders, and nvJPEG for a GPU",
                found=in_one_line(error)[:300],
                hint="--decoder pillow",
            ) from error
        return [None]


@cache
def _known_file() -> bytes:
    """A JPEG file that every decoder can decode."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 150)).save(file, "JPEG")
    return file.getvalue()


def _decoded(files: Sequence[bytes], device: torch.device | str) -> list[torch.Tensor]:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.from_numpy(np.frombuffer(file, np.uint8).copy()) for file in files]
    decoded: list[torch.Tensor] = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=str(device)) if encoded else []
    return decoded


def of_array(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """Decoded pixels (h, w, 3) as (3, h, w), on a device."""
    import torch

    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).to(device)


def prepare(image: torch.Tensor, preprocessing: Preprocessing, shift: Shift | None = None) -> torch.Tensor:
    """Resize and crop an RGB image to the input size, with a shift or without one.

    Args:
        image: (3, h, w) uint8.
        preprocessing: Its filter must be one of `MODES`.
        shift: How to move the crop.

    Returns:
        (height, width, 3) uint8, on the same device.

    Raises:
        ValueError: if nothing would be left of an image, as Pillow raises it.
    """
    before, resize, after, fill = steps((image.shape[2], image.shape[1]), preprocessing, shift)
    if before is not None:
        image = _cut(image, before, (0, 0, 0))
    if resize is not None:
        image = _resized(image, resize, preprocessing.interpolation)
    if after is not None:
        image = _cut(image, after, fill)
    return image.permute(1, 2, 0).contiguous()


def _resized(image: torch.Tensor, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    import torch

    if min(size) < 1:
        # As Pillow says it.
        raise ValueError("height and width must be > 0")
    if not image.numel():
        # A crop that is taken first may have no pixel; Pillow makes it black.
        return image.new_zeros(3, size[1], size[0])
    # GPUs interpolate only floats; CPUs have a faster algorithm for bytes.
    values = image[None] if image.device.type == "cpu" else image[None].float()
    antialias = interpolation != "nearest"
    values = torch.nn.functional.interpolate(
        values, size=(size[1], size[0]), mode=MODES[interpolation], antialias=antialias
    )
    return (values if values.dtype == torch.uint8 else values.round().clamp(0, 255).to(torch.uint8))[0]


def _cut(image: torch.Tensor, box: Box, fill: tuple[int, int, int]) -> torch.Tensor:
    """A part of an image, of one colour where it reaches beyond the image."""
    _, height, width = image.shape
    inside = Box(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))
    part = image[:, inside.top : inside.bottom, inside.left : inside.right]
    if inside == box:
        return part
    padded = image.new_tensor(fill)[:, None, None].repeat(1, box.bottom - box.top, box.right - box.left)
    top, left = inside.top - box.top, inside.left - box.left
    padded[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    return padded
