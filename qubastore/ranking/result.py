"""What a ranking answers: ranked models, what makes up their scores, and what a reader must know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qubastore.metrics.dimensions import DIMENSIONS

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class RankedModel:
    """A model in a ranking.

    Attributes:
        rank: Its place, 1 the best; equal scores share the better place.
        model: Its name.
        source: Whose figures.
        quba: Its score.
        coverage: Share of the total weight that it has values for, 0 to 1.
        values: Dimension -> value, in the dimension's unit; None where it has none.
        faults: Dimension -> why that published figure is known or likely to be wrong.
    """

    rank: int
    model: str
    source: str
    quba: float
    coverage: float
    values: Mapping[str, float | None]
    faults: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """A ranking, best first.

    Attributes:
        models: The ranked models.
        notes: What a reader must know: normalisation, models left out, known faults of published figures.
        weights: Dimension -> final weight.
        mixed: Whether several sources were ranked together, whatever models are left.
    """

    models: tuple[RankedModel, ...]
    notes: list[str]
    weights: Mapping[str, float]
    mixed: bool = False

    columns = ("rank", "model", "source", "quba", "coverage", *(dimension.name for dimension in DIMENSIONS))
    """Names of the columns of `rows`."""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The models as rows, for printing and writing."""
        return [(m.rank, m.model, m.source, m.quba, m.coverage, *m.values.values()) for m in self.models]

    def pl(self) -> polars.DataFrame:
        """The models as a Polars frame with `columns`."""
        import polars

        return polars.DataFrame(self.rows, schema=list(self.columns), orient="row", infer_schema_length=None)


@dataclass(frozen=True)
class Contribution:
    """What one dimension adds to a model's score.

    Attributes:
        model: Its name.
        source: Whose figures.
        dimension: Name of the dimension, which has a weight.
        value: The model's value.
        mean: What it is compared with.
        std: What a step of 1 is; None where the ranked models have no spread.
        standard_score: (value - mean) / std; 0 without spread.
        direction: 1 where up is better, -1 where down is.
        weight: The final weight.
        contribution: Its part of the score, in standard deviations.
    """

    model: str
    source: str
    dimension: str
    value: float
    mean: float
    std: float | None
    standard_score: float
    direction: int
    weight: float
    contribution: float

    @property
    def score(self) -> float:
        """The standardised value, up is better."""
        return self.direction * self.standard_score
