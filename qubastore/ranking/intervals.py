"""Uncertainty of a ranking: intervals of dimensions, scores and ranks, and groups of indistinguishable models.

Every measured model is resampled with the same draws (`resampling`), and each resample is ranked. The normalisation of
the ranking is kept fixed, so that intervals reflect the models and not the normalisation. Published rows have no
samples: their figures are constant over the resamples.

Whether two models differ is tested with the difference of their scores over its bootstrap standard error, against the
normal distribution (Student's t where part of it comes from crossed images, whose variance is that of the difference
itself: `crossed`), two-sided, Holm-corrected over all pairs of models with samples. A share of resamples is too coarse
for this: a thousand resamples cannot give p-values as small as a correction for a thousand pairs requires.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError
from qubastore.ranking.dimension_runs import DimensionRun
from qubastore.ranking.pareto import front_note, front_shares, pareto_front
from qubastore.ranking.rank import rank_with_contributions
from qubastore.ranking.request import RankRequest
from qubastore.ranking.resampling import Resampler
from qubastore.ranking.result import Ranking
from qubastore.ranking.scores import score
from qubastore.ranking.sensitivity import ranks
from qubastore.ranking.ties import tie_groups
from qubastore.runs.lookup import model_ids
from qubastore.statistics.estimates import Estimate
from qubastore.statistics.options import BootstrapOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEASURED = "measured"

_DEFAULTS = RankRequest()
_OPTIONS = BootstrapOptions()


@dataclass(frozen=True)
class Placed:
    """A model of a ranking.

    Attributes:
        rank: Its rank.
        model: Its name.
        source: Source of its figures.
        quba: Its score.
        quba_interval: (low, high); None for published rows, as is everything below.
        rank_interval: (low, high), integers.
        group: Models in a group do not differ significantly from its first model; numbered from the top.
        on_front: Share of resamples in which it is on the Pareto front of its source; None if none was requested.
        values: Dimension -> its value; None where it is missing.
        intervals: Dimension -> (low, high), for the dimensions that it has.
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
    request: RankRequest = _DEFAULTS,
    options: BootstrapOptions = _OPTIONS,
    *,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[Ranking, list[Placed]]:
    """Rank models with bootstrap intervals, from kept outputs.

    Args:
        store: An open store.
        request: The ranking. With `pareto`, only models that are on the Pareto front, or are on it in more than 1 -
            level of the resamples.
        options: Resamples, level and seed.
        log: Called with the name of each model before it is resampled; models whose replicates are kept are not.

    Returns:
        The ranking, and one row per model in its order.

    Raises:
        UsageError: as `rank` does.
    """
    import numpy as np

    if request.cost is not None:
        raise UsageError(
            "intervals come from resampled images, and a cost has none",
            expected="a ranking by the number of parameters",
            hint="leave out --cost, or --intervals",
        )
    level = options.level
    ranking, contributions = rank_with_contributions(store, replace(request, pareto=(), top=None))
    models = ranking.models
    scales: dict[tuple[str, str], dict[str, tuple[float, float, float]]] = {}
    for each in contributions:
        scales.setdefault((each.model, each.source), {})[each.dimension] = each.value, each.mean, each.std or 0.0
    resampler = Resampler(store, request.suite, options)
    names = model_ids(store)
    ids = {model.model: names[model.model] for model in models if model.source == MEASURED}
    resampler.read(list(ids.values()))
    estimates: list[dict[str, Estimate]] = []
    for model in models:
        if model.source != MEASURED:
            estimates.append({})
            continue
        if not resampler.is_kept(ids[model.model]):
            log(model.model)
        estimates.append(resampler.dimensions(ids[model.model]))
    runs = [run for model_id in ids.values() for run in resampler.runs_of(model_id)]
    scored = [
        score(scales[model.model, model.source], found, ranking.weights, options.resamples)
        for model, found in zip(models, estimates, strict=True)
    ]
    # A resample in which any figure is undefined is not ranked.
    quba = np.stack([each.resamples for each in scored], axis=1)
    undefined = np.isnan(quba)
    quba = quba[~undefined.any(axis=1)]
    still = np.stack([each.rest for each in scored], axis=1)[~undefined.any(axis=1)]
    sure = np.array([bool(found) for found in estimates])
    places = ranks(quba) if len(quba) else np.full((1, len(models)), np.nan)
    scores = np.array([model.quba for model in models])
    crossed = [each.crossed for each, found in zip(scored, estimates, strict=True) if found]
    groups: list[int] | list[None] = [None] * int(sure.sum())
    if len(quba) > 1:
        groups = tie_groups(scores[sure], still[:, sure], 1 - level, crossed)
    numbered = iter(groups)
    on_front = _on_front(estimates, request) if request.pareto else [None] * len(models)
    front = pareto_front(models, request.front) if request.pareto else ()
    tail = [(1 - level) / 2, (1 + level) / 2]
    placed = []
    for number, (model, found) in enumerate(zip(models, estimates, strict=True)):
        if request.pareto and model not in front and (on_front[number] or 0) <= 1 - level:
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
                model.rank,
                model.model,
                model.source,
                model.quba,
                quba_interval,
                rank_interval,
                next(numbered) if found else None,
                on_front[number],
                dict(model.values),
                {name: estimate.interval(level) for name, estimate in found.items()},
            )
        )
    notes = _notes(ranking, estimates, undefined, options) + resampler.notes
    if unlike := _unlike(runs):
        notes.insert(1, f"models ran on different images under the same name, not paired there: {', '.join(unlike)}")
    if request.pareto:
        notes.insert(0, front_note(front, models, [d.name for d in request.front]))
        if len(placed) > len(front):
            rest = f"in more than {100 * (1 - level):g} % of the resamples"
            notes.insert(1, f"{len(placed) - len(front)} more are listed: they are on it {rest}")
    return replace(ranking, notes=notes), placed[: request.top]


