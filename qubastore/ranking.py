"""Weighted QUBA rankings, as `qubastore rank` and `Store.rank` ask for them; `quba_ranking` holds the formula."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qubastore.dimensions import DIMENSION_NAMES, DIMENSIONS, Dimension
from qubastore.engine import quote
from qubastore.errors import QueryError, UsageError, check_name
from qubastore.store import Store
from qubastore.suites import QUBA

SOURCES = ("auto", "measured", "published", "all")
NORMALIZATIONS = ("auto", "published", "store")


@dataclass(frozen=True)
class Ranking:
    """A ranking, best first.

    Attributes:
        columns: `rank`, `model`, `source`, `quba`, `coverage`, and the nine dimensions.
        rows: One per ranked model and source.
        notes: What a reader must know: normalisation, models left out, known faults of published figures.
        weights: Dimension -> final weight.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str]
    weights: dict[str, float]


def final_weights(factors: Mapping[str, float], only: Sequence[str] = ()) -> dict[str, float]:
    """Default weights times the factors of every name (dimension, alias or group) that means the dimension.

    Args:
        factors: Name -> factor, 0 or more. Factors of overlapping names multiply.
        only: Names; where given, every other dimension weighs 0.

    Raises:
        UsageError: on an unknown name, a factor that is negative or no number, or no positive weight at all.
    """
    for name in (*factors, *only):
        check_name("dimension", name, DIMENSION_NAMES)
    for name, factor in factors.items():
        if not 0 <= factor < math.inf:
            raise UsageError(
                f"the weight of {name} is {factor}", expected="a number from 0 up", hint=f"--weight {name}=2"
            )
    weights = {d.name: float(d.default_weight) for d in DIMENSIONS}
    for name, factor in factors.items():
        for dimension in DIMENSION_NAMES[name]:
            weights[dimension] *= factor
    if only:
        kept = {dimension for name in only for dimension in DIMENSION_NAMES[name]}
        weights = {name: weight if name in kept else 0.0 for name, weight in weights.items()}
    if not any(weights.values()):
        raise UsageError("all weights are zero", expected="at least one dimension with a weight above 0")
    return weights


def rank(
    store: Store,
    weights: Mapping[str, float] | None = None,
    *,
    suite: str = QUBA.name,
    source: str = "auto",
    normalize: str = "auto",
    partial: bool = False,
    where: str | None = None,
    dimensions: Sequence[str] = (),
    top: int | None = None,
) -> Ranking:
    """Rank models by QUBA = sum(w * sign * (x - mean) / std) / sum(w) (Hesse et al., arXiv 2503.17110).

    Args:
        store: An open store.
        weights: Name -> factor that multiplies the default weight; 0 drops a dimension and the need for it.
        suite: Suite to rank in.
        source: `measured`, `published`, `all`, or `auto`: measured where a measured model can be ranked.
        normalize: `published` (constants of the study), `store` (trimmed mean and population std of what is ranked,
            within one source), or `auto`: published for the suite `quba`, else store.
        partial: Rank models on the dimensions that they have.
        where: SQL condition over the columns of the view `rankable`, to choose the models.
        dimensions: Names; where given, every other dimension weighs 0.
        top: Keep only the first rows.

    Returns:
        The ranking; QUBA is relative to its normalisation, so compare scores only within one ranking.

    Raises:
        UsageError: on unknown names, wrong weights, or where nothing can be ranked.
        QueryError: on a condition that DuckDB refuses.
    """
    final = final_weights(weights or {}, dimensions)
    _check_choices(store, suite, source, normalize)
    if where is not None:
        _check_condition(where)
    condition = f"({where}\n)" if where else "true"
    try:
        store.execute(f"create or replace temp table rankable_pool as from rankable where {condition}")
    except QueryError as error:
        if where is None:
            raise
        raise QueryError(
            f"--where {where!r}: {error.what.splitlines()[0]}", hint="qubastore show views rankable, for its columns"
        ) from None
    # The macro multiplies defaults too, so it gets what turns its default into the final weight.
    factors = {d.name: final[d.name] / d.default_weight for d in DIMENSIONS}
    entries = ", ".join(f"{quote(name)}: '{factor!r}'::double" for name, factor in factors.items())
    ranked = store.sql(
        f"from quba_ranking(map {{{entries}}}, suite_name := {quote(suite)}, source_name := {quote(source)},"
        f" normalize := {quote(normalize)}, partial := {str(partial).lower()}, pool := 'rankable_pool')"
    )
    columns = tuple(ranked.columns)
    try:
        rows = ranked.fetchall()
    except Exception as error:
        if "cannot normalise over one model" in str(error):
            raise UsageError(
                "store normalisation needs at least two models",
                found="one model",
                hint="--normalize published" if suite == QUBA.name else "rank at least two models of the suite",
            ) from None
        raise
    if not rows:
        raise _nothing_to_rank(store, suite, source, final, where, partial=partial)
    published = normalize == "published" or (normalize == "auto" and suite == QUBA.name)
    notes = _notes(store, rows, columns, final, suite, published=published, partial=partial)
    return Ranking(columns, rows[:top], notes, final)


