"""Rows of the table `device_benchmarks`: what the forward passes of a model cost on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from qubastore.lake.rows import insert

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class DeviceBenchmark:
    """What the forward passes of a model cost on a device.

    Attributes:
        model_id: Id of the model.
        device: Name of the GPU; or of the processor, with the number of threads.
        runtime: What ran the network, as in `torch 2.11.0, CUDA 13.0`.
        precision: One of `conditions.PRECISIONS`.
        height: Height of the input, pixels.
        width: Width of the input, pixels.
        latency_p50_ms: Median time of a forward pass of one image.
        latency_p99_ms: 99th percentile of these times.
        n_latencies: Number of passes that these are over.
        batch_size: The batch size, a power of two, with most images per second.
        images_per_second: Images per second at that batch size.
        peak_memory_mb: Most memory of the GPU allocated at that batch size, millions of bytes; None on a processor.
        energy_j: Energy of the whole GPU per image at that batch size, joules; None where NVML does not give it.
        measured_at: When it was measured.
    """

    model_id: str
    device: str
    runtime: str
    precision: str
    height: int
    width: int
    latency_p50_ms: float
    latency_p99_ms: float
    n_latencies: int
    batch_size: int
    images_per_second: float
    peak_memory_mb: float | None
    energy_j: float | None
    measured_at: datetime


KEY = ("model_id", "device", "runtime", "precision")
"""The columns of which there is one row each."""


def delete_benchmark(connection: duckdb.DuckDBPyConnection, key: Sequence[str]) -> None:
    """Delete the benchmark of a model, device, runtime and precision, if there is one."""
    connection.execute(f"delete from device_benchmarks where ({', '.join(KEY)}) = (?, ?, ?, ?)", list(key))


def replace_benchmark(connection: duckdb.DuckDBPyConnection, found: DeviceBenchmark) -> None:
    """Store a benchmark, in place of an earlier one of the same model, device, runtime and precision."""
    delete_benchmark(connection, [getattr(found, column) for column in KEY])
    insert(connection, "device_benchmarks", [astuple(found)])
