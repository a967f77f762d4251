"""From image files to pixels: read, decode, resize, crop. Uses only Pillow, so decode workers start without torch.

Resizing and cropping give the same pixels as timm's and torchvision's evaluation transforms
(tests/evaluators/test_images.py).
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qubastore.conditions import Shift
from qubastore.datasets.parquet import read_image
from qubastore.errors import DatasetError
from qubastore.hashing import content_hash
from qubastore.models.preprocessing import Preprocessing
from qubastore.runs.shard import Failure

READ_ATTEMPTS = 4


_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@dataclass(frozen=True)
class SampleFile:
    """The image of a sample: a file, a row of a Parquet file, or bytes in the request itself."""

    sample_id: int
    key: str
    path: str | None
    data: bytes | None = None
    row: int | None = None
    size: tuple[int, int] | None = None


@dataclass
class Decoded:
    """Some samples of a shard, ready for models.

    Attributes:
        sample_ids: Ids of the images that could be decoded, in order.
        pixels: (n, height, width, 3) uint8; None for models that preprocess images themselves.
        images: The encoded images, for those models.
        failures: Images that could not be decoded.
        contents: Sample id -> content hash of every image that was read.
        seconds: Time spent.
    """

    sample_ids: list[int] = field(default_factory=list)
    pixels: NDArray[np.uint8] | None = None
    images: list[bytes] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    contents: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


def decode(samples: Sequence[SampleFile], preprocessing: Preprocessing | None, shift: Shift | None = None) -> Decoded:
    """Read and decode samples; an image that cannot be decoded becomes a failure.

    Args:
        samples: The samples, in order.
        preprocessing: How to resize and crop; None keeps the encoded images, after checking that they can be decoded.
        shift: How to move the crop.

    Raises:
        DatasetError: if a file cannot be read after retries, or its size is not that of the dataset; these are not
            failures of single images.
    """
    started = time.perf_counter()
    result = Decoded()
    pixels: list[NDArray[np.uint8]] = []
    for sample in samples:
        data = sample.data if sample.data is not None else _read(sample)
        result.contents[sample.sample_id] = content_hash(data)
        try:
            image = open_image(data)
            _check_size(image, sample)
            if preprocessing is None:
                result.images.append(data)
            else:
                pixels.append(np.asarray(_prepare_shifted(image, preprocessing, shift)))
        except DatasetError:
            raise
        except Exception as error:  # Pillow raises many kinds on bad data, SyntaxError among them
            # Remove memory addresses, so that the same reason gives the same text each time.
            text = re.sub(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>", "", f"{type(error).__name__}: {error}".splitlines()[0])
            result.failures.append(Failure(sample.sample_id, sample.key, text[:300]))
            continue
        result.sample_ids.append(sample.sample_id)
    if pixels:
        result.pixels = np.stack(pixels)
    result.seconds = time.perf_counter() - started
    return result


def _check_size(image: Image.Image, sample: SampleFile) -> None:
    if sample.size is not None and image.size != sample.size:
        raise DatasetError(
            f"{sample.path or sample.key} has a different size than its dataset",
            expected=f"{sample.size[0]} x {sample.size[1]} pixels, as its authors distribute it",
            found=f"{image.size[0]} x {image.size[1]}",
            hint="restore the file, then run the same command again: committed work is kept",
        )


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


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize and crop an RGB image to the input size."""
    size = _resized(image.size, preprocessing)
    if size != image.size:
        image = image.resize(size, _FILTERS[preprocessing.interpolation])
    fill = (0, 0, 0)
    if preprocessing.mode == "border":
        red, green, blue = (round(255 * value) for value in preprocessing.mean)
        fill = (red, green, blue)
    return _center_crop(image, preprocessing.crop, fill)


