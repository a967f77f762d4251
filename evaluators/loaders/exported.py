"""The network of an exported program, as a module whose mode can be set."""

from __future__ import annotations

from typing import Any

import torch


class ExportedNetwork(torch.nn.Module):
    """An exported network, which is in the mode that it was exported in.

    Args:
        program: What `ExportedProgram.module()` returns; it refuses `eval()`.
    """

    def __init__(self, program: torch.nn.Module) -> None:
        super().__init__()
        self.program = program
        # The mode of what was exported is part of the graph; the flags of its modules mean nothing.
        for part in self.modules():
            part.training = False

    def train(self, mode: bool = True) -> ExportedNetwork:
        """Set the mode of this module alone."""
        self.training = mode
        return self

    def forward(self, images: torch.Tensor) -> Any:
        """(n, 3, height, width) normalised images -> what was exported."""
        return self.program(images)
