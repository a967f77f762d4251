"""An evaluator on this machine's device, without Ray or a store: models, chunks of images in memory, shards.

Needs torch, torchvision, timm, NumPy, Pillow and pyarrow only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qubastore.conditions import Condition
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.worker.batch_size import work_of
from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.images import Decoded
from qubastore.evaluators.worker.messages import SHARDS_AT_A_TIME, Preparation, Settings, ShardRequest, ShardResult
from qubastore.evaluators.worker.pipeline import overlapped
from qubastore.models.spec import ModelSpec

if TYPE_CHECKING:
    from qubastore.evaluators.worker.held_model import HeldModel

AT_A_TIME = SHARDS_AT_A_TIME["gpu"]
"""Shards, on a CPU that stands for a GPU as well."""


class Workbench:
    """An evaluator with some models.

    If `preparation` is set, the device decodes the images of the chunks.

    Args:
        folder: Where shards are written; they are removed once they are complete.
        specs: The models.
        precision: Precision of the forward passes.
        use_gpu: Whether the device is a GPU.
        batch_size: Images per forward pass; None finds the largest that fits.
        threads: CPU threads for torch; None takes all cores.
    """

    def __init__(
        self,
        folder: Path | str,
        specs: Sequence[str],
        *,
        precision: str = "fp32",
        use_gpu: bool = False,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        settings = Settings(str(folder), precision, batch_size, use_gpu, threads or os.cpu_count() or 1)
        self.evaluator = ShardEvaluator(settings)
        self.busy = 0.0
        self.preparation: Preparation | None = None
        self.model_ids: list[str] = []
        self.sources: list[ModelSource] = []
        for spec in specs:
            source = ModelSource.of(ModelSpec.parse(spec))
            model = describe(source.load(), thorough=False)
            self.evaluator.load(model, source)
            self.model_ids.append(model.model_id)
            self.sources.append(source)

    @property
    def held(self) -> list[HeldModel]:
        """The models on the device."""
        return [self.evaluator._models[model_id] for model_id in self.model_ids]

    def prepare(self, condition: str = "clean") -> int:
        """Settle the batch sizes for a condition; return that of the first model."""
        parsed = Condition.parse(condition)
        for model_id in self.model_ids:
            self.evaluator.size(model_id, [parsed], {})
        return self.held[0].batch_sizes[work_of(parsed)]

    def request(
        self, shard: int, size: int, *, condition: str = "clean", keep: tuple[str, ...] = ("outputs", "logits")
    ) -> ShardRequest:
        """A request for shard number `shard` of `size` samples, with label 0 for each."""
        parsed = Condition.parse(condition)
        random = parsed.parameters.get("start") == "random"
        return ShardRequest(
            shard,
            shard * size,
            size,
            np.zeros((size, 1), np.int32),
            {model_id: f"run-{number}" for number, model_id in enumerate(self.model_ids)},
            0,
            "own-classes",
            dict.fromkeys(self.model_ids, keep),
            parsed,
            tuple(range(shard * size, (shard + 1) * size)) if random else (),
            self.preparation,
            tuple(map(str, range(size))) if self.preparation else (),
        )

    def evaluate(
        self, requests: Iterable[ShardRequest], chunks: Callable[[int], Iterable[Decoded]]
    ) -> list[ShardResult]:
        """Evaluate shards, some at a time as in an ingest; `chunks` gives those of a shard by its number."""

        def one(request: ShardRequest) -> ShardResult:
            result = self.evaluator.evaluate(request, chunks(request.shard))
            assert not result.errors, result.errors
            return result

        return list(overlapped(one, requests, AT_A_TIME))

    def images_per_second(
        self, n_shards: int, size: int, chunks: Callable[[int], Iterable[Decoded]], condition: str = "clean"
    ) -> float:
        """Speed from the first batch to the last staged file; the files are removed afterwards.

        `busy` is then the share of that time that the device spent in forward passes.
        """
        requests = [self.request(number, size, condition=condition) for number in range(n_shards)]
        started = time.perf_counter()
        results = self.evaluate(requests, chunks)
        seconds = time.perf_counter() - started
        self.busy = sum(shard.seconds for result in results for shard in result.shards) / seconds
        drop(results)
        return n_shards * size / seconds

    def forward_alone(self, batch: int, seconds: float, number: int = 0) -> float:
        """Images per second of forward passes alone on normalised random inputs that stay on the device.

        In the thread that drives the device, on several inputs in turn.
        """
        return self.evaluator._on_device(self._forward_alone, batch, seconds, self.held[number])

    def _forward_alone(self, batch: int, seconds: float, held: HeldModel) -> float:
        import torch

        device, passes = self.evaluator._device, self.evaluator._passes
        height, width = held.input_size or (224, 224)
        inputs = [
            torch.randn(batch, 3, height, width, device=device).contiguous(memory_format=torch.channels_last)
            for _ in range(3)
        ]
        transfers = self.evaluator._transfers
        for pixels in inputs:
            passes.call(held, held.module, pixels, batch)
        done, started, passed = 0, transfers.mark(), 0.0
        while passed < seconds:
            for pixels in inputs:
                passes.call(held, held.module, pixels, batch)
                done += batch
            passed = transfers.seconds(started, transfers.mark())
        held.captured.clear()
        return done / passed


def chunks_in_memory(size: int, side: int = 224, n_images: int = 1024, seed: int = 0) -> Callable[[int], list[Decoded]]:
    """Decoded chunks of 32 images (side, side, 3) uint8 for shards of `size`: `n_images` random images in turn."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n_images, side, side, 3), np.uint8)

    def chunks(shard: int) -> list[Decoded]:
        found = []
        for first in range(shard * size, (shard + 1) * size, 32):
            ids = list(range(first, min(first + 32, (shard + 1) * size)))
            place = first % n_images
            found.append(Decoded(ids, pixels[place : place + len(ids)]))
        return found

    return chunks


def drop(results: Iterable[ShardResult]) -> None:
    """Remove the files of shards."""
    from qubastore.lake.object_storage import DataFiles

    for result in results:
        for shard in result.shards:
            shard.drop_files(DataFiles(""))


def write_models(folder: Path, architectures: Iterable[str]) -> dict[str, str]:
    """A file of timm's architectures with random weights, as fast as trained ones: architecture -> model."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "networks.py"
    file.write_text(MODELS + "".join(f"\n\ndef {n}():\n    return make({n!r})\n" for n in architectures))
    return {name: f"python:{file}:{name}" for name in architectures}


MODELS = '''
import timm
import torch


def make(architecture):
    """Random weights, and logits of the size of trained networks'."""
    torch.manual_seed(0)
    config = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"}
    return timm.create_model(architecture), config
'''
