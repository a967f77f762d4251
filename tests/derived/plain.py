"""Temperatures and probabilities by PyTorch, to compare with."""

from __future__ import annotations

import numpy as np
import torch

N, C = 400, 5
"""Samples and classes of the runs in conftest.py."""


def torch_temperature(logits, labels):
    """Guo et al.'s way: L-BFGS on the cross-entropy, here in float64 and until nothing moves."""
    scores, right = torch.from_numpy(np.asarray(logits, np.float64)), torch.from_numpy(labels).long()
    log_t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=500, tolerance_grad=1e-14, tolerance_change=1e-16)

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores / log_t.exp(), right)
        loss.backward()
        return loss

    optimiser.step(closure)
    value = log_t.exp().detach()
    return float(value), float(torch.nn.functional.cross_entropy(scores / value, right))


def softmax(logits):
    return torch.softmax(torch.from_numpy(np.asarray(logits, np.float64)), 1).numpy()
