"""Timed forward passes of one model: latency, the fastest batch, memory and energy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from qubastore.conditions import COMPILED
from qubastore.evaluators.devices import Energy

if TYPE_CHECKING:
    import torch

    from qubastore.evaluators.worker.core import ShardEvaluator
    from qubastore.evaluators.worker.held_model import HeldModel

WARM_UP = 5
"""Passes before any is timed."""

LATENCIES = (100, 1000)
"""Fewest and most passes of one image: of fewer, the 99th percentile would be the slowest."""

PASSES_AHEAD = 4
"""Passes that are given to a GPU before it is waited for."""

GAIN = 1.02
"""A larger batch must be faster by this factor; after two in a row that are not, larger ones are not tried."""


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
