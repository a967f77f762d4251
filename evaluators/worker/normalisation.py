"""From bytes to a network's input: scale to [0, 1], subtract the mean, divide by the standard deviation."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch


class Normalisation(NamedTuple):
    """The mean and standard deviation of each channel, of pixels in [0, 1].

    Values are computed in float32 as ((byte / 255) - mean) / std, each operation rounded, by both functions.
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
        """The input (n, 3, h, w) float32, in channels-last order, for images (n, h, w, 3) uint8.

        On a CPU one thread computes it, image by image, so that values stay in its caches between the operations.
        """
        import torch

        n, height, width, channels = images.shape
        # Rows of h x (w channels): operations are slow along an innermost dimension of three.
        rows: Any = images.reshape(n, height, width * channels)
        inputs: Any = torch.empty(rows.shape, dtype=torch.float32, device=images.device)
        means, stds = (each.repeat(width) for each in _constants(self, images.device))
        parts = [(inputs, rows)]
        if images.device.type == "cpu":
            # NumPy stays within this thread, where torch would wake those of the forward passes.
            means, stds = means.numpy(), stds.numpy()
            parts = list(zip(inputs.numpy(), rows.numpy(), strict=True))
        for part, bytes_ in parts:
            part[:] = bytes_
            part /= 255
            part -= means
            part /= stds
        return inputs.view(n, height, width, channels).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


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
