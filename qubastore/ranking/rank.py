"""Weighted QUBA rankings, as `qubastore rank` and `Store.rank` give them; the macro `quba_ranking` has the formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError
from qubastore.lake.ducklake import quote
from qubastore.metrics.dimensions import DIMENSION_NAMES, DIMENSIONS
from qubastore.metrics.known_differences import known_faults
from qubastore.metrics.suites import has_study_constants
from qubastore.published import SOURCE
from qubastore.ranking.cost import dimension_label, dimension_of
from qubastore.ranking.notes import absent_dimensions, attached_notes, left_out_notes, ranking_notes, roles_text
from qubastore.ranking.pareto import front_note, pareto_front
from qubastore.ranking.pool import Pool, of_source
from qubastore.ranking.request import RankRequest, needed_dimensions
from qubastore.ranking.result import Contribution, RankedModel, Ranking

_DEFAULTS = RankRequest()


def rank(store: AttachedDatabase, request: RankRequest = _DEFAULTS) -> Ranking:
    """Rank models by QUBA = sum(w * sign * (x - mean) / std) / sum(w) (Hesse et al., arXiv 2503.17110).

    Args:
        store: An open store.
        request: What is ranked, and how.

    Returns:
        The ranking; QUBA depends on the normalisation, so compare scores only within one ranking.

    Raises:
        UsageError: on an unknown suite or source, or if nothing can be ranked.
        QueryError: on a condition that DuckDB rejects.

    Example:
        >>> rank(store, RankRequest({"calibration": 2}, top=3)).models[0].model  # doctest: +SKIP
    """
    request = without_absent_roles(store, request)
    with Pool(store, request.pool) as pool:
        return _rank(pool, request)


def rank_with_contributions(
    store: AttachedDatabase, request: RankRequest = _DEFAULTS
) -> tuple[Ranking, list[Contribution]]:
    """As `rank`, with the contributions to every ranked model's score: one per weighted dimension."""
    request = without_absent_roles(store, request)
    with Pool(store, request.pool) as pool:
        ranking = _rank(pool, request)
        columns = (
            "model, source, dimension, value, mean, std, standard_score, direction, weight, contribution"
            f" {_call('quba_contributions', request, pool.table)} where weight > 0"
        )
        return ranking, [Contribution(*row) for row in store.rows(f"select {columns}")]


def without_absent_roles(store: AttachedDatabase, request: RankRequest) -> RankRequest:
    """The same request with weight 0 for dimensions that no model of the suite can have: their roles are not in it.

    A dimension that the request names by itself keeps its weight, so that the ranking says that no model has it.
    """
    meant = [
        DIMENSION_NAMES.get(dimension_of(name, request.cost), ())
        for name in (*request.weights, *request.dimensions, *request.pareto)
    ]
    named = {dimensions[0] for dimensions in meant if len(dimensions) == 1}
    dropped = [name for name in absent_dimensions(store, request.suite) if name not in named]
    return replace(request, weights={**request.weights, **dict.fromkeys(dropped, 0.0)})


def _rank(pool: Pool, request: RankRequest) -> Ranking:
    rows = _ranked_rows(pool, request)
    if not rows:
        raise _nothing_to_rank(pool, request)
    models = tuple(
        RankedModel(place, model, source, quba, coverage, dict(zip(_NAMES, values, strict=True)))
        for place, model, source, quba, coverage, *values in rows
    )
    notes = ranking_notes(pool, models, request)
    if request.without_known_faults:
        call = _call("quba_ranking", request, pool.with_faults)
        before = pool.store.rows(f"select rank, model, source {call}")
        notes += left_out_notes(pool, models, before, partial=request.partial)
    else:
        models = tuple(replace(m, faults=known_faults(m.model)) if m.source == SOURCE else m for m in models)
        if n := sum(len(model.faults) for model in models):
            notes.append(
                f"published figures have known faults ({n} of those ranked, marked †): see docs/published.md, or leave"
                " them out: --without-known-faults"
            )
    mixed = len({model.source for model in models}) > 1
    if request.pareto:
        front = pareto_front(models, request.front)
        notes.append(front_note(front, models, [dimension_label(d.name, request.cost) for d in request.front]))
        models = front
    return Ranking(models[: request.top], notes, request.final_weights, mixed, request.cost)


_NAMES = tuple(dimension.name for dimension in DIMENSIONS)


def _call(macro: str, request: RankRequest, table: str) -> str:
    """The SQL that calls a macro of `sql/macros` on a pool's table."""
    # The macro multiplies the default weights, so pass the factor that turns its default into the final weight.
    weights: Mapping[str, float] = request.final_weights
    factors = {d.name: float(weights[d.name]) / d.default_weight for d in DIMENSIONS}
    entries = ", ".join(f"{quote(name)}: '{factor!r}'::double" for name, factor in factors.items())
    return (
        f"from {macro}(map {{{entries}}}, suite_name := {quote(request.suite)},"
        f" source_name := {quote(request.source)}, normalize := {quote(request.normalization)},"
        f" partial := {str(request.partial).lower()}, pool := {quote(table)})"
    )


def _ranked_rows(pool: Pool, request: RankRequest) -> list[tuple[Any, ...]]:
    """Rank, model, source, QUBA, coverage and the nine dimensions, best first."""
    try:
        return pool.store.sql(_call("quba_ranking", request, pool.table)).fetchall()
    except Exception as error:
        if "unknown source" in str(error):  # known to the store, as its pool was gathered, but left out of the pool
            return []
        if "cannot normalise over one model" in str(error):
            constants = has_study_constants(request.suite) and request.cost is None
            raise UsageError(
                "store normalisation needs at least two models",
                found="one model",
                hint="--normalize published" if constants else "rank at least two models of the suite",
            ) from None
        raise


def _nothing_to_rank(pool: Pool, request: RankRequest) -> UsageError:
    suite = request.suite
    needed = needed_dimensions(request.final_weights)
    counts = ", ".join(f"count({d.column})" for d in needed)
    condition = f"suite = {quote(suite)} and {of_source(request.source)}"
    ((total, *present),) = pool.rows(f"select count(*), {counts} from pool where {condition}")
    missing = [dimension_label(d.name, request.cost) for d, count in zip(needed, present, strict=True) if count == 0]
    if not total:
        ((whole,),) = pool.store.rows(f"select count(*) from rankable where {condition}")
        if whole and request.where is not None:
            return UsageError(f"no models to rank: none of {whole} in suite {suite} matches --where {request.where!r}")
        return UsageError(
            f"suite {suite} has no models to rank",
            expected=f"a full run for at least one model: {roles_text(pool.store, suite)}",
            found="; ".join(attached_notes(pool.store, request.source, [])) or None,
            hint="qubastore show runs; or your own suite, with your datasets in its roles (README)",
        )
    return UsageError(
        f"none of the {total} models of suite {suite} has every weighted dimension",
        found=f"no model has {', '.join(missing)}" if missing else "each is missing at least one",
        hint=None if request.partial else "--partial, to allow missing dimensions; or --dimensions, to choose",
    )
