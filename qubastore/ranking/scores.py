"""QUBA in every resample, computed as `sql/macros/quba_contributions.sql` computes it from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.statistics.estimates import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qubastore.statistics.crossed import Crossed


@dataclass(frozen=True)
class Score:
    """QUBA of a model in every resample.

    Attributes:
        resamples: (n_resamples,) float64.
        rest: The same without what comes from crossed images.
        crossed: How it varies with them, by dimension.
    """

    resamples: NDArray[np.float64]
    rest: NDArray[np.float64]
    crossed: dict[str, Crossed]


def score(
    scale: Mapping[str, tuple[float, float, float]],
    found: Mapping[str, Estimate],
    weights: Mapping[str, float],
    resamples: int,
) -> Score:
    """QUBA of a model in every resample.

    Args:
        scale: Scored dimension -> value, and mean and standard deviation of the normalisation.
        found: The dimensions that have resamples; the others are constant.
        weights: Dimension -> weight.
        resamples: Number of resamples.
    """
    import numpy as np

    total = np.zeros(resamples)
    deviations = np.zeros(resamples)
    weight = 0.0
    for dimension in DIMENSIONS:
        weight += weights[dimension.name] if dimension.name in scale else 0
    crossed = {}
    for dimension in DIMENSIONS:
        if dimension.name not in scale:
            continue
        mine, (value, mean, std) = weights[dimension.name], scale[dimension.name]
        estimate = found.get(dimension.name)
        values = np.full(resamples, value) if estimate is None else estimate.resamples
        sign = 1 if dimension.better == "up" else -1
        total += mine * sign * ((values - mean) / std if std > 0 else np.zeros(resamples))
        if estimate is not None and estimate.crossed is not None and std > 0 and mine > 0:
            crossed[dimension.name] = estimate.crossed.scaled(mine * sign / std / weight)
            deviations += crossed[dimension.name].deviations
    return Score(total / weight, total / weight - deviations if crossed else total / weight, crossed)
