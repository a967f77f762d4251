"""Benchmarks of models on this machine's device: latency, throughput, memory and energy of their forward passes.

Networks run as in an ingest: loaded and checked alike, in channels-last order, with deterministic algorithms and
without TensorFloat-32. Inputs are random and on the device already: decoding and copying are no part of the figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from qubastore.conditions import PRECISIONS
from qubastore.errors import IngestError, ModelError, QubastoreError, UsageError, check_name, in_one_line
from qubastore.evaluators.devices import Energy, processor_name
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.evaluators.planning.heads import read_head, store_head
from qubastore.evaluators.planning.identify import PlannedModel
from qubastore.evaluators.planning.probes import identify_requested
from qubastore.evaluators.timed_passes import Passes
from qubastore.evaluators.worker.batch_size import LARGEST
from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.messages import Settings
from qubastore.models.spec import ModelSpec
from qubastore.models.zoo import expand_models
from qubastore.runs import records
from qubastore.runs.device_benchmarks import DeviceBenchmark, replace_benchmark
from qubastore.store import Store


@dataclass
class BenchReport:
    """The result of `bench`: the figures, which are stored, and the models that failed with their errors."""

    benchmarks: list[tuple[str, DeviceBenchmark]] = field(default_factory=list)
    errors: list[tuple[str, QubastoreError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def bench(
    store: Store,
    models: Sequence[ModelSpec | InMemoryModel | str],
    *,
    device: str | None = None,
    precisions: Sequence[str] = ("fp32",),
    threads: int | None = None,
    seconds: float = 3.0,
    log: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure what forward passes of models cost on this machine's device, and store the figures.

    Args:
        store: A store open for writing.
        models: As for `ingest`; one that is new to the store is stored.
        device: `gpu` or `cpu`; None means the GPU if torch finds one. The result names the device.
        precisions: Each is measured; see `ingest`.
        threads: CPU threads for torch on a CPU; None means all cores.
        seconds: Time for the latency, which is of at least 100 passes, and for each batch size.
        log: Called with lines for the user.

    Returns:
        The figures, in order, and the errors of models that failed, which do not stop the others.

    Raises:
        UsageError: on an unknown model, device or precision.
        IngestError: if torch finds no GPU and one was asked for.
    """
    import torch

    for precision in precisions:
        check_name("precision", precision, PRECISIONS)
    if device is not None:
        check_name("device", device, ("gpu", "cpu"))
    if not seconds > 0:
        raise UsageError(f"the time for each measurement is {seconds} s", expected="a number above 0")
    use_gpu = torch.cuda.is_available() if device is None else device == "gpu"
    if use_gpu and not torch.cuda.is_available():
        raise IngestError(
            "torch finds no GPU",
            found=f"torch {torch.__version__}, CUDA {torch.version.cuda}",
            hint="--device cpu, to measure the processor",
        )
    named, not_loadable = expand_models([model for model in models if isinstance(model, str)], None)
    specs = [*(model for model in models if not isinstance(model, str)), *named]
    report = BenchReport()
    for entry in not_loadable:
        log(f"left out: zoo:{entry.name} {entry.status}")
    if not specs:
        raise UsageError("there is nothing to measure", expected="at least one model")
    energy = Energy.of_this_gpu() if use_gpu else None
    if use_gpu and energy is None:
        report.notes.append("energy is not measured: NVML does not give it here (pip install 'qubastore[energy]')")
    for spec in specs:
        name = str(spec) if isinstance(spec, ModelSpec) else spec.name
        try:
            planned, revision = identify_requested(store, spec, log=log)
            row = (planned.model, revision, planned.source.checkpoint)
            store.write(lambda c, row=row: records.register_model(c, *row))  # type: ignore[misc]
            for precision in precisions:
                settings = Settings(str(store.files.root), precision, 1, use_gpu, threads or os.cpu_count() or 1)
                found = _measure(store, planned, settings, seconds, energy)
                store.write(lambda c, row=found: replace_benchmark(c, row), repeatable=True)  # type: ignore[misc]
                report.benchmarks.append((planned.title, found))
                log(f"{planned.title}, {precision}: measured on {found.device}")
        except Exception as error:  # the other models continue
            report.errors.append((name, _plain(error, name)))
    return report


def _plain(error: Exception, name: str) -> QubastoreError:
    """An error without the frames that it came through, which hold the network and its inputs."""
    if not isinstance(error, QubastoreError):  # from a library or the network
        error = ModelError(f"{name} cannot be measured", found=in_one_line(error)[:300])
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _measure(
    store: Store, planned: PlannedModel, settings: Settings, seconds: float, energy: Energy | None
) -> DeviceBenchmark:
    """The figures of one model in one precision, on a device that holds nothing else."""
    import torch

    if planned.model.input_size is None:
        raise ModelError(f"{planned.title} has no input size that is known", expected="a timm data config")
    evaluator = ShardEvaluator(settings)
    head = evaluator.load(planned.model, planned.source, read_head(store, planned.model_id))
    if head is not None:
        store_head(store, planned.model_id, head)
    held = evaluator._models[planned.model_id]
    height, width = planned.model.input_size
    passes = Passes(evaluator, held, (height, width), seconds)
    try:
        times = evaluator._on_device(passes.latencies)
        batch, speed = evaluator._on_device(passes.fastest_batch, LARGEST[settings.kind])
        memory = evaluator._on_device(passes.peak_memory, batch) if settings.use_gpu else None
        joules = evaluator._on_device(passes.energy, batch, energy) if energy is not None else None
    finally:
        evaluator._models.clear()
        # A model in memory is the user's own.
        held.module.to("cpu")
        del held, passes
        if settings.use_gpu:
            torch.cuda.empty_cache()
    p50, p99 = np.percentile(times, [50, 99])
    cuda = f", CUDA {torch.version.cuda}" if settings.use_gpu else ""
    return DeviceBenchmark(
        planned.model_id,
        evaluator.device_name if settings.use_gpu else processor_name(settings.threads),
        f"torch {torch.__version__.partition('+')[0]}{cuda}",
        settings.precision,
        height,
        width,
        float(p50) * 1000,
        float(p99) * 1000,
        len(times),
        batch,
        speed,
        memory,
        joules,
        datetime.now(UTC),
    )