def shifted(image: Image.Image, pixels: int, direction: str) -> Image.Image:
    """The image under a view of its size that is shifted by `pixels`; outside of the image it is black.

    Args:
        image: RGB.
        pixels: Distance, from 0 up.
        direction: `right`, `down`, `both`, or `longer`: right if the image is wider than high, else down.
    """
    left, top = _offsets(image, pixels, direction)
    return image.crop((left, top, left + image.width, top + image.height))


def cropped_first(image: Image.Image, preprocessing: Preprocessing, pixels: int, direction: str) -> Image.Image:
    """The model's crop, taken from the original image, moved by `pixels`, and then resized to the input size.

    As CropShift in the code of arXiv 2311.09215 (utils/transforms.py, lines 18 to 49): the edges of the crop are
    truncated to whole pixels. If nothing is cropped (`whole`, borders), the image is `shifted` and resized.
    """
    if preprocessing.mode != "shorter":
        return prepare(shifted(image, pixels, direction), preprocessing)
    (height, width), (edge_height, edge_width) = preprocessing.crop, preprocessing.resize
    # The edge that decides the scale, before and after resizing.
    fits_width = image.width * edge_height <= image.height * edge_width
    have, want = (image.width, edge_width) if fits_width else (image.height, edge_height)
    right, down = _offsets(image, pixels, direction)
    # Same order of operations as that code: rounding may otherwise move the crop by a pixel.
    left = int(((image.width / have * want) - width) / 2 * have / want + right)
    top = int(((image.height / have * want) - height) / 2 * have / want + down)
    box = (left, top, left + int(width * have / want), top + int(height * have / want))
    return image.crop(box).resize((width, height), _FILTERS[preprocessing.interpolation])


def _prepare_shifted(image: Image.Image, preprocessing: Preprocessing, shift: Shift | None) -> Image.Image:
    """The model's input, with a shift or without one."""
    if shift is None:
        return prepare(image, preprocessing)
    pixels, direction, order = Shift(*shift)
    if order == "crop-first":
        return cropped_first(image, preprocessing, pixels, direction)
    return prepare(shifted(image, pixels, direction), preprocessing)


def _offsets(image: Image.Image, pixels: int, direction: str) -> tuple[int, int]:
    """The offsets of a shift to the right and down, in pixels."""
    if direction == "longer":
        direction = "right" if image.width > image.height else "down"
    return (pixels if direction in ("right", "both") else 0), (pixels if direction in ("down", "both") else 0)


def _resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
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


def _center_crop(image: Image.Image, crop: tuple[int, int], fill: tuple[int, int, int]) -> Image.Image:
    (height, width), (have_width, have_height) = crop, image.size
    left, top = _offset(have_width, width), _offset(have_height, height)
    if have_width >= width and have_height >= height:
        return image.crop((left, top, left + width, top + height))
    padded = Image.new("RGB", (width, height), fill)
    padded.paste(image, (-left, -top))
    return padded


def _offset(have: int, want: int) -> int:
    return round((have - want) / 2) if have >= want else -((want - have) // 2)


def _read(sample: SampleFile) -> bytes:
    pause = 0.1
    for attempt in range(READ_ATTEMPTS):
        try:
            if sample.row is not None:
                return read_image(str(sample.path), sample.row)
            return Path(str(sample.path)).read_bytes()
        except OSError as error:
            # Retry transient errors of network file systems, but not files that do not exist or may not be read.
            if attempt + 1 == READ_ATTEMPTS or isinstance(
                error, (FileNotFoundError, PermissionError, IsADirectoryError)
            ):
                raise DatasetError(
                    f"{sample.path} cannot be read",
                    found=error.strerror or str(error),
                    hint="restore the file, then run the same command again: committed work is kept",
                ) from error
        time.sleep(pause)
        pause *= 4
    raise AssertionError("unreachable")


def image_bytes(preprocessing: Any) -> int:
    """The size of one decoded image in bytes, as it is sent to an evaluator."""
    return 3 * preprocessing.crop[0] * preprocessing.crop[1] if isinstance(preprocessing, Preprocessing) else 500_000
