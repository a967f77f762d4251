"""From samples to what an evaluator needs: read and decode images, or leave them encoded for a GPU.

Decode workers need only Pillow, and torchvision for its decoder: they start without torch.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qubastore.conditions import NVJPEG, PILLOW, TORCHVISION, Shift
from qubastore.datasets.decoding import open_image
from qubastore.datasets.places import read_file
from qubastore.datasets.stored_images import read_part
from qubastore.errors import DatasetError, QubastoreError
from qubastore.evaluators.pixels import pillow, tensors
from qubastore.evaluators.worker.corrupted_files import Corrupted
from qubastore.hashing import content_hash
from qubastore.models.preprocessing import Preprocessing
from qubastore.runs.shard import Failure

READ_ATTEMPTS = 4


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
    """Some samples of a shard, ready for models or for the decoder of a GPU.

    Attributes:
        sample_ids: Ids of the images that could be decoded, in order.
        pixels: (n, height, width, 3) uint8; None if the evaluator decodes the images.
        images: Files that the evaluator decodes; or, if Pillow had to decode them, inputs (height, width, 3) uint8.
        failures: Images that could not be decoded.
        contents: Sample id -> content hash of every image that was read.
        n_by_pillow: Number of images that Pillow decoded because the decoder cannot.
        seconds: Time spent.
    """

    sample_ids: list[int] = field(default_factory=list)
    pixels: NDArray[np.uint8] | None = None
    images: list[bytes | NDArray[np.uint8]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    contents: dict[int, str] = field(default_factory=dict)
    n_by_pillow: int = 0
    seconds: float = 0.0


def decode(
    samples: Sequence[SampleFile],
    preprocessing: Preprocessing | None,
    shift: Shift | None = None,
    decoder: str = PILLOW,
    corrupted: Corrupted | None = None,
) -> Decoded:
    """Read and decode samples; an image that cannot be decoded becomes a failure.

    Args:
        samples: The samples, in order.
        preprocessing: How to resize and crop; None keeps the files, after checking that they can be decoded.
        shift: How to move the crop.
        decoder: One of `conditions.DECODERS`. With `nvjpeg`, plain JPEG files are kept for the evaluator.
        corrupted: How to corrupt the images first; None leaves them as they are.

    Raises:
        DatasetError: if a file cannot be read after retries, or its size is not that of the dataset; these are not
            failures of single images.
    """
    started = time.perf_counter()
    result = Decoded()
    with_decoder = _DECODE[decoder] if preprocessing is not None else _checked
    inputs: list[Any] = []
    for sample in samples:
        data = sample.data if sample.data is not None else _read(sample)
        result.contents[sample.sample_id] = content_hash(data)
        try:
            if corrupted is not None:
                data, sample = _corrupted(data, sample, corrupted)
            value, by_pillow = with_decoder(data, sample, preprocessing, shift)
        except QubastoreError:
            raise  # of the dataset or of the machine, not of the image
        except Exception as error:  # Pillow raises many kinds on bad data, SyntaxError among them
            result.failures.append(failure(sample.sample_id, sample.key, error))
            continue
        inputs.append(value)
        result.n_by_pillow += by_pillow
        result.sample_ids.append(sample.sample_id)
    if preprocessing is None or decoder == NVJPEG:
        result.images = inputs
    elif inputs:
        result.pixels = np.stack(inputs)
    result.seconds = time.perf_counter() - started
    return result


def _corrupted(data: bytes, sample: SampleFile, corrupted: Corrupted) -> tuple[bytes, SampleFile]:
    """The file of a corrupted image, and the sample without the size that the original has."""
    if sample.size is not None:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(image.size, sample)
    return corrupted.file(data, sample.key), replace(sample, size=None)


def failure(sample_id: int, key: str, error: Exception) -> Failure:
    """The failure of an image that cannot be decoded: the same text for the same reason each time."""
    text = re.sub(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>", "", f"{type(error).__name__}: {error}".splitlines()[0])
    return Failure(sample_id, key, text[:300])


def _checked(data: bytes, sample: SampleFile, *_: Any) -> tuple[bytes, bool]:
    """The file itself, after Pillow decoded it."""
    _check_size(open_image(data).size, sample)
    return data, False


def _with_pillow(
    data: bytes, sample: SampleFile, preprocessing: Preprocessing, shift: Shift | None
) -> tuple[NDArray[np.uint8], bool]:
    """The model's input, (height, width, 3) uint8."""
    image = open_image(data)
    _check_size(image.size, sample)
    return np.asarray(pillow.prepare(image, preprocessing, shift)), False


def _with_torchvision(
    data: bytes, sample: SampleFile, preprocessing: Preprocessing, shift: Shift | None
) -> tuple[NDArray[np.uint8], bool]:
    """The model's input, (height, width, 3) uint8, and whether Pillow had to decode the image."""
    image = tensors.decode_jpegs([data])[0] if _is_plain_jpeg(data, sample) else None
    if image is None:
        return decoded_by_pillow(data, preprocessing, shift), True
    return tensors.prepare(image, preprocessing, shift).numpy(), False


def decoded_by_pillow(data: bytes, preprocessing: Preprocessing, shift: Shift | None) -> NDArray[np.uint8]:
    """The input, (height, width, 3) uint8, of a file that another decoder leaves to Pillow, resized as others are."""
    pixels = tensors.of_array(np.asarray(open_image(data)))
    prepared: NDArray[np.uint8] = tensors.prepare(pixels, preprocessing, shift).numpy()
    return prepared


def _for_the_gpu(
    data: bytes, sample: SampleFile, preprocessing: Preprocessing, shift: Shift | None
) -> tuple[bytes | NDArray[np.uint8], bool]:
    """The file, or the model's input if Pillow has to decode it, and whether it did."""
    if _is_plain_jpeg(data, sample):
        return data, False
    return decoded_by_pillow(data, preprocessing, shift), True


def _is_plain_jpeg(data: bytes, sample: SampleFile) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        _check_size(image.size, sample)
        return tensors.is_plain_jpeg(image, data)


_DECODE: Mapping[str, Callable[..., tuple[Any, bool]]] = {
    PILLOW: _with_pillow,
    TORCHVISION: _with_torchvision,
    NVJPEG: _for_the_gpu,
}


def _check_size(size: tuple[int, int], sample: SampleFile) -> None:
    if sample.size is not None and size != sample.size:
        raise DatasetError(
            f"{sample.path or sample.key} has a different size than its dataset",
            expected=f"{sample.size[0]} x {sample.size[1]} pixels, as its authors distribute it",
            found=f"{size[0]} x {size[1]}",
            hint="restore the file, then run the same command again: committed work is kept",
        )


def _read(sample: SampleFile) -> bytes:
    pause = 0.1
    for attempt in range(READ_ATTEMPTS):
        try:
            if sample.row is not None:
                return read_part(str(sample.path), sample.row)
            return read_file(str(sample.path))
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


def image_bytes(preprocessing: Preprocessing | None, decoder: str = PILLOW) -> int:
    """About the size of one image in bytes, as it is sent to an evaluator."""
    if preprocessing is None or decoder == NVJPEG:
        return 500_000
    return 3 * preprocessing.crop[0] * preprocessing.crop[1]
