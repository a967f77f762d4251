"""The variance of a figure over images that cross two kinds of parts, such as cue-conflict's shapes and textures.

**Contributions.** To first order, the deviation of a figure over n images from its expectation is the sum of one
contribution per image: in closed form for a share or a ratio of shares, else from the jackknife (`jackknife`).

**Variance**, multiway clustering of two kinds of parts (Cameron, Gelbach and Miller, Journal of Business & Economic
Statistics 29, 2011, equations 2.11 and 2.12; the corrections for few clusters of their section 2.3):

    V = max(V_first + V_second - V_cell, V_cell),    V_k = G_k / (G_k - 1) * sum over the G_k parts of (sum of
                                                           the contributions of the part's images)^2

Apart from the maximum, it is unbiased whether parts have strong effects, weak ones or none. A two-way bootstrap
(McCullagh, Bernoulli 6, 2000; Owen, Annals of Applied Statistics 1, 2007) estimates V_first + V_second + V_cell, three
times the variance where parts have no effect. Without the maximum, V can be below the variance of single images, even
below 0.

**Degrees of freedom**, after Satterthwaite (Biometrics Bulletin 2, 1946), so that few parts give wide intervals:

    V^2 / (sum over kinds of V_k^2 * w_k / d_k  +  V_cell^2 / (G_cell - 1)),    w_k = sqrt(max(1 - V_cell / V_k, 0))
    d_k = min(G_k - 1, max(8, 3 * (sum of S^2)^2 / sum of S^4)), S: the sums of the contributions of each part

The second d_k is derived from the kurtosis of these sums: about G_k if they are normal, few if few parts dominate, as
with a share near 0; values below 8 cannot be estimated reliably. If a kind of part has no effect, the maximum keeps V
from being too small, so that kind need not count in full: with w_k = 1 intervals are too wide there (98 % coverage with
8 textures), with w_k squared too narrow where few parts have an effect (`python -m benchmarks.coverage`).

**Resamples.** Every part has a standard normal number in every resample, which depends only on the seed, the part's
name and the number of the resample. The sum of the contributions times the numbers of their parts is normal; its normal
scores over the resamples are converted to Student's t with the degrees of freedom above, and then to a deviation of the
figure: multiplied by the square root of V, or, for a share, as the bound of Wilson's interval (Journal of the American
Statistical Association 22, 1927) at that many standard errors, with the effective size p (1 - p) / V. For a share of 0
or 1 the spread cannot be estimated: its effective size is the number of counted images. So 95 % of the resamples of a
share are in its Wilson interval, however near 0 or 1 it is.

**Differences** of two figures have the variance V of the difference of their contributions. If parts affect two figures
alike, the figures differ by little more than single images. Resampling each figure alone cannot show that, because no
multipliers shared by all figures have the variance V, which need not be positive. So the resamples of two shares are
given the correlation that V implies before one is subtracted from the other (`Crossed.minus`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qubastore.statistics.sampling_units import Units

if TYPE_CHECKING:
    from qubastore.statistics.bootstrap import Draws


_LEFT_OUT_AT_ONCE = 1000


_FEWEST = 8
"""The fewest degrees of freedom that the kurtosis can lead to."""


@dataclass(frozen=True)
class Spread:
    """The variance of a figure and its degrees of freedom."""

    variance: float
    freedom: float


def spread(contributions: NDArray[np.float64], units: Units) -> Spread:
    """The variance V and the degrees of freedom of the sum of contributions, as defined above.

    Args:
        contributions: (n,) contributions of the images.
        units: The parts of the images.
    """
    n_cells, of_cell = units.cells
    single, _ = _clustered(contributions, of_cell, n_cells)
    kinds = [_clustered(contributions, of, len(names)) for names, of in units.parts]
    variance = max(sum(each for each, _ in kinds) - single, single)
    if variance <= 0:
        return Spread(0.0, math.inf)
    total = single**2 / max(n_cells - 1, 1)
    total += sum(each**1.5 * max(each - single, 0) ** 0.5 / freedom for each, freedom in kinds if each > 0)
    return Spread(variance, variance**2 / total)


def _clustered(contributions: NDArray[np.float64], of: NDArray[np.intp], n: int) -> tuple[float, float]:
    """The variance V_k of n parts, and its degrees of freedom d_k."""
    squares = np.bincount(of, contributions, n) ** 2
    total, fourth = float(squares.sum()), float(squares @ squares)
    freedom = max(n - 1, 1)
    return total * n / freedom, min(freedom, max(_FEWEST, 3 * total**2 / fourth)) if fourth > 0 else freedom


class Multipliers:
    """The standard normal numbers of every part in every resample.

    Args:
        resamples: Number of resamples.
        seed: Seed of the numbers, 0 or more.
    """

    def __init__(self, resamples: int, seed: int) -> None:
        self.n = resamples
        self._seed = seed
        self._numbers: dict[bytes, NDArray[np.float64]] = {}

    def sums(self, contributions: NDArray[np.float64], units: Units) -> NDArray[np.float64]:
        """The sum of contributions times the numbers of their two parts, over its standard error: (n_resamples,)."""
        total, variance = np.zeros(self.n), 0.0
        for names, of in units.parts:
            sums = np.bincount(of, contributions, len(names))
            variance += float(sums @ sums)
            # Not a matrix product: its rounding depends on the number of resamples and of threads.
            total += np.einsum("p,pr->r", sums, self._of(names))
        return total / math.sqrt(variance) if variance > 0 else total

    def _of(self, parts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The numbers of some parts, (n_parts, n_resamples); cached, because most calls are for the same parts."""
        key = parts.tobytes()
        if key not in self._numbers:
            rows = [np.random.default_rng([self._seed, part]).standard_normal(self.n) for part in parts.tolist()]
            self._numbers[key] = np.array(rows)
        return self._numbers[key]


