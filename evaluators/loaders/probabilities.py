"""Networks that return probabilities, as ones that return logits: the log of a probability is a logit of it."""

from __future__ import annotations

import torch

from qubastore.errors import OutputError


class LogProbabilities(torch.nn.Module):
    """A network that is declared to return probabilities; its softmax is never applied twice.

    Args:
        network: Returns (n, n_classes) probabilities.
        name: For messages.
    """

    def __init__(self, network: torch.nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        self._name = name

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Log probabilities; a probability of 0 counts as the smallest normal float32.

        Raises:
            OutputError: where a row is negative somewhere or does not sum to 1.
        """
        values: torch.Tensor = self.network(inputs)
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        sums = values.sum(dim=-1)
        if bool((values < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise OutputError(
                f"{self._name} is declared to return probabilities and does not",
                expected="rows that are non-negative and sum to 1",
                found=f"a smallest value of {values.min().item():.4g}, rows that sum to {sums.min().item():.4g}",
                hint="leave output_type=probabilities out",
            )
        return values.clamp_min(torch.finfo(torch.float32).tiny).log()
