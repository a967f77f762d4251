"""Explain a model's rank: what each dimension contributes to its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError, did_you_mean
from qubastore.metrics.known_differences import known_faults
from qubastore.ranking.cost import dimension_label
from qubastore.ranking.rank import rank_with_contributions
from qubastore.ranking.request import RankRequest
from qubastore.ranking.result import Contribution

_DEFAULTS = RankRequest()


@dataclass(frozen=True)
class Explanation:
    """The contributions that make up a model's score.

    Attributes:
        contributions: One per weighted dimension that the model has, largest contribution first.
        rank: Its rank.
        n_models: Number of models ranked.
        quba: Its score: the sum of the contributions.
        source: Source of its figures.
        notes: As in a ranking.
        faults: Dimension -> why its published figure is known or likely to be wrong.
        cost: As in `Ranking`.
    """

    contributions: tuple[Contribution, ...]
    rank: int
    n_models: int
    quba: float
    source: str
    notes: list[str]
    faults: Mapping[str, str]
    cost: str | None = None

    columns = ("dimension", "value", "mean", "std", "standard_score", "weight", "contribution")
    """Names of the columns of `rows`."""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The contributions as rows, for printing and writing."""
        return [
            (dimension_label(each.dimension, self.cost), *(getattr(each, column) for column in self.columns[1:]))
            for each in self.contributions
        ]


def explain(store: AttachedDatabase, model: str, request: RankRequest = _DEFAULTS) -> Explanation:
    """Return what each dimension contributes to a model's score.

    Args:
        store: An open store.
        model: Name of the model.
        request: The ranking; where several sources have the model, the best-ranked entry is explained.

    Raises:
        UsageError: if the model is not in the ranking, and as `rank` does.
    """
    ranking, contributions = rank_with_contributions(store, request)
    found = [each for each in ranking.models if each.model == model]
    if not found:
        if request.without_known_faults and (faults := known_faults(model)):
            raise UsageError(
                f"{model!r} is not in this ranking, which leaves out its faulty figures: {', '.join(sorted(faults))}",
                hint="--partial, to rank it on its other dimensions",
            )
        raise not_ranked(model, [each.model for each in ranking.models])
    first = found[0]
    others = [each.source for each in found[1:]]
    notes = [f"{model} is also in {', '.join(others)}: use --source NAME to explain that one"] if others else []
    mine = [each for each in contributions if (each.model, each.source) == (model, first.source)]
    return Explanation(
        tuple(sorted(mine, key=lambda each: (-each.contribution, each.dimension))),
        first.rank,
        len(ranking.models),
        first.quba,
        first.source,
        notes + ranking.notes,
        first.faults,
        request.cost,
    )


def not_ranked(model: str, names: Sequence[str]) -> UsageError:
    """The error for a model that is not in a ranking of the models `names`."""
    return UsageError(
        f"{model!r} is not in this ranking",
        hint=did_you_mean(model, names) or "qubastore rank, with the same options, lists the models that are",
    )