@dataclass(frozen=True)
class Crossed:
    """The sampling variation of a figure over images that each combine two reused parts, as a shape and a texture.

    Such images are not independent of each other.

    Attributes:
        contributions: (n,) contributions of the images.
        units: The parts of the images.
        multipliers: The numbers of the parts.
        share: The figure, if it is a share of images; else None.
        counting: (n,) which images the share counts.
        scale: Factor for the deviations of a share; the contributions already include it.
    """

    contributions: NDArray[np.float64]
    units: Units
    multipliers: Multipliers
    share: float | None = None
    counting: NDArray[np.bool_] | None = None
    scale: float = 1.0

    @cached_property
    def spread(self) -> Spread:
        """The variance and degrees of freedom of the figure."""
        return spread(self.contributions, self.units)

    @cached_property
    def deviations(self) -> NDArray[np.float64]:
        """The figure in every resample minus the figure: (n_resamples,)."""
        return self._deviations(self._normals, self.spread.freedom)

    def scaled(self, factor: float) -> Crossed:
        """The variation of a multiple of the figure."""
        return replace(self, contributions=factor * self.contributions, scale=factor * self.scale)

    def minus(self, other: Crossed) -> tuple[NDArray[np.float64], Spread]:
        """The variation of the difference of two figures: deviations, (n_resamples,), and their variance."""
        apart = self._apart(other)
        if self.share is None or other.share is None:
            return apart.deviations, apart.spread
        # Two standard normals with the correlation that the variance of the difference implies.
        wanted = _correlation(self.spread.variance, other.spread.variance, apart.spread.variance)
        one, two = self._normals, other._normals
        had = float(np.clip(_cosine(self, other), -1, 1))
        both = (one + two) / math.sqrt(2 * (1 + had)) if had > -1 + 1e-9 else np.zeros_like(one)
        between = (one - two) / math.sqrt(2 * (1 - had)) if had < 1 - 1e-9 else np.zeros_like(one)
        both, between = math.sqrt((1 + wanted) / 2) * both, math.sqrt((1 - wanted) / 2) * between
        freedom = apart.spread.freedom
        mine, theirs = self._deviations(both + between, freedom), other._deviations(both - between, freedom)
        return mine - theirs, apart.spread

    def spread_apart(self, other: Crossed) -> Spread:
        """The variance and degrees of freedom of the difference of two figures."""
        return self._apart(other).spread

    def _apart(self, other: Crossed) -> Crossed:
        if self.units is other.units:
            return Crossed(self.contributions - other.contributions, self.units, self.multipliers)
        contributions = np.concatenate([self.contributions, -other.contributions])
        return Crossed(contributions, Units.joined([self.units, other.units]), self.multipliers)

    @cached_property
    def _normals(self) -> NDArray[np.float64]:
        return _scores(self.multipliers.sums(self._directions, self.units))

    @property
    def _directions(self) -> NDArray[np.float64]:
        # The contributions of a share of 0 or 1 are all 0; its resamples use the counted images instead.
        if self.counting is not None and not self.contributions.any():
            return math.copysign(1.0, self.scale) * self.counting.astype(np.float64)
        return self.contributions

    def _deviations(self, normals: NDArray[np.float64], freedom: float) -> NDArray[np.float64]:
        from scipy import special

        if math.isfinite(freedom):
            normals = special.stdtrit(freedom, special.ndtr(normals))
        if self.share is None or self.counting is None:
            deviations: NDArray[np.float64] = math.sqrt(self.spread.variance) * normals
            return deviations
        variance = self.spread.variance / self.scale**2 if self.scale else 0.0
        p = self.share
        size = p * (1 - p) / variance if variance > 0 else float(self.counting.sum())
        apart: NDArray[np.float64] = self.scale * (wilson(p, size, math.copysign(1.0, self.scale) * normals) - p)
        return apart


