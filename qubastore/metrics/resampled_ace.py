"""Adaptive calibration error (ACE) of many bootstrap resamples at once.

A plain computation visits every sample of every class in every resample: 5e10 visits for 50,000 samples, 1,000 classes
and 1,000 resamples. Two facts save most of them. The samples of a class rank high in its probability, and a bin without
samples of its class adds just its mass, the sum of its probabilities. So only the bins from the lowest sample of a
class upwards are searched; the mass below them is the mass of all bins, for which one matrix product serves a block of
classes in all resamples, less that of the bins above. Where these bins begin in a resample is found in two steps: sums
over blocks of sorted samples, and the samples of one block.

How far down the search goes is estimated, and checked afterwards: if a bin begins lower in any resample, the class is
searched from its lowest probability on.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qubastore.metrics.transforms.adaptive_calibration import BINS, bin_positions, class_blocks
from qubastore.statistics.bootstrap import Draws
from qubastore.statistics.threads import n_threads

T = TypeVar("T", np.int64, np.float64)

_RESAMPLES = 128
"""Number of resamples in one matrix product, so that their counts as float64 stay small."""

_BLOCK = 32
"""Number of sorted samples that are summed together."""

_TOGETHER = 16
"""Number of blocks that are summed at once, so that their counts fit the processor's cache."""

_DEVIATIONS = 5.0
"""How many standard deviations below its expected beginning a bin is searched."""


@dataclass(frozen=True)
class _Class:
    """One class.

    Attributes:
        probability: (n,) probabilities of the class, of all samples.
        is_own: (n,) whether a sample belongs to the class.
        n_zeros: Number of samples with a probability of 0, which are left out.
        n_drawn: (n_resamples,) number of draws among the others.
        mass: (n_resamples,) sum of the drawn probabilities.
    """

    probability: NDArray[np.float64]
    is_own: NDArray[np.bool_]
    n_zeros: int
    n_drawn: NDArray[np.int64]
    mass: NDArray[np.float64]


def resampled(logits: NDArray[np.float32], labels: NDArray[np.int32], draws: Draws) -> NDArray[np.float64]:
    """Compute the ACE of every resample: that of `adaptive_calibration.compute` on the samples drawn.

    Every resample has bins of its own. Only the order of sums differs from a plain computation, which changes the
    result by less than 1e-12.

    Args:
        logits: (n, n_classes) float32.
        labels: (n,) int32.
        draws: Draws of these n samples, at least one.

    Returns:
        (n_resamples,) float64, 0 to 1; NaN where no sample was drawn.
    """
    # Sample by sample, so that the draws of one sample lie together; the last row has no draws.
    drawn = np.zeros((draws.counts.shape[1] + 1, draws.n), draws.counts.dtype)
    drawn[:-1] = draws.counts.T
    n_drawn = draws.counts.sum(axis=1, dtype=np.int64)
    with ThreadPoolExecutor(n_threads()) as threads:
        parts = threads.map(
            lambda block: _block_errors(block[0], block[1], drawn, n_drawn), class_blocks(logits, labels)
        )
        total = np.zeros(draws.n)
        for part in parts:
            for errors in part:
                total += errors
    total /= logits.shape[1]
    total[n_drawn == 0] = np.nan
    return total


def _block_errors(
    probabilities: NDArray[np.float64],
    members: Sequence[NDArray[np.intp]],
    drawn: NDArray[np.unsignedinteger[Any]],
    n_drawn: NDArray[np.int64],
) -> list[NDArray[np.float64]]:
    """The errors of a block of classes, each (n_resamples,).

    Args:
        probabilities: (n_classes, n) probabilities.
        members: For each class, its own samples.
        drawn: (n + 1, n_resamples) how often each sample was drawn; the last row is 0.
        n_drawn: (n_resamples,) the sum over samples.
    """
    masses = np.empty((len(probabilities), drawn.shape[1]))
    for first in range(0, drawn.shape[1], _RESAMPLES):
        part = slice(first, first + _RESAMPLES)
        np.matmul(probabilities, drawn[:-1, part].astype(np.float64), out=masses[:, part])
    errors = []
    for probability, own, mass in zip(probabilities, members, masses, strict=True):
        is_zero = probability == 0
        n_zeros = int(np.count_nonzero(is_zero))
        counted = n_drawn - drawn[:-1][is_zero].sum(axis=0, dtype=np.int64) if n_zeros else n_drawn
        is_own = np.zeros(len(probability), bool)
        is_own[own] = True
        each = _Class(probability, is_own & ~is_zero, n_zeros, counted, mass)
        errors.append(_error(each, drawn) / np.maximum(counted, 1))
    return errors


