"""The result of a ranking: ranked models, the contributions to their scores, and notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.cost import dimension_label

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class RankedModel:
    """A model in a ranking.

    Attributes:
        rank: Its rank, 1 is best; equal scores share the better rank.
        model: Its name.
        source: Source of its figures.
        quba: Its score.
        coverage: Share of the total weight that it has values for, 0 to 1.
        values: Dimension -> value, in the dimension's unit; None where it is missing.
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
        notes: What to know when reading it: normalisation, models left out, known faults of published figures.
        weights: Dimension -> final weight.
        mixed: Whether several sources were ranked together, even if the models kept have one source.
        cost: The cost that was ranked by in place of the number of parameters, which `values` then have; see `Cost`.
    """

    models: tuple[RankedModel, ...]
    notes: list[str]
    weights: Mapping[str, float]
    mixed: bool = False
    cost: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        names = [dimension_label(dimension.name, self.cost) for dimension in DIMENSIONS]
        return ("rank", "model", "source", "quba", "coverage", *names)

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
    """What one dimension contributes to a model's score.

    Attributes:
        model: Name of the model.
        source: Source of the figure.
        dimension: Name of the dimension, which has a positive weight.
        value: The model's value.
        mean: Mean of the normalisation.
        std: Standard deviation of the normalisation; None where the ranked models have no spread.
        standard_score: (value - mean) / std; 0 without spread.
        direction: 1 if larger is better, -1 if smaller is.
        weight: The final weight.
        contribution: What it adds to the score, in standard deviations.
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
        """The standardised value; larger is better."""
        return self.direction * self.standard_score
