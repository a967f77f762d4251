"""From bytes to a network's input: scale to [0, 1], subtract the mean, divide by the standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qubastore.evaluators.worker.recycled import Recycled

if TYPE_CHECKING:
    import torch


class Normalisation(NamedTuple):
    """The mean and standard deviation of each channel, of pixels in [0, 1].

    Values are computed in float32 as ((byte / 255) - mean) / std, each operation rounded, by every function.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """The input for pixels (n, 3, h, w) float32 in [0, 1], in channels-last order; it can be differentiated."""
        import torch

        mean, std = _constants(self, pixels.device)
        normalised = pixels.sub(mean.view(1, -1, 1, 1)).div(std.view(1, -1, 1, 1))
        return normalised.contiguous(memory_format=torch.channels_last)

    def of_bytes(self, images: torch.Tensor) -> torch.Tensor:
        """The input (n, 3, h, w) float32, in channels-last order, for images (n, h, w, 3) uint8 on a device."""
        import torch

        n, height, width, channels = images.shape
        rows = images.reshape(n, height, width * channels)
        inputs = torch.empty(rows.shape, dtype=torch.float32, device=images.device)
        _normalise(inputs, rows, *self._along_rows(width, images.device))
        return _channels_last(inputs, channels)

    def of_images(self, images: Sequence[NDArray[np.uint8]], memory: Recycled) -> torch.Tensor:
        """The same on the host, for images (h, w, 3) uint8 that need not lie beside each other.

        One thread computes it, image by image, so that values stay in its caches between the operations.
        """
        import torch

        height, width, channels = images[0].shape
        inputs = memory.array((len(images), height, width * channels))
        # NumPy stays within this thread, where torch would wake those of the forward passes.
        mean, std = (each.numpy() for each in self._along_rows(width, torch.device("cpu")))
        for part, image in zip(inputs, images, strict=True):
            _normalise(part, image.reshape(height, width * channels), mean, std)
        return _channels_last(torch.from_numpy(inputs), channels)

    def _along_rows(self, width: int, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Mean and standard deviation of each value of a row of pixels: operations are slow along three values."""
        return tuple(each.repeat(width) for each in _constants(self, device))


def _normalise(inputs: Any, values: Any, mean: Any, std: Any) -> None:
    """Write normalised bytes into `inputs`; arrays of NumPy or torch."""
    inputs[:] = values
    inputs /= 255
    inputs -= mean
    inputs /= std


def _channels_last(inputs: torch.Tensor, channels: int) -> torch.Tensor:
    """Rows (n, h, w x channels) as (n, channels, h, w), without a copy."""
    n, height, length = inputs.shape
    return inputs.view(n, height, length // channels, channels).permute(0, 3, 1, 2)


@cache
def _constants(normalisation: Normalisation, device: torch.device) -> tuple[Any, Any]:
    """Mean and standard deviation, kept: copying them to a device would wait for all that the device has to do."""
    import torch

    mean, std = (torch.tensor(each, dtype=torch.float32, device=device) for each in normalisation)
    return mean, std


def in_unit_range(images: torch.Tensor) -> torch.Tensor:
    """Pixels (n, 3, h, w) float32 in [0, 1] of images (n, h, w, 3) uint8, for attacks."""
    import torch

    return images.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
