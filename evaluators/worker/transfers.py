"""Copies between a device and the host, which the device does not wait for, and times on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class Transfers(Protocol):
    """The copies of one device.

    Attributes:
        columns_on_device: Whether columns are computed on the device, so that only what is kept is copied.
    """

    columns_on_device: bool

    def host_array(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Uninitialised memory of the host that `upload` copies from."""

    def upload(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copies of tensors for the device, which waits for them before the work that it is given from now on."""

    def download(self, values: Mapping[str, torch.Tensor]) -> Callable[[], dict[str, NDArray[Any]]]:
        """Begin to copy tensors to the host; the result waits for the copies and gives them as arrays."""

    def mark(self) -> Any:
        """A point in the device's work."""

    def seconds(self, start: Any, end: Any) -> float:
        """The time between two points; waits until the device has reached them."""


class CpuTransfers:
    """The device is the host: nothing is copied."""

    columns_on_device = False

    def host_array(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Ordinary memory."""
        import torch

        return torch.empty(shape, dtype=dtype)

    def upload(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors themselves."""
        return dict(values)

    def download(self, values: Mapping[str, torch.Tensor]) -> Callable[[], dict[str, NDArray[Any]]]:
        """The tensors themselves, as arrays."""
        found = {name: value.detach().numpy() for name, value in values.items()}
        return lambda: found

    def mark(self) -> float:
        """The time of the host."""
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """The time between two points."""
        return end - start


class CudaTransfers:
    """Copies from and to pinned memory, on streams beside that of the forward passes.

    Args:
        device: The GPU.
    """

    columns_on_device = True

    def __init__(self, device: torch.device) -> None:
        import torch

        self._device = device
        self._up, self._down = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def host_array(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Pinned memory; torch's allocator gives a block again only when copies from it have ended."""
        import torch

        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def upload(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copy on the stream of uploads, beside what the current stream still has to do."""
        import torch

        with torch.cuda.stream(self._up):
            copies = {name: value.to(self._device, non_blocking=True) for name, value in values.items()}
            done = self._up.record_event()
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(done)
        for copy in copies.values():
            # Its memory belongs to the stream of uploads: keep it until the work that reads it is done.
            copy.record_stream(stream)
        return copies

    def download(self, values: Mapping[str, torch.Tensor]) -> Callable[[], dict[str, NDArray[Any]]]:
        """Copy on the stream of downloads, after what the current stream has been given so far."""
        import torch

        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            copies = {}
            for name, value in values.items():
                copies[name] = self.host_array(value.shape, value.dtype)
                copies[name].copy_(value, non_blocking=True)
                value.record_stream(self._down)
            # Waiting for it blocks: a thread that spins would take a core from decoding.
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(self._down)

        def arrays() -> dict[str, NDArray[Any]]:
            done.synchronize()
            # Copied once more, so that pinned memory is free again for the next batch.
            return {name: np.array(copy.numpy()) for name, copy in copies.items()}

        return arrays

    def mark(self) -> Any:
        """An event of the current stream."""
        import torch

        event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """The time between two events."""
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000
