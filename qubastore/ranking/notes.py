"""What a reader must know of a ranking: normalisation, what was left out, whose figures, and their known faults."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from qubastore.attachments.attached import TABLES, AttachedDatabase
from qubastore.lake.ducklake import quote
from qubastore.metrics.dimensions import DIMENSIONS, Dimension
from qubastore.metrics.known_differences import known_faults
from qubastore.published import SOURCE

WITH_FAULTS = "rankable_with_faults"
"""The pool as it was before figures with a known fault were left out."""


TOP = 10
"""Places of which a ranking without known faults says how they moved."""


def needed_dimensions(weights: Mapping[str, float]) -> list[Dimension]:
    """The dimensions that have a weight."""
    return [d for d in DIMENSIONS if weights[d.name] > 0]


def ranking_notes(
    store: AttachedDatabase,
    rows: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    weights: Mapping[str, float],
    suite: str,
    source: str,
    *,
    published: bool,
    partial: bool,
) -> list[str]:
    """What a reader must know of a ranking: normalisation, models left out, which sources."""
    notes = []
    sources = sorted({row[columns.index("source")] for row in rows})
    named = ", ".join(quote(source) for source in sources)
    origins = dict(store.rows(f"select distinct source, origin from rankable_pool where source in ({named})"))
    if published:
        notes.append("normalised with the constants of the study (Hesse et al., arXiv 2503.17110)")
    else:
        alike = [source for source in sources if origins[source] != "published"]
        apart = [[source] for source in sources if origins[source] == "published"]
        notes += [_store_note(rows, columns, weights, each) for each in (alike, *apart) if each]
    pool = f"select count(*) from rankable_pool where suite = {quote(suite)} and source in ({named})"
    left_out = store.rows(pool)[0][0] - len(rows)
    if left_out:
        lack = " or ".join(f"{d.column} is null" for d in needed_dimensions(weights))
        detail = store.rows(f"{pool} and ({lack})")[0][0]
        notes.append(f"{left_out} left out: {detail} lack a dimension that has a weight (--partial ranks them)")
    if partial and any(row[columns.index("coverage")] < 1 for row in rows):
        notes.append("ranked on part of the dimensions where coverage is below 100 %: divided by the weights present")
    ambiguous = (
        store.rows(
            "select model, role from dimension_runs where suite = ? and run_id is null order by model limit 3", [suite]
        )
        if "measured" in sources
        else []
    )
    for model, role in ambiguous:
        notes.append(f"{model}: several runs could be its {role} run, so none is: remove one (qubastore rm run ID)")
    if "measured" in sources and (unverified := _unverified(store, rows, columns)):
        notes.append(f"identity unverified: {', '.join(unverified)}: recorded by the text of a file; ingest it again")
    if len(sources) > 1:
        notes.append(_mixed(set(origins.values())))
    if "measured" not in sources and (models := store.rows("select count(*) from models")[0][0]):
        notes.append(f"measured, but not in it: {models}; qubastore show dimensions --model NAME; or --suite NAME")
    return notes + attached_notes(store, source, sources)


def _unverified(store: AttachedDatabase, rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> list[str]:
    """The measured models of a ranking that are known by less than what decides their outputs."""
    found = {row[0] for row in store.rows("select model from model_names where identity <> ''")}
    model, source = columns.index("model"), columns.index("source")
    return sorted(row[model] for row in rows if row[source] == "measured" and row[model] in found)


def ranking_faults(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> dict[tuple[str, str], dict[str, str]]:
    """The known faults of the published rows of a ranking."""
    model, source = columns.index("model"), columns.index("source")
    found = {(row[model], row[source]): known_faults(row[model]) for row in rows if row[source] == SOURCE}
    return {key: faults for key, faults in found.items() if faults}


def left_out_notes(
    store: AttachedDatabase,
    rows: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    before: Sequence[tuple[int, str, str]],
    suite: str,
    *,
    partial: bool,
) -> list[str]:
    """How many figures were left out for their faults, and how the top moved.

    Args:
        store: The store with both pools.
        rows: The ranking without these figures.
        columns: Its columns.
        before: Rank, model, source of the ranking with them, best first.
        suite: What is ranked in.
        partial: Whether models are ranked on what they have.
    """
    values = [d.column for d in DIMENSIONS]
    both = " union all ".join(
        f"select {sign} as sign, {', '.join(values)} from {pool} where suite = {quote(suite)}"
        f" and source = {quote(SOURCE)}"
        for sign, pool in ((1, WITH_FAULTS), (-1, "rankable_pool"))
    )
    there = " + ".join(f"({value} is not null)::int" for value in values)
    figures = store.rows(f"select sum(sign * ({there})) from ({both})")
    if not figures[0][0] or all(source != SOURCE for _, _, source in before):
        return ["no figure of these models has a known fault: none was left out"]
    places = {
        tuple(row[columns.index(name)] for name in ("model", "source")): row[columns.index("rank")] for row in rows
    }
    unranked = sum((model, source) not in places for _, model, source in before)
    left_out = f"without known faults: {figures[0][0]:,} published figures left out"
    if unranked:
        left_out += f", and so {unranked} models unranked" + (
            "" if partial else " (--partial ranks them on the others)"
        )
    top = [(rank, model, places.get((model, source))) for rank, model, source in before[:TOP]]
    stay = sum(new is not None and new <= TOP for _, _, new in top)
    moved = [f"{model} {old} to {new or 'unranked'}" for old, model, new in top if old != new]
    note = f"of the first {len(top)} with them {stay} stay there" + (f"; moved: {', '.join(moved)}" if moved else "")
    return [left_out, note]


def attached_notes(store: AttachedDatabase, source: str, sources: Sequence[str]) -> list[str]:
    """What a reader must know of the attachments that were asked for."""
    asked = {*source.split(","), *sources}
    notes = [text for name, text in store.at_hand.notes if asked & {"all", "attached", name}]
    unknown = [each.name for each in store.attachments if each.kind == TABLES and each.name in sources]
    if unknown:
        notes.append(f"{', '.join(unknown)}: figures as the tables say; how they were measured is not known here")
    return notes


def _mixed(origins: Collection[str]) -> str:
    if "published" in origins:
        return "sources are mixed: published figures come from another protocol with known faults"
    return "sources are mixed: their figures compare as far as they were measured alike"


def roles_text(store: AttachedDatabase, suite: str) -> str:
    """What a suite asks for: `imagenet-val (50,000 images), 75 parts of imagenet-c (50,000 images)`."""
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


def _store_note(
    rows: Sequence[tuple[Any, ...]], columns: Sequence[str], weights: Mapping[str, float], sources: Sequence[str]
) -> str:
    mine = [row for row in rows if row[columns.index("source")] in sources]
    note = f"normalised over the {len(mine)} {' and '.join(sources)} models ranked (10 % trimmed at each end)"
    flat = []
    for dimension in needed_dimensions(weights):
        values = sorted(row[i] for row in mine if row[i := columns.index(dimension.name)] is not None)
        trim = len(values) // 10
        if values and values[trim] == values[-1 - trim]:
            flat.append(dimension.name)
    return note + (f"; no spread, so no contribution: {', '.join(flat)}" if flat else "")