def _error(each: _Class, drawn: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.float64]:
    """The sum over bins of |hits - mass| of one class: (n_resamples,)."""
    if not each.is_own.any():
        return each.mass
    n = len(each.probability) - each.n_zeros
    margin = int(_DEVIATIONS * 0.5 * np.sqrt(n)) + 1
    lowest = int(np.count_nonzero(each.probability < each.probability[each.is_own].min())) - each.n_zeros
    lowest_bin = max(0, lowest - margin) * BINS // n
    low = max(0, lowest_bin * n // BINS - margin) if lowest_bin else 0
    found = _error_from(each, drawn, lowest_bin, low)
    if found is None:
        found = _error_from(each, drawn, 0, 0)
    assert found is not None, "no bin begins below the lowest probability"
    return found


def _error_from(
    each: _Class, drawn: NDArray[np.unsignedinteger[Any]], lowest_bin: int, low: int
) -> NDArray[np.float64] | None:
    """The sum over bins of |hits - mass|, from the samples at sorted positions of `low` and up.

    Returns:
        (n_resamples,); None if a resample has an own sample below `lowest_bin`, or if that bin may begin below `low`.
    """
    first = each.n_zeros + low
    upper = np.argpartition(each.probability, first)[first:] if first else np.arange(len(each.probability))
    upper = upper[np.argsort(each.probability[upper])]
    values = each.probability[upper]
    own = np.flatnonzero(each.is_own[upper])
    n_blocks = -(-len(upper) // _BLOCK)
    order = np.full((n_blocks, _BLOCK), len(drawn) - 1)
    order.ravel()[: len(upper)] = upper
    ascending = np.zeros((n_blocks, _BLOCK))
    ascending.ravel()[: len(upper)] = values
    resamples = np.arange(drawn.shape[1])[:, None]

    # Draws and mass before each block, of the samples from the lowest on: (n_resamples, n_blocks + 1).
    # In 16 bits, sums of 32 counts of 8 bits cannot overflow, and are four times as fast as in 64.
    sums = np.empty((n_blocks, drawn.shape[1]), np.uint16 if drawn.dtype == np.uint8 else np.int64)
    masses = np.empty(sums.shape)
    for at in range(0, n_blocks, _TOGETHER):
        part = slice(at, at + _TOGETHER)
        counts = drawn[order[part]]
        counts.sum(axis=1, dtype=sums.dtype, out=sums[part])
        np.einsum("bj,bjr->br", ascending[part], counts, out=masses[part])
    seen, mass = _before(sums, np.int64), _before(masses, np.float64)
    seen += (each.n_drawn - seen[:, -1])[:, None]

    # Where the bins begin: first the block, then the sample in it.
    bins = np.arange(max(lowest_bin, 1), BINS)
    positions = bin_positions(each.n_drawn[:, None], bins)
    if (positions < seen[:, :1]).any():
        return None
    stride = int(each.n_drawn.max()) + 1
    ends = (seen[:, 1:] + resamples * stride).ravel()
    block = np.searchsorted(ends, (positions + resamples * stride).ravel(), side="right").reshape(positions.shape)
    block = np.minimum(block - resamples * n_blocks, n_blocks - 1)
    counts = drawn[order[block], resamples[:, :, None]]
    inside = np.cumsum(counts, axis=2, dtype=np.int64)
    inside += np.take_along_axis(seen, block, axis=1)[:, :, None]
    at = block * _BLOCK + np.count_nonzero(inside <= positions[:, :, None], axis=2)
    # Ties to the upper bin: a bin begins at the first value that equals its edge.
    starts = np.searchsorted(values, values[np.minimum(at, len(values) - 1)])
    if low and (starts == 0).any():
        return None

    # What lies before each beginning: mass, and draws of own samples.
    if not np.array_equal(starts, at):
        block = starts // _BLOCK
        counts = drawn[order[block], resamples[:, :, None]]
    partly = np.where(np.arange(_BLOCK) < (starts - block * _BLOCK)[:, :, None], ascending[block], 0)
    edges = np.take_along_axis(mass, block, axis=1) + np.einsum("rkj,rkj->rk", partly, counts)
    own_before = _before(drawn[upper[own]], np.int64)
    hits = np.take_along_axis(own_before, np.searchsorted(own, starts), axis=1)
    if lowest_bin:
        if hits[:, 0].any() or own[0] < starts[:, 0].max():
            return None
        below = each.mass - (mass[:, -1] - edges[:, 0])
    else:
        below = np.zeros(len(edges))
        edges = np.concatenate([0 * edges[:, :1], edges], axis=1)
        hits = np.concatenate([0 * hits[:, :1], hits], axis=1)
    edges = np.concatenate([edges, mass[:, -1:]], axis=1)
    hits = np.concatenate([hits, own_before[:, -1:]], axis=1)
    gaps = np.abs(np.diff(hits, axis=1) - np.diff(edges, axis=1)).sum(axis=1)
    found: NDArray[np.float64] = below + gaps
    return found


def _before(sums: NDArray[Any], dtype: type[T]) -> NDArray[T]:
    """Sums before each part: (n_parts, n_resamples) to (n_resamples, n_parts + 1), the last of them over all parts."""
    found = np.zeros((sums.shape[1], len(sums) + 1), dtype)
    np.cumsum(np.ascontiguousarray(sums.T), axis=1, out=found[:, 1:])
    return found
