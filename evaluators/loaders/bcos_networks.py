"""B-cos networks, with their six channels made inside."""

from __future__ import annotations

import torch


class WithInverse(torch.nn.Module):
    """A network that takes each colour and its inverse.

    Args:
        network: It takes (n, 6, height, width).
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) images in [0, 1] -> (n, n_classes) logits."""
        logits: torch.Tensor = self.network(torch.cat([images, 1 - images], dim=1))
        return logits
