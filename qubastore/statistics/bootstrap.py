"""The bootstrap: which samples a resample draws, and accuracy, calibration and class balance of many resamples at once.

A resample is a vector of counts: how often it drew each sample. All that these metrics need from a resample are sums
over samples of a count times a value (a hit, a confidence, a probability) within a bin or a class, so a block of
resamples is computed as the product of one sparse matrix with their counts.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qubastore.statistics.bins import N_BINS
from qubastore.statistics.options import RESAMPLES
from qubastore.statistics.threads import n_threads

if TYPE_CHECKING:
    from scipy import sparse


_BLOCK = 64


@dataclass(frozen=True)
class Draws:
    """Which samples every resample drew.

    Attributes:
        counts: (n_resamples, n) uint8, how often a resample drew each sample; uint16 if a count is above 255.
    """

    counts: NDArray[np.unsignedinteger[Any]]

    @classmethod
    def of(cls, n: int, resamples: int = RESAMPLES, seed: int = 0, stratum: int = 0) -> Draws:
        """Draw n of n samples with replacement, many times.

        Resample i depends on the seed, the stratum and i alone, so it is the same for every model and on any number of
        threads: metrics of several models over the same samples are paired.

        Args:
            n: Number of samples.
            resamples: Number of resamples.
            seed: Seed of the draws, 0 or more.
            stratum: Number of the set of samples, 0 or more; different sets are drawn independently.
        """
        counts = np.empty((resamples, n), np.uint16)

        def draw(number: int) -> None:
            generator = np.random.default_rng([seed, number, stratum])
            counts[number] = np.bincount(generator.integers(0, n, n, dtype=np.uint32), minlength=n)

        with ThreadPoolExecutor(n_threads()) as threads:
            list(threads.map(draw, range(resamples)))
        return cls(counts.astype(np.uint8)) if counts.max(initial=0) < 256 else cls(counts)

    @property
    def n(self) -> int:
        """The number of resamples."""
        return len(self.counts)

    def at(self, samples: NDArray[np.integer[Any]]) -> Draws:
        """The same resamples restricted to some samples, in the given order: those that a run has outputs for."""
        counts: NDArray[np.unsignedinteger[Any]] = self.counts.take(samples, axis=1)
        return Draws(counts)

    def in_blocks(self, work: Callable[[NDArray[np.float64]], tuple[Any, ...]]) -> list[NDArray[np.float64]]:
        """Call `work` on (n, block) float64 counts in threads; join its (..., block) results on the last axis."""
        with ThreadPoolExecutor(n_threads()) as threads:
            blocks = range(0, self.n, _BLOCK)
            parts = list(
                threads.map(lambda first: work(self.counts[first : first + _BLOCK].T.astype(np.float64)), blocks)
            )
        return [np.concatenate(values, axis=-1) for values in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Resampled:
    """Metrics of every resample, each (n_resamples,) float64.

    Attributes:
        accuracy: Top-1 accuracy.
        ece: Expected calibration error, 15 bins (lo, hi].
        class_balance: Geometric mean of 1 - sample std of the accuracy over classes and 1 - mean over classes of the
            population std of the true class's probability; classes that a resample did not draw are left out.
    """

    accuracy: NDArray[np.float64]
    ece: NDArray[np.float64]
    class_balance: NDArray[np.float64]


def resample(
    is_right: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    label: NDArray[np.int32],
    label_probability: NDArray[np.float64],
    draws: Draws,
) -> Resampled:
    """Compute the metrics of every resample.

    Args:
        is_right: (n,) whether the prediction is the label.
        confidence: (n,) probability of the prediction, 0 to 1.
        label: (n,) classes.
        label_probability: (n,) probability of the label, 0 to 1.
        draws: Draws of these n samples.

    Source: Efron, Annals of Statistics 7(1), 1979; the metrics as in `qubastore.metrics.catalogue`.
    """
    _, of_class = np.unique(label, return_inverse=True)
    of_bin = np.clip(np.searchsorted(np.linspace(0, 1, N_BINS + 1), confidence, side="left"), 1, N_BINS) - 1
    n_classes = int(of_class.max()) + 1
    right = is_right.astype(np.float64)
    sums = _stacked(
        [(of_bin, N_BINS, right - confidence)]
        + [(of_class, n_classes, values) for values in (np.ones(len(label)), right, label_probability)]
        + [(of_class, n_classes, label_probability**2)]
    )

    def block(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        n = counts.sum(axis=0)
        gaps, *by_class = np.split(sums @ counts, [N_BINS + i * n_classes for i in range(4)])
        with np.errstate(invalid="ignore"):  # a resample may have drawn none of the samples
            return right @ counts / n, np.abs(gaps).sum(axis=0) / n, _balance(*by_class)

    return Resampled(*draws.in_blocks(block))


def shares(hits: NDArray[np.bool_], draws: Draws) -> NDArray[np.float64]:
    """The share of hits in every resample: (k, n) bool to (k, n_resamples) float64; NaN if no sample was drawn.

    Args:
        hits: Hits of k runs over the same n samples.
        draws: Draws of these n samples.
    """
    values = hits.astype(np.float64)

    def block(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            return (values @ counts / counts.sum(axis=0),)

    (found,) = draws.in_blocks(block)
    return found


def _stacked(groups: list[tuple[NDArray[Any], int, NDArray[np.float64]]]) -> sparse.csr_array:
    """Stack matrices of (group of each sample, number of groups, value of each sample), with one row per group."""
    from scipy import sparse

    parts = []
    for group, size, values in groups:
        columns = np.arange(len(values))
        parts.append(sparse.csr_array((values, (group, columns)), shape=(size, len(values))))
    return sparse.csr_array(sparse.vstack(parts))


def _balance(
    n: NDArray[np.float64], hits: NDArray[np.float64], summed: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Class balance of a block of resamples from (n_classes, block) sums."""
    drawn = n > 0
    n = np.maximum(n, 1)
    accuracy, mean = hits / n, summed / n
    classes = drawn.sum(axis=0)
    centre = (accuracy * drawn).sum(axis=0) / classes
    spread = np.sqrt((np.where(drawn, accuracy - centre, 0) ** 2).sum(axis=0) / np.maximum(classes - 1, 1))
    deviation = np.sqrt(np.maximum(squares / n - mean**2, 0)).sum(axis=0) / classes
    balance: NDArray[np.float64] = np.sqrt((1 - spread) * (1 - deviation))
    return balance
