"""Top-1 accuracy of an ImageNet-1k run in another label space, on the images whose class belongs to it.

A figure on ImageNet-R or on 16 categories should be compared with this accuracy: the study divides by 1,000-class
accuracy (arXiv 2503.17110), so its ood_robustness can exceed 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qubastore.datasets.label_spaces import LabelSpace
from qubastore.statistics.scores import project

_ROWS = 4096


def compute(logits: NDArray[np.float32], labels: NDArray[np.int32], space: LabelSpace) -> float:
    """The share of the images of the space's classes that are predicted correctly within the space.

    Args:
        logits: (n, 1000) float32.
        labels: (n,) int32, ImageNet-1k classes.
        space: The other label space, of rule `subset` or `mean`.

    Returns:
        Accuracy, 0 to 1; NaN if no image belongs to a class of the space.
    """
    owner = np.full(1000, -1)
    for label, members in enumerate(space.members):
        owner[list(members)] = label
    inside = np.flatnonzero(owner[labels] >= 0)
    if not len(inside):
        return float("nan")
    right = 0
    for first in range(0, len(inside), _ROWS):
        rows = inside[first : first + _ROWS]
        right += int((project(logits[rows], space).argmax(axis=1) == owner[labels[rows]]).sum())
    return right / len(inside)
