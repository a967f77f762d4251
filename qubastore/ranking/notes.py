"""Notes on a ranking: its normalisation, what was left out, the sources of the figures, and their known faults."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from qubastore.attachments.attached import TABLES, AttachedDatabase
from qubastore.lake.database import Database
from qubastore.lake.ducklake import quote
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.published import SOURCE
from qubastore.ranking.pool import Pool
from qubastore.ranking.request import RankRequest, needed_dimensions
from qubastore.ranking.result import RankedModel

TOP = 10
"""Number of top ranks for which a ranking without known faults notes how they changed."""


def ranking_notes(pool: Pool, models: Sequence[RankedModel], request: RankRequest) -> list[str]:
    """The notes on a ranking: normalisation, models left out, sources.

    Args:
        pool: The candidates.
        models: The ranked models.
        request: The request.
    """
    store, suite = pool.store, request.suite
    notes = []
    sources = sorted({model.source for model in models})
    named = ", ".join(quote(source) for source in sources)
    origins = dict(pool.rows(f"select distinct source, origin from pool where source in ({named})"))
    if pool.cost_note is not None:
        notes.append(pool.cost_note)
    if request.has_study_constants:
        notes.append("normalised with the constants of the study (Hesse et al., arXiv 2503.17110)")
    else:
        alike = [source for source in sources if origins[source] != "published"]
        apart = [[source] for source in sources if origins[source] == "published"]
        notes += [_store_note(models, request, each) for each in (alike, *apart) if each]
    if absent := [name for name in absent_dimensions(store, suite) if not request.final_weights[name]]:
        notes.append(f"suite {suite} has no runs for {', '.join(absent)}")
    looked_at = f"select count(*) from pool where suite = {quote(suite)} and source in ({named})"
    left_out = pool.rows(looked_at)[0][0] - len(models)
    if left_out:
        is_null = " or ".join(f"{d.column} is null" for d in needed_dimensions(request.final_weights))
        detail = pool.rows(f"{looked_at} and ({is_null})")[0][0]
        notes.append(f"{left_out} left out: {detail} have no value in a weighted dimension (--partial ranks them)")
    if request.partial and any(model.coverage < 1 for model in models):
        notes.append("coverage below 100 %: ranked on part of the dimensions, divided by the weights of those present")
    if "measured" in sources:
        query = "select model, role from dimension_runs where suite = ? and run_id is null order by model limit 3"
        for model, role in store.rows(query, [suite]):
            notes.append(f"{model}: several runs match role {role}, so none is used: remove one (qubastore rm run ID)")
        if unverified := _unverified(store, models):
            notes.append(
                f"identity unverified: {', '.join(unverified)}: identified by a file's text only; ingest it again"
            )
    if len(sources) > 1:
        notes.append(_mixed(set(origins.values())))
    if "measured" not in sources and (count := store.rows("select count(*) from models")[0][0]):
        notes.append(f"measured, but not ranked: {count}; qubastore show dimensions --model NAME; or --suite NAME")
    return notes + attached_notes(store, request.source, sources)


def absent_dimensions(store: Database, suite: str) -> list[str]:
    """The dimensions that no model of a suite can have, because their roles are not in it."""
    roles = {role for (role,) in store.rows("select distinct role from suites where suite = ?", [suite])}
    return [d.name for d in DIMENSIONS if roles and not roles.issuperset(d.roles)]


def _unverified(store: AttachedDatabase, models: Sequence[RankedModel]) -> list[str]:
    """The measured models of a ranking whose identity does not cover everything that determines their outputs."""
    found = {row[0] for row in store.rows("select model from model_names where identity <> ''")}
    return sorted(each.model for each in models if each.source == "measured" and each.model in found)


def left_out_notes(
    pool: Pool, models: Sequence[RankedModel], before: Sequence[tuple[int, str, str]], *, partial: bool
) -> list[str]:
    """Notes on how many figures were left out for their faults, and how the top ranks changed.

    Args:
        pool: The pool, without these figures and with them.
        models: The ranking without these figures.
        before: Rank, model, source of the ranking with them, best first.
        partial: Whether models with missing dimensions are ranked.
    """
    values = [d.column for d in DIMENSIONS]
    both = " union all ".join(
        f"select {sign} as sign, {', '.join(values)} from {table} where suite = {quote(pool.request.suite)}"
        f" and source = {quote(SOURCE)}"
        for sign, table in ((1, pool.with_faults), (-1, pool.table))
    )
    there = " + ".join(f"({value} is not null)::int" for value in values)
    figures = pool.store.rows(f"select sum(sign * ({there})) from ({both})")
    if not figures[0][0] or all(source != SOURCE for _, _, source in before):
        return ["no figure of these models has a known fault: none was left out"]
    places = {(each.model, each.source): each.rank for each in models}
    unranked = sum((model, source) not in places for _, model, source in before)
    left_out = f"without known faults: {figures[0][0]:,} published figures left out"
    if unranked:
        more = "" if partial else " (--partial ranks them on the others)"
        left_out += f", and so {unranked} models unranked{more}"
    top = [(rank, model, places.get((model, source))) for rank, model, source in before[:TOP]]
    stay = sum(new is not None and new <= TOP for _, _, new in top)
    moved = [f"{model} {old} to {new or 'unranked'}" for old, model, new in top if old != new]
    note = f"of the first {len(top)} with them, {stay} stay in the first {TOP}" + (
        f"; changed: {', '.join(moved)}" if moved else ""
    )
    return [left_out, note]


def attached_notes(store: AttachedDatabase, source: str, sources: Sequence[str]) -> list[str]:
    """Notes on the requested attachments."""
    asked = {*source.split(","), *sources}
    notes = [text for name, text in store.attachment_state.notes if asked & {"all", "attached", name}]
    unknown = [each.name for each in store.attachments if each.kind == TABLES and each.name in sources]
    if unknown:
        notes.append(f"{', '.join(unknown)}: figures as given in the tables; how they were measured is unknown")
    return notes


def _mixed(origins: Collection[str]) -> str:
    if "published" in origins:
        return "sources are mixed: published figures come from another protocol with known faults"
    return "sources are mixed: their figures are comparable only as far as they were measured in the same way"


def roles_text(store: Database, suite: str) -> str:
    """The datasets that a suite requires: `imagenet-val (50,000 images), 75 parts of imagenet-c (50,000 images)`."""
    rows = store.rows("select distinct dataset, n_samples from suites where suite = ? order by all", [suite])
    sets: dict[str, list[int | None]] = {}
    for dataset, n_samples in rows:
        sets.setdefault(dataset.partition("/")[0], []).append(n_samples)
    return ", ".join(map(_set, sets, sets.values()))


def _set(name: str, sizes: Sequence[int | None]) -> str:
    parts = name if len(sizes) == 1 else f"{len(sizes)} parts of {name}"
    if len(set(sizes)) > 1 or sizes[0] is None:
        return parts
    return f"{parts} ({sizes[0]:,} images{'' if len(sizes) == 1 else ' each'})"


def _store_note(models: Sequence[RankedModel], request: RankRequest, sources: Sequence[str]) -> str:
    mine = [model for model in models if model.source in sources]
    note = f"normalised over the {len(mine)} {' and '.join(sources)} models ranked (10 % trimmed at each end)"
    flat = []
    for dimension in needed_dimensions(request.final_weights):
        values = sorted(value for model in mine if (value := model.values[dimension.name]) is not None)
        trim = len(values) // 10
        if values and values[trim] == values[-1 - trim]:
            flat.append(dimension.name)
    return note + (f"; no spread, so no contribution: {', '.join(flat)}" if flat else "")
