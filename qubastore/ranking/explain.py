"""What makes up a model's place in a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError, did_you_mean
from qubastore.metrics.known_differences import known_faults
from qubastore.metrics.suites import QUBA
from qubastore.ranking.rank import macro_call, rank


@dataclass(frozen=True)
class Explanation:
    """What makes up a model's score.

    Attributes:
        columns: `dimension`, `value`, `mean`, `std`, `standard_score`, `weight`, `contribution`.
        rows: One per dimension with a weight that the model has, largest contribution first.
        rank: Its place.
        n_models: Models ranked.
        quba: Its score: the sum of the contributions.
        source: Whose figures.
        notes: As in a ranking.
        faults: Dimension -> why its published figure is known or likely to be wrong.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    rank: int
    n_models: int
    quba: float
    source: str
    notes: list[str]
    faults: dict[str, str] = field(default_factory=dict)


def explain(
    store: AttachedDatabase,
    model: str,
    weights: Mapping[str, float] | None = None,
    *,
    suite: str = QUBA.name,
    source: str = "auto",
    normalize: str = "auto",
    partial: bool = False,
    where: str | None = None,
    dimensions: Sequence[str] = (),
    without_known_faults: bool = False,
) -> Explanation:
    """What each dimension contributes to a model's place; arguments as in `rank`.

    Raises:
        UsageError: where the model is not in the ranking.
    """
    ranking = rank(
        store,
        weights,
        suite=suite,
        source=source,
        normalize=normalize,
        partial=partial,
        where=where,
        dimensions=dimensions,
        without_known_faults=without_known_faults,
    )
    index = {name: position for position, name in enumerate(ranking.columns)}
    mine = [row for row in ranking.rows if row[index["model"]] == model]
    if not mine:
        if without_known_faults and (faults := known_faults(model)):
            raise UsageError(
                f"{model!r} is not in this ranking without known faults: {', '.join(sorted(faults))}",
                hint="--partial, to rank it on its other dimensions",
            )
        raise not_ranked(model, [row[index["model"]] for row in ranking.rows])
    row = mine[0]
    others = [other[index["source"]] for other in mine[1:]]
    notes = [f"{model} is in {', '.join(others)} too: --source NAME explains that one"] if others else []
    columns = ("dimension", "value", "mean", "std", "standard_score", "weight", "contribution")
    call = macro_call("quba_contributions", ranking.weights, suite, source, normalize, partial=partial)
    rows = store.rows(
        f"select {', '.join(columns)} {call} where model = ? and source = ? and weight > 0"
        " order by contribution desc, dimension",
        [model, row[index["source"]]],
    )
    place, quba = row[index["rank"]], row[index["quba"]]
    source = row[index["source"]]
    faults = ranking.faults.get((model, source), {})
    return Explanation(columns, rows, place, len(ranking.rows), quba, source, notes + ranking.notes, faults)


def not_ranked(model: str, names: Sequence[str]) -> UsageError:
    """The error about a model that is not in a ranking of the models named."""
    return UsageError(
        f"{model!r} is not in this ranking",
        hint=did_you_mean(model, names) or "qubastore rank, with the same options, for those that are",
    )