def _scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal quantiles of the ranks, which remove the sampling noise of values that are normally distributed."""
    from scipy import special

    if not values.any():
        return values
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values)) + 0.5
    scores: NDArray[np.float64] = special.ndtri(ranks / len(values))
    return scores


def wilson(share: float, size: float, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bound of Wilson's interval at z standard errors above a share of `size` draws, or below it if z < 0."""
    half = np.sqrt(share * (1 - share) / size + (z / (2 * size)) ** 2)
    bound: NDArray[np.float64] = (share + z**2 / (2 * size) + z * half) / (1 + z**2 / size)
    return bound


def jackknife(figures: Callable[[Draws], dict[str, NDArray[np.float64]]], n: int) -> dict[str, NDArray[np.float64]]:
    """The contributions of n images to any figures, from leaving out one image at a time: name -> (n,).

    Args:
        figures: Function that returns the values of the figures over resamples of the images.
        n: Number of images.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 11.
    """
    from qubastore.statistics.bootstrap import Draws

    parts = []
    for first in range(0, n, _LEFT_OUT_AT_ONCE):
        rows = np.arange(first, min(first + _LEFT_OUT_AT_ONCE, n))
        counts = np.ones((len(rows), n), np.uint8)
        counts[np.arange(len(rows)), rows] = 0
        parts.append(figures(Draws(counts)))
    without = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: (of.mean() - of) * (n - 1) / n for name, of in without.items()}


def _correlation(one: float, other: float, apart: float) -> float:
    product = math.sqrt(one * other)
    return min(max((one + other - apart) / (2 * product), -1.0), 1.0) if product > 0 else 0.0


def _cosine(one: Crossed, other: Crossed) -> float:
    """The correlation of two figures' normals."""
    units = Units.joined([one.units, other.units])
    n = len(one.contributions)
    product = of_one = of_other = 0.0
    for names, of in units.parts:
        left = np.bincount(of[:n], one._directions, len(names))
        right = np.bincount(of[n:], other._directions, len(names))
        product, of_one, of_other = (
            product + float(left @ right),
            of_one + float(left @ left),
            of_other + float(right @ right),
        )
    return product / math.sqrt(of_one * of_other) if of_one * of_other > 0 else 0.0
