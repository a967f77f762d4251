"""Benchmarks that need a GPU and Ray: evaluation from memory, and ingest of JPEG, against forward passes alone.

`make bench GPU=1` runs them. `benchmarks.device` measures a GPU without Ray, and more of it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device import NETWORKS, Sizes
from benchmarks.measure import REPEATS, Figures, Row, alternate
from benchmarks.photographs import ingested, repeated
from benchmarks.workbench import Workbench, chunks_in_memory, write_models

FULL = Sizes()


def rows(
    folder: Path,
    label: str,
    *,
    use_gpu: bool = True,
    sizes: Sizes = FULL,
    n_shards: int = 8,
    n_jpeg: int = 20_000,
) -> Iterator[Row]:
    """The rows of one network; on a CPU, with small sizes, they can be tried."""
    import ray
    import torch

    if use_gpu and not torch.cuda.is_available():
        raise SystemExit("these rows need a GPU, and torch finds none")
    spec = write_models(folder, [NETWORKS[label]])[NETWORKS[label]]
    actor: Any = ray.remote(Workbench).options(num_gpus=int(use_gpu), num_cpus=0)
    bench = actor.remote(folder / "files", [spec], precision="bf16", use_gpu=use_gpu)
    ray.get(bench.prepare.remote())
    references = {chunk.sample_ids[0]: ray.put(chunk.pixels) for chunk in chunks_in_memory(sizes.shard)(0)}

    def from_ray(shard: int) -> Iterator[Any]:
        for chunk in chunks_in_memory(sizes.shard, n_images=32)(shard):
            chunk.pixels = ray.get(references[chunk.sample_ids[0] % sizes.shard])
            yield chunk

    speeds = {size: ray.get(bench.forward_alone.remote(size, sizes.seconds / 8)) for size in sizes.batches}
    best = max(speeds, key=speeds.__getitem__)
    times = alternate(
        {
            "alone": lambda: 1 / float(ray.get(bench.forward_alone.remote(best, sizes.seconds))),
            "memory": lambda: 1 / float(ray.get(bench.images_per_second.remote(n_shards, sizes.shard, from_ray))),
        }
    )
    free, ours = 1 / times["alone"].median, 1 / times["memory"].median
    yield Row(
        f"{label} bf16, {n_shards} shards of {sizes.shard:,} decoded images from Ray's memory to Parquet",
        f"{ours:.0f} images/s",
        f"forward passes alone, batches of {best}: {free:.0f} images/s",
        f"{ours / free:.2f}",
        ">= 0.9",
        ours / free >= 0.9,
        f"{REPEATS} repeats each",
        Figures("images/s", ours, free, ours / free),
    )
    ray.kill(bench)
    images = repeated(folder, n_jpeg)
    speeds_of_jpeg = [n_jpeg / ingested(folder, [spec], images, precision="bf16")[0] for _ in range(REPEATS)]
    cores = os.cpu_count() or 1
    speed = float(np.median(speeds_of_jpeg))
    yield Row(
        f"{label} bf16, ingest of {n_jpeg:,} JPEG photographs",
        f"{speed:.0f} images/s",
        f"forward passes alone: {free:.0f} images/s",
        f"{speed / free:.2f}; {speed / cores:.0f} images/s for each of {cores} cores",
        "the decode-bound figure per core",
        None,
        f"{min(speeds_of_jpeg):.0f} to {max(speeds_of_jpeg):.0f} images/s",
        Figures("images/s", speed, free, speed / free),
    )


BENCHMARKS: dict[str, Callable[[Path], Iterator[Row]]] = {
    f"gpu-{name}": functools.partial(rows, label=label) for label, name in NETWORKS.items()
}
