"""Wrap networks that return probabilities so that they return logits: log probabilities are valid logits."""

from __future__ import annotations

import torch

from qubastore.errors import OutputError


class LogProbabilities(torch.nn.Module):
    """A network that returns log probabilities instead of probabilities, so that softmax is not applied twice.

    Args:
        network: Returns (n, n_classes) probabilities.
        name: Name of the network, for messages.
    """

    def __init__(self, network: torch.nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        self._name = name

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The log probabilities; a probability of 0 is replaced by the smallest normal float32.

        Raises:
            OutputError: if a row has a negative value or does not sum to 1.
        """
        values: torch.Tensor = self.network(inputs)
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        sums = values.sum(dim=-1)
        if bool((values < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise OutputError(
                f"{self._name} is declared to return probabilities, but does not",
                expected="rows that are non-negative and sum to 1",
                found=f"a smallest value of {values.min().item():.4g}, rows that sum to {sums.min().item():.4g}",
                hint="leave out output_type=probabilities",
            )
        return values.clamp_min(torch.finfo(torch.float32).tiny).log()
