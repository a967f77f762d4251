"""What makes up a model's place in a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError, did_you_mean
from qubastore.metrics.known_differences import known_faults
from qubastore.ranking.rank import rank_with_contributions
from qubastore.ranking.request import RankRequest
from qubastore.ranking.result import Contribution

_DEFAULTS = RankRequest()


@dataclass(frozen=True)
class Explanation:
    """What makes up a model's score.

    Attributes:
        contributions: One per dimension with a weight that the model has, largest contribution first.
        rank: Its place.
        n_models: Models ranked.
        quba: Its score: the sum of the contributions.
        source: Whose figures.
        notes: As in a ranking.
        faults: Dimension -> why its published figure is known or likely to be wrong.
    """

    contributions: tuple[Contribution, ...]
    rank: int
    n_models: int
    quba: float
    source: str
    notes: list[str]
    faults: Mapping[str, str]

    columns = ("dimension", "value", "mean", "std", "standard_score", "weight", "contribution")
    """Names of the columns of `rows`."""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The contributions as rows, for printing and writing."""
        return [tuple(getattr(each, column) for column in self.columns) for each in self.contributions]


def explain(store: AttachedDatabase, model: str, request: RankRequest = _DEFAULTS) -> Explanation:
    """What each dimension contributes to a model's place.

    Args:
        store: An open store.
        model: Its name.
        request: The ranking; where several sources have the model, that of its best place is explained.

    Raises:
        UsageError: where the model is not in the ranking, and as `rank`.
    """
    ranking, contributions = rank_with_contributions(store, request)
    found = [each for each in ranking.models if each.model == model]
    if not found:
        if request.without_known_faults and (faults := known_faults(model)):
            raise UsageError(
                f"{model!r} is not in this ranking without known faults: {', '.join(sorted(faults))}",
                hint="--partial, to rank it on its other dimensions",
            )
        raise not_ranked(model, [each.model for each in ranking.models])
    first = found[0]
    others = [each.source for each in found[1:]]
    notes = [f"{model} is in {', '.join(others)} too: --source NAME explains that one"] if others else []
    mine = [each for each in contributions if (each.model, each.source) == (model, first.source)]
    return Explanation(
        tuple(sorted(mine, key=lambda each: (-each.contribution, each.dimension))),
        first.rank,
        len(ranking.models),
        first.quba,
        first.source,
        notes + ranking.notes,
        first.faults,
    )


def not_ranked(model: str, names: Sequence[str]) -> UsageError:
    """The error about a model that is not in a ranking of the models named."""
    return UsageError(
        f"{model!r} is not in this ranking",
        hint=did_you_mean(model, names) or "qubastore rank, with the same options, for those that are",
    )
