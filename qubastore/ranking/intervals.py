"""How sure a rank is: intervals of dimensions, scores and ranks, and models that cannot be told apart.

Every measured model is resampled with the same draws (`resampling`), and each resample is ranked. The normalisation
stays that of the ranking, so that intervals are of the models and not of their yardstick. Published rows have no
samples: their figures stand still.

Two models are told apart by the difference of their scores over its bootstrap standard error, against the normal
distribution (Student's t where some of it comes from crossed images, whose variance is that of the difference itself:
`crossed`), two-sided, Holm-corrected over all pairs of models with samples. A share of resamples would not do: a
thousand of them cannot be as sure as a correction for a thousand pairs asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError
from qubastore.metrics.dimensions import DIMENSIONS, Dimension, named_dimensions
from qubastore.metrics.suites import QUBA
from qubastore.ranking.answers import Answer
from qubastore.ranking.pareto import front_note, pareto_front
from qubastore.ranking.rank import Ranking, contributions, rank
from qubastore.ranking.resampling import Resampler
from qubastore.ranking.scores import score
from qubastore.ranking.sensitivity import ranks
from qubastore.ranking.ties import tie_groups
from qubastore.runs.lookup import named_model
from qubastore.statistics.bootstrap import RESAMPLES
from qubastore.statistics.estimates import LEVEL, Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MEASURED = "measured"


@dataclass(frozen=True)
class Placed:
    """A model of a ranking.

    Attributes:
        rank: Its rank.
        model: Its name.
        source: Whose figures.
        quba: Its score.
        quba_interval: (low, high); None, as all below, for published rows.
        rank_interval: (low, high), whole numbers.
        group: Models of one group cannot be told apart from its first; numbered from the top.
        on_front: Share of resamples in which it is on the Pareto front of its source; None where none was asked for.
        values: Dimension -> its value; None where it lacks it.
        intervals: Dimension -> (low, high), for those that it has.
    """

    rank: int
    model: str
    source: str
    quba: float
    quba_interval: tuple[float, float] | None
    rank_interval: tuple[int, int] | None
    group: int | None
    on_front: float | None
    values: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]


def rank_intervals(
    store: AttachedDatabase,
    weights: Mapping[str, float] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    pareto: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> tuple[Ranking, list[Placed]]:
    """A ranking with intervals, from kept outputs.

    Args:
        store: An open store.
        weights: As in `ranking.rank`.
        resamples: How many.
        level: Of intervals, and 1 - the level of the tests; between 0 and 1.
        seed: Of the draws.
        pareto: Dimensions; where given, only models that are on their Pareto front, or are on it in more than 1 - level
            of the resamples.
        progress: Told of each model before it is resampled.
        options: As in `ranking.rank`.

    Returns:
        The ranking, and one row per model in its order.

    Raises:
        UsageError: as `ranking.rank`, and on a level that is none.
    """
    import numpy as np

    if not 0 < level < 1:
        raise UsageError(f"the level is {level}", expected="a number between 0 and 1", hint="--level 0.95")
    front = named_dimensions(pareto)
    ranking = rank(store, weights, **options)
    position = {name: number for number, name in enumerate(ranking.columns)}
    scales: dict[tuple[str, str], dict[str, tuple[float, float, float]]] = {}
    for model, source, dimension, value, mean, std, _ in contributions(store, ranking, **options):
        scales.setdefault((model, source), {})[dimension] = value, mean, std
    resampler = Resampler(store, options.get("suite", QUBA.name), resamples, seed)
    estimates: list[dict[str, Estimate]] = []
    answers: list[Answer] = []
    for row in ranking.rows:
        if row[position["source"]] != MEASURED:
            estimates.append({})
            continue
        progress(row[position["model"]])
        model_id = named_model(store, row[position["model"]])[1]
        estimates.append(resampler.dimensions(model_id))
        answers += resampler.answers(model_id)
    keys = [(row[position["model"]], row[position["source"]]) for row in ranking.rows]
    scored = [score(scales[key], found, ranking.weights, resamples) for key, found in zip(keys, estimates, strict=True)]
    # A resample in which some figure is not defined ranks nobody.
    quba = np.stack([each.resamples for each in scored], axis=1)
    undefined = np.isnan(quba)
    quba = quba[~undefined.any(axis=1)]
    still = np.stack([each.rest for each in scored], axis=1)[~undefined.any(axis=1)]
    sure = np.array([bool(found) for found in estimates])
    places = ranks(quba) if len(quba) else np.full((1, len(keys)), np.nan)
    scores = np.array([row[position["quba"]] for row in ranking.rows])
    crossed = [each.crossed for each, found in zip(scored, estimates, strict=True) if found]
    groups: list[int] | list[None] = [None] * int(sure.sum())
    if len(quba) > 1:
        groups = tie_groups(scores[sure], still[:, sure], 1 - level, crossed)
    numbered = iter(groups)
    on_front = _front_shares(ranking, estimates, front) if front else [None] * len(keys)
    fronted = pareto_front(ranking.rows, ranking.columns, front) if front else []
    tail = [(1 - level) / 2, (1 + level) / 2]
    placed = []
    for number, (row, found) in enumerate(zip(ranking.rows, estimates, strict=True)):
        if front and row not in fronted and (on_front[number] or 0) <= 1 - level:
            if found:
                next(numbered)
            continue
        quba_interval = rank_interval = None
        if found and len(quba):
            low, high = np.quantile(quba[:, number], tail)
            quba_interval = float(low), float(high)
            first, last = np.quantile(places[:, number], tail, method="inverted_cdf")
            rank_interval = int(first), int(last)
        placed.append(
            Placed(
                row[position["rank"]],
                row[position["model"]],
                row[position["source"]],
                row[position["quba"]],
                quba_interval,
                rank_interval,
                next(numbered) if found else None,
                on_front[number],
                {d.name: row[position[d.name]] for d in DIMENSIONS},
                {name: estimate.interval(level) for name, estimate in found.items()},
            )
        )
    notes = _notes(ranking, estimates, undefined, level, seed)
    if unlike := _unlike(answers):
        notes.insert(1, f"models ran over different images that are called {', '.join(unlike)}: not paired there")
    if front:
        notes.insert(0, front_note(fronted, ranking.rows, front))
        if len(placed) > len(fronted):
            rest = f"in more than {100 * (1 - level):g} % of the resamples"
            notes.insert(1, f"{len(placed) - len(fronted)} more are shown: they are on it {rest}")
    return replace(ranking, notes=notes), placed


def _unlike(answers: Sequence[Answer]) -> list[str]:
    """Names of datasets that stand for different images in one role of several models."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in answers:
        found.setdefault((one.role, one.dataset), set()).add(one.dataset_id)
    return sorted({dataset for (_, dataset), ids in found.items() if len(ids) > 1})


