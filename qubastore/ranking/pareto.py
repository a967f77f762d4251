"""Pareto fronts: the models that no other model of the same source dominates.

A model dominates another if it is at least as good in every dimension of the front and better in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qubastore.metrics.dimensions import Dimension
from qubastore.ranking.result import RankedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pareto_front(models: Sequence[RankedModel], front: Sequence[Dimension]) -> tuple[RankedModel, ...]:
    """The models on the front; a model without a value in one of its dimensions is never on it."""
    signs = [(d.name, 1 if d.better == "up" else -1) for d in front]
    points = [
        (model, [sign * value for name, sign in signs if (value := model.values[name]) is not None])
        for model in models
        if all(model.values[name] is not None for name, _ in signs)
    ]
    return tuple(
        model
        for model, mine in points
        if not any(
            other.source == model.source and theirs != mine and all(x >= y for x, y in zip(theirs, mine, strict=True))
            for other, theirs in points
        )
    )


def front_shares(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of resamples in which each model is on the front.

    Args:
        points: (n_resamples, n_models, n_dimensions) float64, larger is better in each; a resample with an undefined
            figure (NaN) is ignored.

    Returns:
        (n_models,) float64, 0 to 1; NaN where no resample counts.
    """
    import numpy as np

    points = points[~np.isnan(points).any(axis=(1, 2))]
    counted = np.zeros(points.shape[1])
    for point in points:
        at_least = (point[None] >= point[:, None]).all(axis=2)
        better = (point[None] > point[:, None]).any(axis=2)
        counted += ~(at_least & better).any(axis=1)
    return counted / len(points) if len(points) else np.full(points.shape[1], np.nan)


def front_note(kept: Sequence[RankedModel], models: Sequence[RankedModel], names: Sequence[str]) -> str:
    """The note on how many models of a ranking are on a Pareto front of dimensions, by their names."""
    return f"{len(kept)} of {len(models)} models are on the Pareto front of {', '.join(names)}"
