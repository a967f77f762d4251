"""Summaries per class and per confidence bin; bins are (lo, hi], and 0 is in the first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


N_BINS = 15
"""Number of confidence bins, of equal width."""


def class_rows(
    label: NDArray[np.int32], correct: NDArray[np.bool_], truth: NDArray[np.float64] | None
) -> list[tuple[Any, ...]]:
    """Per class: class, n, n_correct, mean and population std of the true class's probability (None if not given)."""
    import numpy as np

    if not len(label):
        return []
    order = np.argsort(label, kind="stable")
    classes, starts = np.unique(label[order], return_index=True)
    rows: list[tuple[Any, ...]] = []
    for value, members in zip(classes, np.split(order, starts[1:]), strict=True):
        mean = std = None
        if truth is not None:
            mean = math.fsum(truth[members]) / len(members)
            std = math.sqrt(math.fsum((truth[members] - mean) ** 2) / len(members))
        rows.append((int(value), len(members), int(correct[members].sum()), mean, std))
    return rows


def bin_rows(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[tuple[Any, ...]]:
    """Per non-empty confidence bin: bin 1..15, n, n_correct, sum of the confidences; bins are (lo, hi], 0 in bin 1."""
    import numpy as np

    edges = np.linspace(0, 1, N_BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left"), 1, N_BINS)
    return [
        (number, int(inside.sum()), int(correct[inside].sum()), math.fsum(confidence[inside]))
        for number in range(1, N_BINS + 1)
        if (inside := bins == number).any()
    ]
