"""What a ranking is asked: weights, suite, source, normalisation, which models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from qubastore.errors import UsageError
from qubastore.metrics.dimensions import DIMENSION_NAMES, DIMENSIONS, named_dimensions

ORIGINS = ("measured", "published", "attached")
"""Kinds of sources; `auto` takes the first that has models to rank."""


NORMALIZATIONS = ("auto", "published", "store")


def final_weights(factors: Mapping[str, float], only: Sequence[str] = ()) -> dict[str, float]:
    """Default weights times the factors of every name (dimension, alias or group) that means the dimension.

    Args:
        factors: Name -> factor, 0 or more. Factors of overlapping names multiply.
        only: Names; where given, every other dimension weighs 0.

    Raises:
        UsageError: on an unknown name, a factor that is negative or no number, or no positive weight at all.
    """
    named_dimensions([*factors, *only])
    for name, factor in factors.items():
        if not 0 <= factor < math.inf:
            raise UsageError(
                f"the weight of {name} is {factor}", expected="a number from 0 up", hint=f"--weight {name}=2"
            )
    weights = {d.name: float(d.default_weight) for d in DIMENSIONS}
    for name, factor in factors.items():
        for dimension in DIMENSION_NAMES[name]:
            weights[dimension] *= factor
    if only:
        kept = {dimension.name for dimension in named_dimensions(only)}
        weights = {name: weight if name in kept else 0.0 for name, weight in weights.items()}
    if not math.isfinite(sum(weights.values())):
        raise UsageError("the weights add up to infinity", expected="smaller factors: only their proportions count")
    if not any(weights.values()):
        raise UsageError("all weights are zero", expected="at least one dimension with a weight above 0")
    return weights
