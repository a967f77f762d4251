"""Batches of a shard: cut from decoded chunks, and stacked before the device needs them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qubastore.evaluators.worker.batch_size import batch_end
from qubastore.evaluators.worker.images import Decoded
from qubastore.evaluators.worker.messages import ShardRequest, ShardResult
from qubastore.evaluators.worker.normalisation import Normalisation
from qubastore.evaluators.worker.recycled import Recycled
from qubastore.evaluators.worker.transfers import Transfers
from qubastore.runs.shard import Failure

if TYPE_CHECKING:
    import torch


@dataclass
class Batch:
    """Samples of a shard that are run together.

    Attributes:
        sample_ids: Their ids.
        seeds: One per sample for random conditions; else none.
        encoded: Images that are decoded by the device, or by models that preprocess images themselves.
        tensors: What to copy to the device: `labels`, (n, k) int32, padded with -1; and `images`, (n, h, w, 3) uint8,
            unless they are encoded or normalised already.
        inputs: Inputs that were normalised ahead.
        keys: The names of the samples, if the device decodes their images.
    """

    sample_ids: list[int]
    seeds: list[int]
    encoded: list[Any]
    tensors: dict[str, torch.Tensor]
    inputs: dict[Normalisation, torch.Tensor] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def normalised(self, normalisation: Normalisation, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The input of models with this normalisation, which share it."""
        if normalisation not in self.inputs:
            self.inputs[normalisation] = normalisation.of_bytes(tensors["images"])
        return self.inputs[normalisation]


def batches(
    request: ShardRequest,
    chunks: Iterable[Decoded],
    size: int,
    transfers: Transfers,
    normalisations: Collection[Normalisation],
    memory: Recycled,
    failures: list[Failure],
    result: ShardResult,
) -> Iterator[Batch]:
    """Batches of a shard, stacked in memory that the device can copy.

    Args:
        request: The shard.
        chunks: Decoded parts of it, in order.
        size: Images per batch.
        transfers: The memory for them.
        normalisations: What to normalise ahead, on a host that is the device.
        memory: For normalised inputs.
        failures: Receives the images that cannot be decoded.
        result: Receives the content hashes, the time of decoding, and how many images Pillow decoded.
    """
    for sample_ids, parts in _cut(chunks, size, failures, result):
        # Nothing here refers to a batch that has been given away, so that its memory is free when it has been run.
        yield _stacked(request, sample_ids, parts, transfers, normalisations, memory)


def _stacked(
    request: ShardRequest,
    sample_ids: list[int],
    parts: list[Any],
    transfers: Transfers,
    normalisations: Collection[Normalisation],
    memory: Recycled,
) -> Batch:
    """A batch of some samples, whose images or encoded images are `parts`."""
    import torch

    places = np.asarray(sample_ids) - request.first_sample
    labels = request.labels[places]
    seeds = [request.seeds[place] for place in places] if request.seeds else []
    encoded = parts if request.preparation is not None or isinstance(parts[0], bytes) else []
    keys = [request.keys[place] for place in places] if request.keys else []
    tensors = {"labels": transfers.host_array(labels.shape, torch.int32)}
    tensors["labels"].numpy()[:] = labels
    inputs = {} if encoded else {each: each.of_images(parts, memory) for each in normalisations}
    if not encoded and not inputs:
        tensors["images"] = transfers.host_array((len(parts), *parts[0].shape), torch.uint8)
        np.stack(parts, out=tensors["images"].numpy())
    return Batch(sample_ids, seeds, encoded, tensors, inputs, keys)


def _cut(
    chunks: Iterable[Decoded], size: int, failures: list[Failure], result: ShardResult
) -> Iterator[tuple[list[int], list[Any]]]:
    """Batches of the decodable samples of the dataset's places 0 to size - 1, size to 2 size - 1, and so on.

    The other images in a batch can change the last digits of an image's outputs, so they depend on its place in the
    dataset and the batch size alone: not on the shard size, nor on images before it that cannot be decoded.
    """
    ids: list[int] = []
    parts: list[Any] = []
    for decoded in chunks:
        failures += decoded.failures
        result.contents.update(decoded.contents)
        result.decode_seconds += decoded.seconds
        result.n_by_pillow += decoded.n_by_pillow
        ids += decoded.sample_ids
        parts += list(decoded.pixels) if decoded.pixels is not None else decoded.images
        while ids and (n := batch_end(ids, size)) < len(ids):
            yield ids[:n], parts[:n]
            ids, parts = ids[n:], parts[n:]
    if ids:
        yield ids, parts