def _check_choices(store: Store, suite: str, source: str, normalize: str) -> None:
    suites = [row[0] for row in store.rows("select distinct suite from suites order by suite")]
    check_name("suite", suite, suites)
    check_name("source", source, SOURCES)
    check_name("normalisation", normalize, NORMALIZATIONS)
    if normalize == "published" and suite != QUBA.name:
        raise UsageError(
            f"the published constants belong to the suite {QUBA.name}", found=f"suite {suite}", hint="--normalize store"
        )


def _check_condition(where: str) -> None:
    """Refuse what is no single condition: the text goes into a query."""
    import duckdb

    try:
        # An expression alone: nothing that closes the parenthesis or begins another statement gets through.
        duckdb.SQLExpression(where)
    except duckdb.Error as error:
        raise QueryError(
            f"--where {where!r} is no SQL condition",
            expected='a condition over the columns of rankable, as in "accuracy > 0.8 and parameters_m < 30"',
            found=str(error).strip().splitlines()[0],
            hint="qubastore show views rankable",
        ) from None


def _needed(weights: Mapping[str, float]) -> list[Dimension]:
    return [d for d in DIMENSIONS if weights[d.name] > 0]


def _nothing_to_rank(
    store: Store, suite: str, source: str, weights: Mapping[str, float], where: str | None, *, partial: bool
) -> UsageError:
    counts = ", ".join(f"count({d.column})" for d in _needed(weights))
    condition = {"measured": "source = 'measured'", "published": "source <> 'measured'"}.get(source, "true")
    pool = f"from rankable_pool where suite = {quote(suite)} and {condition}"
    ((total, *present),) = store.rows(f"select count(*), {counts} {pool}")
    lacking = [d.name for d, count in zip(_needed(weights), present, strict=True) if count == 0]
    if not total:
        ((whole,),) = store.rows(f"select count(*) from rankable where suite = {quote(suite)} and {condition}")
        if whole and where is not None:
            return UsageError(f"no models to rank: none of {whole} in suite {suite} meets --where {where!r}")
        return UsageError(
            f"suite {suite} has no models to rank",
            expected=f"a full run for at least one model: {_roles(store, suite)}",
            hint="qubastore show runs; or a suite of your own, with your datasets in its roles (README)",
        )
    return UsageError(
        f"none of the {total} models of suite {suite} has every dimension that has a weight",
        found=f"no model has {', '.join(lacking)}" if lacking else "each lacks at least one",
        hint=None if partial else "--partial, to rank on what they have; or --dimensions, to choose",
    )


def _notes(
    store: Store,
    rows: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    weights: Mapping[str, float],
    suite: str,
    *,
    published: bool,
    partial: bool,
) -> list[str]:
    notes = []
    sources = sorted({row[columns.index("source")] for row in rows})
    if published:
        notes.append("normalised with the constants of the study (Hesse et al., arXiv 2503.17110)")
    else:
        notes += [_store_note(rows, columns, weights, source) for source in sources]
    named = ", ".join(quote(source) for source in sources)
    pool = f"select count(*) from rankable_pool where suite = {quote(suite)} and source in ({named})"
    left_out = store.rows(pool)[0][0] - len(rows)
    if left_out:
        lack = " or ".join(f"{d.column} is null" for d in _needed(weights))
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
    if len(sources) > 1:
        notes.append("sources are mixed: published figures come from another protocol with known faults")
    if "measured" not in sources and (models := store.rows("select count(*) from models")[0][0]):
        notes.append(f"{models} measured models are not in it; they would need {_roles(store, suite)}, or --suite NAME")
    if any(source != "measured" for source in sources):
        notes.append("published figures carry known faults: see docs/published.md")
    return notes


def _roles(store: Store, suite: str) -> str:
    """What a suite asks for: `imagenet-val (clean, 50,000 images)`."""
    query = "select distinct dataset, condition, n_samples from suites where suite = ? order by all"
    return ", ".join(f"{dataset} ({condition}, {n:,} images)" for dataset, condition, n in store.rows(query, [suite]))


def _store_note(
    rows: Sequence[tuple[Any, ...]], columns: Sequence[str], weights: Mapping[str, float], source: str
) -> str:
    mine = [row for row in rows if row[columns.index("source")] == source]
    note = f"normalised over the {len(mine)} {source} models ranked (10 % trimmed at each end)"
    flat = []
    for dimension in _needed(weights):
        values = sorted(row[i] for row in mine if row[i := columns.index(dimension.name)] is not None)
        trim = len(values) // 10
        if values and values[trim] == values[-1 - trim]:
            flat.append(dimension.name)
    return note + (f"; no spread, so no contribution: {', '.join(flat)}" if flat else "")
