"""Benchmarks of models on this machine's device: latency, throughput, memory and energy of their forward passes.

Networks run as in an ingest: loaded and checked alike, in channels-last order, with deterministic algorithms and
without TensorFloat-32. Inputs are random and on the device already: decoding and copying are no part of the figures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from qubastore.conditions import COMPILED, PRECISIONS
from qubastore.errors import IngestError, ModelError, QubastoreError, UsageError, check_name, in_one_line
from qubastore.evaluators.devices import Energy, processor_name
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.evaluators.planning.heads import read_head, store_head
from qubastore.evaluators.planning.identify import PlannedModel, identify
from qubastore.evaluators.worker.batch_size import LARGEST
from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.messages import Settings
from qubastore.models.spec import ModelSpec
from qubastore.models.zoo import expand_models
from qubastore.runs import records
from qubastore.runs.device_benchmarks import DeviceBenchmark, replace_benchmark
from qubastore.store import Store

if TYPE_CHECKING:
    import torch

    from qubastore.evaluators.worker.held_model import HeldModel

WARM_UP = 5
"""Passes before any is timed."""

LATENCIES = (100, 1000)
"""Fewest and most passes of one image: of fewer, the 99th percentile would be the slowest."""

PASSES_AHEAD = 4
"""Passes that are given to a GPU before it is waited for."""

GAIN = 1.02
"""A larger batch must be faster by this factor; after two in a row that are not, larger ones are not tried."""


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
            planned, revision = identify(store, spec, log=log)
            store.write(lambda c, model=planned.model, known=revision: records.register_model(c, model, known))  # type: ignore[misc]
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

    evaluator = ShardEvaluator(settings)
    head = evaluator.load(planned.model, planned.source, read_head(store, planned.model_id))
    if head is not None:
        store_head(store, planned.model_id, head)
    held = evaluator._models[planned.model_id]
    if planned.model.input_size is None:
        raise ModelError(f"{planned.title} has no input size that is known", expected="a timm data config")
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


class Passes:
    """Timed forward passes of one model, in the thread that drives the device.

    Args:
        evaluator: Its evaluator.
        held: The model.
        size: Height and width of its input.
        seconds: Time for the latency, and for each batch size.
    """

    def __init__(self, evaluator: ShardEvaluator, held: HeldModel, size: tuple[int, int], seconds: float) -> None:
        self._evaluator, self._held, self._size, self._seconds = evaluator, held, size, seconds

    def latencies(self) -> list[float]:
        """Seconds of forward passes of one image, each from the call until its result is there."""
        self._start_anew()
        inputs = self._inputs(1)
        for _ in range(WARM_UP):
            self._run(inputs)
        self._wait()
        times: list[float] = []
        started = time.perf_counter()
        while len(times) < LATENCIES[1] and (
            len(times) < LATENCIES[0] or time.perf_counter() - started < self._seconds
        ):
            before = time.perf_counter()
            self._run(inputs)
            self._wait()
            times.append(time.perf_counter() - before)
        return times

    def fastest_batch(self, largest: int) -> tuple[int, float]:
        """The power of two with most images per second, and that speed; larger batches are tried while they gain.

        Raises:
            OutOfMemoryError: if one image does not fit.
        """
        import torch

        best, fastest, since = 1, 0.0, 0
        size = 1
        while size <= largest and since < 2:
            try:
                speed = self._speed(size)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                torch.cuda.empty_cache()
                break
            since = since + 1 if speed < GAIN * fastest else 0
            if speed > fastest:
                best, fastest = size, speed
            size *= 2
        return best, fastest

    def peak_memory(self, batch: int) -> float:
        """Most memory of the GPU that is allocated in a pass of a batch, millions of bytes."""
        import torch

        self._start_anew()
        torch.cuda.empty_cache()
        inputs = self._inputs(batch)
        self._run(inputs)
        torch.cuda.reset_peak_memory_stats()
        self._run(inputs)
        self._wait()
        return torch.cuda.max_memory_allocated() / 1e6

    def energy(self, batch: int, counter: Energy) -> float:
        """Joules per image at a batch size, of passes that follow each other as those of the speed do."""
        self._start_anew()
        inputs = self._inputs(batch)
        self._many(inputs, 0.0)
        before = counter.joules()
        n_images, _ = self._many(inputs, max(2.0, self._seconds))
        return (counter.joules() - before) / n_images

    def _speed(self, batch: int) -> float:
        """Images per second: the median of three parts of the time."""
        self._start_anew()
        inputs = self._inputs(batch)
        self._many(inputs, 0.0)
        parts = [self._many(inputs, self._seconds / 3) for _ in range(3)]
        return float(np.median([n_images / seconds for n_images, seconds in parts]))

    def _many(self, inputs: torch.Tensor, seconds: float) -> tuple[int, float]:
        """Passes for some seconds, at least one: the number of images, and the seconds until the last result is there.

        Several passes are given to a GPU before it has done the first, as in an ingest.
        """
        started, n_passes = time.perf_counter(), 0
        while not n_passes or time.perf_counter() - started < seconds:
            self._run(inputs)
            n_passes += 1
            if n_passes % PASSES_AHEAD == 0:
                self._wait()
        self._wait()
        return n_passes * len(inputs), time.perf_counter() - started

    def _start_anew(self) -> None:
        """Forget compiled code: torch compiles a network for eight sizes of batches, and then runs it uncompiled."""
        if self._evaluator._settings.precision.endswith(COMPILED):
            import torch

            self._held.compiled.clear()
            torch._dynamo.reset()

    def _inputs(self, batch: int) -> torch.Tensor:
        import torch

        generator = torch.Generator().manual_seed(0)
        values = torch.randn(batch, 3, *self._size, generator=generator)
        return values.to(self._evaluator._device).contiguous(memory_format=torch.channels_last)

    def _run(self, inputs: torch.Tensor) -> Any:
        return self._evaluator._passes.call(self._held, self._held.module, inputs, len(inputs))

    def _wait(self) -> None:
        import torch

        if self._evaluator._device.type == "cuda":
            torch.cuda.synchronize()