def _unlike(runs: Sequence[DimensionRun]) -> list[str]:
    """Names of datasets that refer to different images for different models in the same role."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in runs:
        found.setdefault((one.role, one.dataset), set()).add(one.dataset_id)
    return sorted({dataset for (_, dataset), ids in found.items() if len(ids) > 1})


def _on_front(estimates: Sequence[Mapping[str, Estimate]], request: RankRequest) -> list[float | None]:
    """The share of resamples in which each measured model is on the front; None for the others."""
    import numpy as np

    front = request.front
    measured = [number for number, found in enumerate(estimates) if found and all(d.name in found for d in front)]
    shares: list[float | None] = [None] * len(estimates)
    if not measured:
        return shares
    points = np.stack(
        [
            np.stack([(1 if d.better == "up" else -1) * estimates[number][d.name].resamples for d in front], axis=1)
            for number in measured
        ],
        axis=1,
    )
    for number, share in zip(measured, front_shares(points), strict=True):
        shares[number] = None if np.isnan(share) else float(share)
    return shares


def _notes(
    ranking: Ranking,
    estimates: Sequence[Mapping[str, Estimate]],
    undefined: NDArray[np.bool_],
    options: BootstrapOptions,
) -> list[str]:
    n_sure = sum(map(bool, estimates))
    notes = [
        f"intervals at {100 * options.level:g} %: {options.resamples:,} resamples of the images, the same for every"
        f" model, seed {options.seed}"
    ]
    if n_sure > 1:
        notes.append(
            f"models in a group do not differ significantly from its first (paired, Holm-corrected for"
            f" {math.comb(n_sure, 2):,} pairs)"
        )
    if left_out := int(undefined.any(axis=1).sum()):
        whose = ", ".join(m.model for number, m in enumerate(ranking.models) if undefined[:, number].any())
        notes.append(f"{left_out:,} resamples left out of scores and ranks: a figure of {whose} is undefined in them")
    if n_sure < len(estimates):
        sources = {model.source for model in ranking.models} - {MEASURED}
        notes.append(
            f"{len(estimates) - n_sure} rows of {', '.join(sorted(sources))} have no samples in this store:"
            " no intervals, and no groups"
        )
    return notes + ranking.notes