def _front_shares(
    ranking: Ranking, estimates: Sequence[Mapping[str, Estimate]], front: Sequence[Dimension]
) -> list[float | None]:
    """In how many resamples each measured model is on the front; None for the others."""
    import numpy as np

    measured = [number for number, found in enumerate(estimates) if found and all(d.name in found for d in front)]
    shares: list[float | None] = [None] * len(ranking.rows)
    if not measured:
        return shares
    points = np.stack(
        [
            np.stack([(1 if d.better == "up" else -1) * estimates[number][d.name].resamples for d in front], axis=1)
            for number in measured
        ],
        axis=1,
    )
    # As in scores: a resample in which some figure is not defined puts nobody on the front.
    points = points[~np.isnan(points).any(axis=(1, 2))]
    counted = np.zeros(len(measured))
    for point in points:
        at_least = (point[None] >= point[:, None]).all(axis=2)
        better = (point[None] > point[:, None]).any(axis=2)
        counted += ~(at_least & better).any(axis=1)
    for number, count in zip(measured, counted, strict=True):
        shares[number] = float(count / len(points)) if len(points) else None
    return shares


def _notes(
    ranking: Ranking,
    estimates: Sequence[Mapping[str, Estimate]],
    undefined: NDArray[np.bool_],
    level: float,
    seed: int,
) -> list[str]:
    resamples = len(undefined)
    n_sure = sum(map(bool, estimates))
    notes = [
        f"intervals at {100 * level:g} %: {resamples:,} resamples of the images, the same for every model, seed {seed}"
    ]
    if n_sure > 1:
        notes.append(
            f"models of one group cannot be told apart from its first (paired, Holm-corrected for"
            f" {math.comb(n_sure, 2):,} pairs)"
        )
    if left_out := int(undefined.any(axis=1).sum()):
        names = [row[ranking.columns.index("model")] for row in ranking.rows]
        whose = ", ".join(name for number, name in enumerate(names) if undefined[:, number].any())
        notes.append(f"{left_out:,} resamples left out of scores and ranks: a figure of {whose} is not defined in them")
    if n_sure < len(estimates):
        sources = {row[ranking.columns.index("source")] for row in ranking.rows} - {MEASURED}
        notes.append(
            f"{len(estimates) - n_sure} rows of {', '.join(sorted(sources))} have no samples in this store:"
            " no intervals, and no groups"
        )
    return notes + ranking.notes
