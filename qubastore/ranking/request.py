"""The request for a ranking: weights, suite, source, normalisation, which models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qubastore.errors import UsageError, check_name
from qubastore.metrics.dimensions import DIMENSION_NAMES, DIMENSIONS, Dimension, named_dimensions
from qubastore.metrics.suites import QUBA, has_study_constants
from qubastore.ranking.cost import Cost, dimension_of

ORIGINS = ("measured", "published", "attached")
"""Kinds of sources; `auto` takes the first that has models to rank."""

NORMALIZATIONS = ("auto", "published", "store")


@dataclass(frozen=True)
class PoolRequest:
    """Which models a ranking considers.

    Attributes:
        suite: Name of the suite.
        source: `measured`, `published`, `attached`, the name of a source, several of these separated by commas, `all`,
            or `auto`: measured if a measured model can be used, else published, else attached.
        where: SQL condition over the columns of the view `rankable`, to choose the models.
        without_known_faults: Treat published figures that are known or likely to be wrong as missing (`where` still
            sees them); figures measured by another procedure are kept.
        cost: A cost to rank by in place of the number of parameters, as `Cost.parse` takes it; `where` calls it `cost`.
    """

    suite: str = QUBA.name
    source: str = "auto"
    where: str | None = None
    without_known_faults: bool = False
    cost: str | None = None


@dataclass(frozen=True)
class RankRequest:
    """What to rank, and how.

    Attributes:
        weights: Name (dimension, alias or group) -> factor that multiplies the default weight; with 0 the dimension is
            ignored and not required. Factors of overlapping names multiply.
        suite: As in `PoolRequest`.
        source: As in `PoolRequest`; `auto` takes the first kind with a model that can be ranked.
        normalize: `published` (constants of the study), `store` (trimmed mean and population std of what is ranked,
            published sources apart), or `auto`: published for the suites of the study, else store. With a cost it is
            the store's.
        partial: Allow missing dimensions: rank models on those that they have.
        where: As in `PoolRequest`.
        dimensions: Names; if given, every other dimension has weight 0.
        without_known_faults: As in `PoolRequest`.
        pareto: Dimensions; if given, keep only models that no other model of the same source dominates: none is at
            least as good in each and better in one. Ranks stay those of the whole ranking.
        top: Keep only the first models.
        cost: As in `PoolRequest`; weights and dimensions may call it by its name.

    Raises:
        UsageError: on an unknown name, a factor that is negative or not a number, if no weight is positive, or on the
            study's constants for another suite.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    suite: str = QUBA.name
    source: str = "auto"
    normalize: str = "auto"
    partial: bool = False
    where: str | None = None
    dimensions: Sequence[str] = ()
    without_known_faults: bool = False
    pareto: Sequence[str] = ()
    top: int | None = None
    cost: str | None = None

    def __post_init__(self) -> None:
        if self.cost is not None:
            Cost.parse(self.cost)
        # Names and factors are checked as they are looked up.
        _ = self.final_weights, self.front
        check_name("normalisation", self.normalize, NORMALIZATIONS)
        if self.cost is not None and self.normalize == "published":
            raise UsageError(f"the study has no constants for {self.cost}", hint="--normalize store")
        if self.normalize == "published" and not has_study_constants(self.suite):
            raise UsageError(
                f"the published constants belong to the suite {QUBA.name}",
                found=f"suite {self.suite}",
                hint="--normalize store",
            )

    @property
    def pool(self) -> PoolRequest:
        """The part of the request that selects the models."""
        return PoolRequest(self.suite, self.source, self.where, self.without_known_faults, self.cost)

    @property
    def final_weights(self) -> dict[str, float]:
        """Dimension -> final weight."""
        factors: dict[str, float] = {}
        for name, factor in self.weights.items():
            dimension = dimension_of(name, self.cost)
            factors[dimension] = factors.get(dimension, 1.0) * factor
        return final_weights(factors, [dimension_of(name, self.cost) for name in self.dimensions])

    @property
    def front(self) -> list[Dimension]:
        """The dimensions of the Pareto front."""
        return named_dimensions([dimension_of(name, self.cost) for name in self.pareto])

    @property
    def normalization(self) -> str:
        """`published` or `store`."""
        if self.normalize != "auto":
            return self.normalize
        return "published" if self.cost is None and has_study_constants(self.suite) else "store"

    @property
    def has_study_constants(self) -> bool:
        """Whether scores are normalised with the study's constants."""
        return self.normalization == "published"


def final_weights(factors: Mapping[str, float], only: Sequence[str] = ()) -> dict[str, float]:
    """The default weights, each times the factors of every name (dimension, alias or group) that covers it.

    Args:
        factors: Name -> factor, 0 or more. Factors of overlapping names multiply.
        only: Names; if given, every other dimension has weight 0.

    Raises:
        UsageError: on an unknown name, a factor that is negative or not a number, or if no weight is positive.
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


def needed_dimensions(weights: Mapping[str, float]) -> list[Dimension]:
    """The dimensions with a positive weight."""
    return [d for d in DIMENSIONS if weights[d.name] > 0]
