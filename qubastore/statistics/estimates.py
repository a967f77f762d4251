"""Estimates: a figure with its resamples and interval, and the difference of two figures with its test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qubastore.statistics.options import LEVEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qubastore.statistics.crossed import Crossed, Spread


@dataclass(frozen=True)
class Estimate:
    """A figure and its resamples.

    Attributes:
        value: The figure.
        resamples: (n_resamples,) float64, shifted so that their mean is `value`, except for shares over images that
            cross two kinds of parts; NaN where the figure is undefined (no image was right on the clean set).
        crossed: The part of the resamples' deviations that comes from images that cross two kinds of parts; None if the
            figure involves no such images.
    """

    value: float
    resamples: NDArray[np.float64]
    crossed: Crossed | None = None

    @classmethod
    def of(cls, value: float, resamples: NDArray[np.float64], crossed: Crossed | None = None) -> Estimate:
        """An estimate from a figure, its resamples, and its variation with crossed images, which these leave out."""
        import numpy as np

        there = resamples[~np.isnan(resamples)]
        shifted = resamples - (there.mean() - value if len(there) else math.nan)
        return cls(value, shifted if crossed is None else shifted + crossed.deviations, crossed)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The central interval of the resamples: (low, high), interpolated linearly between them."""
        import numpy as np

        if np.isnan(self.resamples).all():
            return math.nan, math.nan
        low, high = np.nanquantile(self.resamples, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    @property
    def rest(self) -> NDArray[np.float64]:
        """The resamples without the variation that comes from crossed images."""
        return self.resamples if self.crossed is None else self.resamples - self.crossed.deviations

    def minus(self, other: Estimate) -> Difference:
        """The difference of two figures over the same resamples."""
        value = self.value - other.value
        if self.crossed is None and other.crossed is None:
            apart = self.resamples - other.resamples
            return Difference(value, apart, apart, ())
        rest = self.rest - other.rest
        if self.crossed is not None and other.crossed is not None:
            deviations, spread = self.crossed.minus(other.crossed)
        elif self.crossed is not None:
            deviations, spread = self.crossed.deviations, self.crossed.spread
        else:
            assert other.crossed is not None
            deviations, spread = -other.crossed.deviations, other.crossed.spread
        return Difference(value, rest + deviations, rest, (spread,))


@dataclass(frozen=True)
class Difference:
    """The difference of two figures and its resamples.

    Attributes:
        value: The difference.
        resamples: (n_resamples,) float64.
        rest: The same without the variation that comes from crossed images.
        spreads: The variance that comes from crossed images.
    """

    value: float
    resamples: NDArray[np.float64]
    rest: NDArray[np.float64]
    spreads: tuple[Spread, ...]

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The central interval of the resamples, as for an estimate."""
        return Estimate(self.value, self.resamples).interval(level)

    def p_value(self) -> float:
        """The two-sided p-value for the null hypothesis of no difference."""
        return p_value(self.value, self.rest, self.spreads)


def p_value(difference: float, resamples: NDArray[np.float64], spreads: Sequence[Spread] = ()) -> float:
    """The two-sided p-value of a difference over its standard error.

    Args:
        difference: The difference.
        resamples: Its resamples; their sample standard deviation is the standard error of a normal distribution.
        spreads: Independent parts of its variance that are not in the resamples; they are added, and the distribution
            is then Student's t, with degrees of freedom after Satterthwaite.

    It avoids importing scipy.stats, which takes half a second.
    """
    import numpy as np
    from scipy import special

    # A difference as small as the rounding error counts as none.
    if abs(difference) <= 1e-12:
        return 1.0
    error = float(np.nanstd(resamples, ddof=1))
    if not spreads:
        return 2 * float(special.ndtr(-abs(difference) / error)) if error > 0 else 0.0
    variance = error**2 + sum(each.variance for each in spreads)
    if variance <= 0:
        return 0.0
    loss = sum(each.variance**2 / each.freedom for each in spreads)
    t = abs(difference) / math.sqrt(variance)
    return 2 * float(special.stdtr(variance**2 / loss, -t) if loss > 0 else special.ndtr(-t))
