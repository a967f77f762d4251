"""Decoding of a batch on the device, for the decoder `nvjpeg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qubastore.evaluators.pixels import tensors
from qubastore.evaluators.worker.images import decoded_by_pillow, failure
from qubastore.evaluators.worker.inputs import Batch
from qubastore.evaluators.worker.messages import Preparation, ShardResult
from qubastore.runs.shard import Failure

if TYPE_CHECKING:
    import torch

AT_A_TIME = 64
"""Images that are decoded at a time: in full size they take more memory than the inputs that are made of them."""


def decode_batch(
    batch: Batch,
    uploaded: Mapping[str, torch.Tensor],
    preparation: Preparation,
    device: torch.device,
    failures: list[Failure],
    result: ShardResult,
) -> tuple[Batch, dict[str, torch.Tensor]]:
    """A batch with its images decoded, resized and cropped on a device.

    A file that the device's decoder refuses is left to Pillow, which says what is wrong with it if it cannot decode it
    either.

    Args:
        batch: A batch whose images are encoded.
        uploaded: Its tensors on the device.
        preparation: How to resize and crop.
        device: The device.
        failures: Receives the images that cannot be decoded.
        result: Its count of images that Pillow decoded is increased.

    Returns:
        The batch of the images that could be decoded, which may be none, and its tensors with `images`, (n, h, w, 3)
        uint8.

    Raises:
        IngestError: if the decoder does not work at all.
        OutOfMemoryError: torch's, if not even one image fits the device.
    """
    import torch

    images: list[torch.Tensor] = []
    places = []
    for place, image in enumerate(_prepared(batch.encoded, preparation, device, result)):
        if isinstance(image, Exception):
            failures.append(failure(batch.sample_ids[place], batch.keys[place], image))
        else:
            images.append(image)
            places.append(place)
    chosen = dict(uploaded)
    if len(places) < len(batch.sample_ids):
        index = torch.tensor(places, dtype=torch.int64, device=device)
        chosen = {name: values[index] for name, values in uploaded.items()}
    if images:
        chosen["images"] = torch.stack(images)
    kept = replace(
        batch,
        sample_ids=[batch.sample_ids[place] for place in places],
        seeds=[batch.seeds[place] for place in places] if batch.seeds else [],
        encoded=[],
    )
    return kept, chosen


def _prepared(
    images: Sequence[bytes | NDArray[np.uint8]], preparation: Preparation, device: torch.device, result: ShardResult
) -> list[torch.Tensor | Exception]:
    """The input of each image on the device, (h, w, 3) uint8, or why there is none."""
    import torch

    found: list[torch.Tensor | Exception] = []
    size = AT_A_TIME
    while len(found) < len(images):
        part = images[len(found) : len(found) + size]
        try:
            found += _part(part, preparation, device, result)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size //= 2
    return found


def _part(
    images: Sequence[bytes | NDArray[np.uint8]], preparation: Preparation, device: torch.device, result: ShardResult
) -> list[torch.Tensor | Exception]:
    import torch

    decoded = iter(tensors.decode_jpegs([image for image in images if isinstance(image, bytes)], device))
    found: list[torch.Tensor | Exception] = []
    n_by_pillow = 0
    for image in images:
        pixels = next(decoded) if isinstance(image, bytes) else None
        if not isinstance(image, bytes):
            found.append(torch.from_numpy(image).to(device))
        elif pixels is None:
            inputs = _by_pillow(image, preparation)
            n_by_pillow += not isinstance(inputs, Exception)
            found.append(inputs if isinstance(inputs, Exception) else inputs.to(device))
        else:
            try:
                found.append(tensors.prepare(pixels, preparation.preprocessing, preparation.shift))
            except ValueError as error:  # others are errors of the device
                found.append(error)
    result.n_by_pillow += n_by_pillow
    return found


def _by_pillow(file: bytes, preparation: Preparation) -> torch.Tensor | Exception:
    """The input of an image that the device refuses, on the host, or why Pillow cannot decode it either."""
    import torch

    try:
        return torch.from_numpy(decoded_by_pillow(file, preparation.preprocessing, preparation.shift))
    except Exception as error:  # Pillow raises many kinds on bad data
        return error
