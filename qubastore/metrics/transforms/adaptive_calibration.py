"""Adaptive calibration error (ACE), class by class over all samples.

Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019, as the QUBA study uses it
(arXiv 2503.17110): L1 norm, class-conditional, 15 bins of equal count, threshold 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qubastore.statistics.bootstrap import Draws


BINS = 15


_ROWS = 4096


_CLASSES = 64


_RESAMPLED = 1 << 18
"""Number of counts that the bootstrap processes at once, so that they fit the processor's cache."""


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
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        # NumPy releases the GIL while it sorts; errors are averaged in the order of the classes in any case.
        parts = threads.map(lambda block: [_class_error(*each) for each in block], _blocks(logits, labels))
        return float(np.mean([error for part in parts for error in part]))


def resampled(logits: NDArray[np.float32], labels: NDArray[np.int32], draws: Draws) -> NDArray[np.float64]:
    """Compute the ACE of every resample: that of `compute` on the samples drawn, with bins of their own.

    Takes about a minute on two cores for a thousand resamples of 50,000 samples and 1,000 classes.

    Args:
        logits: (n, n_classes) float32.
        labels: (n,) int32.
        draws: Draws of these n samples, at least one.

    Returns:
        (n_resamples,) float64, 0 to 1.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        parts = threads.map(
            lambda block: [_class_errors(row, members, draws) for row, members in block], _blocks(logits, labels)
        )
        total = np.zeros(draws.n)
        for part in parts:
            for errors in part:
                total += errors
    total /= logits.shape[1]
    return total


def _blocks(
    logits: NDArray[np.float32], labels: NDArray[np.int32]
) -> Iterator[list[tuple[NDArray[np.float64], NDArray[np.intp]]]]:
    """Yield blocks of classes: for each class, all samples' probabilities of it, and the samples that belong to it."""
    highest, total = _normalisers(logits)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(logits.shape[1] + 1))
    for first in range(0, logits.shape[1], _CLASSES):
        # Class by class in memory: sorting a contiguous row is several times faster than a strided column.
        columns = np.ascontiguousarray(logits[:, first : first + _CLASSES].T).astype(np.float64)
        columns -= highest
        np.exp(columns, out=columns)
        columns /= total
        yield [(row, order[bounds[label] : bounds[label + 1]]) for label, row in enumerate(columns, start=first)]


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
    positions = np.minimum(np.round(np.linspace(0, n, BINS, endpoint=False)).astype(np.int64), n - 1)
    edges = ascending[positions[1:]]
    # Ties to the upper bin: a bin begins at the first value that equals its edge.
    starts = np.concatenate([[0], np.searchsorted(ascending, edges, side="left"), [n]])
    hits = np.concatenate([[0], np.searchsorted(own, edges, side="left"), [len(own)]])
    mass = np.concatenate([[0.0], np.cumsum(ascending)])
    # share * |accuracy - confidence| = |hits - mass| / n
    return float(np.abs(np.diff(hits) - np.diff(mass[starts])).sum() / n)


def _class_errors(probability: NDArray[np.float64], members: NDArray[np.intp], draws: Draws) -> NDArray[np.float64]:
    """The error of one class in every resample: (n_resamples,).

    The samples are sorted once. In a resample each sample is repeated as often as it was drawn, so the value at a
    position of the sorted resample is found with the cumulative sum of the counts.
    """
    order = np.argsort(probability, kind="stable")
    order = order[np.searchsorted(probability[order], 0, side="right") :]
    ascending = probability[order]
    errors = np.zeros(draws.n)
    if not len(order):
        return errors
    # Ties to the upper bin: a bin begins at the first value that equals its edge.
    first_equal = np.searchsorted(ascending, ascending, side="left")
    is_own = np.zeros(len(probability), bool)
    is_own[members] = True
    own = np.flatnonzero(is_own[order])
    step = max(1, _RESAMPLED // len(order))
    for first in range(0, draws.n, step):
        counts = np.take(draws.counts[first : first + step], order, axis=1)
        rows = np.arange(len(counts))[:, None]
        seen = np.cumsum(counts, axis=1, dtype=np.int32)
        n = seen[:, -1:].astype(np.int64)
        positions = np.minimum(np.round(np.arange(BINS) * (n / BINS)).astype(np.int64), np.maximum(n - 1, 0))
        # Concatenate the cumulative sums of all resamples, so that one search finds all positions.
        seen += (rows * (draws.counts.shape[1] + 1)).astype(np.int32)
        at = np.searchsorted(seen.ravel(), (positions + rows * (draws.counts.shape[1] + 1)).ravel(), side="right")
        starts = first_equal[np.minimum(at.reshape(positions.shape) - rows * len(order), len(order) - 1)]
        starts[:, 0] = 0
        ends = np.concatenate([starts[:, 1:], 0 * n + len(order)], axis=1)
        mass = np.add.reduceat(np.multiply(counts, ascending).ravel(), (starts + rows * len(order)).ravel()).reshape(
            starts.shape
        )
        drawn_own = np.zeros((len(counts), len(own) + 1))
        np.cumsum(counts[:, own], axis=1, out=drawn_own[:, 1:])
        hits = drawn_own[rows, np.searchsorted(own, ends)] - drawn_own[rows, np.searchsorted(own, starts)]
        # For an empty bin, reduceat returns the value at its start.
        gaps = np.where(starts < ends, hits - mass, 0)
        errors[first : first + step] = np.abs(gaps).sum(axis=1) / np.maximum(n[:, 0], 1)
    return errors
