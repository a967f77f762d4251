"""Benchmarks that need a GPU: ingest from memory and from JPEG against forward passes alone. `make bench GPU=1`."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import REPEATS, Figures, Row, alternate
from benchmarks.photographs import ingested, repeated

ARCHITECTURES = {"ResNet-50": "resnet50", "ViT-B/16": "vit_base_patch16_224"}
BATCHES = (64, 128, 256, 512, 1024)

MODELS = '''
import timm
import torch

CONFIG = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"}


def make(architecture):
    """Random weights: as fast as trained ones."""
    torch.manual_seed(0)
    return timm.create_model(architecture), CONFIG
''' + "".join(f"\n\ndef {name}():\n    return make({name!r})\n" for name in ARCHITECTURES.values())


class Bench:
    """An evaluator with one model and its measurements; a Ray actor, so that it has a GPU to itself."""

    def __init__(self, file: str, name: str, folder: str, *, use_gpu: bool) -> None:
        from qubastore.evaluators.loaders.describe import describe
        from qubastore.evaluators.loaders.source import ModelSource
        from qubastore.evaluators.worker.core import ShardEvaluator
        from qubastore.evaluators.worker.messages import Settings
        from qubastore.models.spec import ModelSpec

        source = ModelSource.of(ModelSpec.parse(f"python:{file}:{name}"))
        model = describe(source.load())
        self.model_id = model.model_id
        self.evaluator = ShardEvaluator(Settings(folder, "bf16", None, use_gpu, os.cpu_count() or 1))
        self.evaluator.load(model, source)

    def forward(self, batches: tuple[int, ...], images: int) -> tuple[float, int]:
        """Images per second of forward passes alone, on random tensors on the device, and the best batch size."""
        import torch

        held, device = self.evaluator._models[self.model_id], self.evaluator._device
        best = (0.0, 0)
        for size in batches:
            pixels = torch.rand(size, 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
                held.module(pixels)
                _wait(device)
                started = time.perf_counter()
                for _ in range(max(1, images // size)):
                    held.module(pixels)
                _wait(device)
            held.features.clear()
            speed = max(1, images // size) * size / (time.perf_counter() - started)
            best = max(best, (speed, size))
        return best

    def shards(self, chunks: list[Any], n_shards: int, shard_size: int) -> float:
        """Images per second of shards of decoded images in memory: forward passes, narrow columns, files."""
        from qubastore.conditions import Condition
        from qubastore.evaluators.worker.messages import ShardRequest
        from qubastore.lake.object_storage import DataFiles

        condition = Condition.parse("clean")
        self.evaluator.size(self.model_id, [condition], {})
        started = time.perf_counter()
        for number in range(n_shards):
            request = ShardRequest(
                number,
                0,
                shard_size,
                np.zeros((shard_size, 1), np.int32),
                {self.model_id: "run"},
                1000,
                "imagenet-1k",
                {self.model_id: ("outputs", "logits")},
                condition,
            )
            result = self.evaluator.evaluate(request, chunks)
            assert not result.errors, result.errors
            for shard in result.shards:
                shard.drop_files(DataFiles(""))
        return n_shards * shard_size / (time.perf_counter() - started)


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def rows(
    folder: Path,
    label: str,
    *,
    use_gpu: bool = True,
    batches: tuple[int, ...] = BATCHES,
    shard_size: int = 1024,
    n_shards: int = 8,
    n_jpeg: int = 20_000,
) -> Iterator[Row]:
    """The rows of one architecture; tests use small sizes, which omit what they cannot show."""
    import ray
    import torch

    from qubastore.evaluators.worker.images import Decoded

    if use_gpu and not torch.cuda.is_available():
        raise SystemExit("these rows need a GPU, and torch finds none")
    file = folder / "networks.py"
    file.write_text(MODELS)
    name = ARCHITECTURES[label]
    actor: Any = ray.remote(Bench).options(num_gpus=int(use_gpu), num_cpus=0)
    bench = actor.remote(str(file), name, str(folder / "files"), use_gpu=use_gpu)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (32, 224, 224, 3), np.uint8).transpose(0, 3, 1, 2)
    ids = np.arange(shard_size).reshape(-1, 32)
    chunks = [ray.put(Decoded([int(i) for i in part], np.ascontiguousarray(pixels))) for part in ids]
    best: list[int] = []

    def alone() -> float:
        speed, size = ray.get(bench.forward.remote(batches, n_shards * shard_size))
        best.append(size)
        return 1 / float(speed)

    def memory() -> float:
        return 1 / float(ray.get(bench.shards.remote(chunks, n_shards, shard_size)))

    times = alternate({"alone": alone, "memory": memory})
    free, ours = 1 / times["alone"].median, 1 / times["memory"].median
    yield Row(
        f"{label} bf16, {n_shards} shards of {shard_size:,} decoded images in memory, files written",
        f"{ours:.0f} images/s",
        f"forward passes alone, batches of {best[-1]}: {free:.0f} images/s",
        f"{ours / free:.2f}",
        ">= 0.85",
        ours / free >= 0.85,
        f"{REPEATS} repeats each",
        Figures("images/s", ours, free, ours / free),
    )
    ray.kill(bench)
    images = repeated(folder, n_jpeg)
    spec = f"python:{file}:{name}"
    speeds = [n_jpeg / ingested(folder, [spec], images, precision="bf16")[0] for _ in range(REPEATS)]
    cores = os.cpu_count() or 1
    speed = float(np.median(speeds))
    yield Row(
        f"{label} bf16, ingest of {n_jpeg:,} JPEG photographs",
        f"{speed:.0f} images/s",
        f"forward passes alone: {free:.0f} images/s",
        f"{speed / free:.2f}; {speed / cores:.0f} images/s for each of {cores} cores",
        "the decode-bound figure per core",
        None,
        f"{min(speeds):.0f} to {max(speeds):.0f} images/s",
        Figures("images/s", speed, free, speed / free),
    )


BENCHMARKS: dict[str, Callable[[Path], Iterator[Row]]] = {
    f"gpu-{name}": functools.partial(rows, label=label) for label, name in ARCHITECTURES.items()
}
