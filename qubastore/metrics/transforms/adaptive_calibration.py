"""Adaptive calibration error (ACE), class by class over all samples.

Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019, as the QUBA study uses it
(arXiv 2503.17110): L1 norm, class-conditional, 15 bins of equal count, threshold 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from qubastore.statistics.threads import n_threads

BINS = 15


_ROWS = 4096


_CLASSES = 64


def compute(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """Compute the ACE of the softmax of `logits`.

    For each class, the samples with a probability above 0 are sorted by it and cut into 15 bins of equal count: the
    lower edge of bin i is the value at position round(i * n / 15), halves to even, and a value equal to an edge belongs
    to the upper bin. The class's error is the sum over bins of share * |accuracy - mean probability|, where accuracy is
    the share of samples with that label. ACE is the mean over all classes; a class without a positive probability
    contributes 0.

    Args:
        logits: (n, n_classes) float32.
        labels: (n,) int32.

    Returns:
        ACE, 0 to 1; NaN without samples.
    """
    if not len(logits):
        return float("nan")
    with ThreadPoolExecutor(n_threads()) as threads:
        # NumPy releases the GIL while it sorts; errors are averaged in the order of the classes in any case.
        parts = threads.map(
            lambda block: [_class_error(*each) for each in zip(*block, strict=True)], class_blocks(logits, labels)
        )
        return float(np.mean([error for part in parts for error in part]))


def bin_positions(n: int | NDArray[np.int64], bins: NDArray[np.intp]) -> NDArray[np.int64]:
    """Where bins begin among n sorted samples: at round(bin * n / 15), halves to even; for several n, shaped (k, 1)."""
    return np.minimum(np.round(bins * (n / BINS)).astype(np.int64), np.maximum(n - 1, 0))


def class_blocks(
    logits: NDArray[np.float32], labels: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.float64], list[NDArray[np.intp]]]]:
    """Yield blocks of classes: (n_classes, n) probabilities of all samples, and for each class its own samples."""
    highest, total = _normalisers(logits)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(logits.shape[1] + 1))
    for first in range(0, logits.shape[1], _CLASSES):
        # Class by class in memory: sorting a contiguous row is several times faster than a strided column.
        columns = np.ascontiguousarray(logits[:, first : first + _CLASSES].T).astype(np.float64)
        columns -= highest
        np.exp(columns, out=columns)
        columns /= total
        classes = range(first, first + len(columns))
        yield columns, [order[bounds[label] : bounds[label + 1]] for label in classes]


def _normalisers(logits: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    highest = logits.max(axis=1).astype(np.float64)
    total = np.empty(len(logits))
    for first in range(0, len(logits), _ROWS):
        rows = slice(first, first + _ROWS)
        total[rows] = np.exp(logits[rows].astype(np.float64) - highest[rows, None]).sum(axis=1)
    return highest, total


def _class_error(probability: NDArray[np.float64], members: NDArray[np.intp]) -> float:
    """The error of one class, from all samples' probabilities of it and the samples that belong to it."""
    own = np.sort(probability[members])
    ascending = np.sort(probability)
    # A probability of exactly 0 is left out.
    ascending = ascending[np.searchsorted(ascending, 0, side="right") :]
    own = own[np.searchsorted(own, 0, side="right") :]
    n = len(ascending)
    if n == 0:
        return 0.0
    edges = ascending[bin_positions(n, np.arange(1, BINS))]
    # Ties to the upper bin: a bin begins at the first value that equals its edge.
    starts = np.concatenate([[0], np.searchsorted(ascending, edges, side="left"), [n]])
    hits = np.concatenate([[0], np.searchsorted(own, edges, side="left"), [len(own)]])
    mass = np.concatenate([[0.0], np.cumsum(ascending)])
    # share * |accuracy - confidence| = |hits - mass| / n
    return float(np.abs(np.diff(hits) - np.diff(mass[starts])).sum() / n)
