"""Weighted QUBA rankings, as `qubastore rank` and `Store.rank` ask for them; `quba_ranking` holds the formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError, check_name
from qubastore.lake.ducklake import quote
from qubastore.metrics.dimensions import DIMENSIONS, named_dimensions
from qubastore.metrics.suites import QUBA, has_study_constants
from qubastore.ranking.notes import (
    WITH_FAULTS,
    attached_notes,
    left_out_notes,
    needed_dimensions,
    ranking_faults,
    ranking_notes,
    roles_text,
)
from qubastore.ranking.pareto import front_note, pareto_front
from qubastore.ranking.pool import choose_pool, of_source
from qubastore.ranking.request import NORMALIZATIONS, final_weights

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Ranking:
    """A ranking, best first.

    Attributes:
        columns: `rank`, `model`, `source`, `quba`, `coverage`, and the nine dimensions.
        rows: One per ranked model and source.
        notes: What a reader must know: normalisation, models left out, known faults of published figures.
        weights: Dimension -> final weight.
        mixed: Whether several sources were ranked together, whatever rows are left.
        faults: (model, source) -> dimension -> why that published figure is known or likely to be wrong.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str]
    weights: dict[str, float]
    mixed: bool = False
    faults: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)


def rank(
    store: AttachedDatabase,
    weights: Mapping[str, float] | None = None,
    *,
    suite: str = QUBA.name,
    source: str = "auto",
    normalize: str = "auto",
    partial: bool = False,
    where: str | None = None,
    dimensions: Sequence[str] = (),
    without_known_faults: bool = False,
    pareto: Sequence[str] = (),
    top: int | None = None,
) -> Ranking:
    """Rank models by QUBA = sum(w * sign * (x - mean) / std) / sum(w) (Hesse et al., arXiv 2503.17110).

    Args:
        store: An open store.
        weights: Name -> factor that multiplies the default weight; 0 drops a dimension and the need for it.
        suite: Suite to rank in.
        source: `measured`, `published`, `attached`, the name of a source, several of these with commas, `all`, or
            `auto`: measured where a measured model can be ranked, else published, else attached.
        normalize: `published` (constants of the study), `store` (trimmed mean and population std of what is ranked,
            published sources apart), or `auto`: published for the suites of the study, else store.
        partial: Rank models on the dimensions that they have.
        where: SQL condition over the columns of the view `rankable`, to choose the models.
        dimensions: Names; where given, every other dimension weighs 0.
        without_known_faults: Leave out published figures that are known or likely to be wrong, as if they were not
            there (`where` still sees them); figures that another procedure gave stay.
        pareto: Dimensions; where given, keep only models that no other of the same source beats in all of them: none is
            at least as good in each and better in one. Ranks stay those of the whole ranking.
        top: Keep only the first rows.

    Returns:
        The ranking; QUBA is relative to its normalisation, so compare scores only within one ranking.

    Raises:
        UsageError: on unknown names, wrong weights, or where nothing can be ranked.
        QueryError: on a condition that DuckDB refuses.
    """
    final = final_weights(weights or {}, dimensions)
    front = named_dimensions(pareto)
    _check_choices(suite, normalize)
    choose_pool(store, where, suite, source, without_known_faults=without_known_faults)
    ranked = store.sql(macro_call("quba_ranking", final, suite, source, normalize, partial=partial))
    columns = tuple(ranked.columns)
    rows = _fetched(ranked, suite)
    if not rows:
        raise _nothing_to_rank(store, suite, source, final, where, partial=partial)
    published = normalize == "published" or (normalize == "auto" and has_study_constants(suite))
    notes = ranking_notes(store, rows, columns, final, suite, source, published=published, partial=partial)
    faults: dict[tuple[str, str], dict[str, str]] = {}
    if without_known_faults:
        call = macro_call("quba_ranking", final, suite, source, normalize, partial=partial, pool=WITH_FAULTS)
        before = store.rows(f"select rank, model, source {call}")
        notes += left_out_notes(store, rows, columns, before, suite, partial=partial)
    elif faults := ranking_faults(rows, columns):
        n = sum(map(len, faults.values()))
        notes.append(
            f"published figures carry known faults ({n} of those ranked, marked †): see docs/published.md, or leave"
            " them out: --without-known-faults"
        )
    mixed = len({row[columns.index("source")] for row in rows}) > 1
    if front:
        kept = pareto_front(rows, columns, front)
        notes.append(front_note(kept, rows, front))
        rows = kept
    return Ranking(columns, rows[:top], notes, final, mixed, faults)


def contributions(
    store: AttachedDatabase,
    ranking: Ranking,
    *,
    suite: str = QUBA.name,
    source: str = "auto",
    normalize: str = "auto",
    partial: bool = False,
    **_: Any,
) -> list[tuple[str, str, str, float, float, float, float]]:
    """What the ranking just made is made of, of every dimension with a weight.

    Options are those of the ranking; it must be the last that was made with this store.

    Returns:
        Model, source, dimension, value, mean, std (0 without spread), and the standardised value with up for better.
    """
    call = macro_call("quba_contributions", ranking.weights, suite, source, normalize, partial=partial)
    columns = "model, source, dimension, value, mean, coalesce(std, 0), direction * standard_score"
    return store.rows(f"select {columns} {call} where weight > 0")


def macro_call(
    macro: str,
    weights: Mapping[str, float],
    suite: str,
    source: str,
    normalize: str,
    *,
    partial: bool,
    pool: str = "rankable_pool",
) -> str:
    """The call of a macro of `sql/macros`, with final weights."""
    # The macro multiplies defaults too, so it gets what turns its default into the final weight.
    factors = {d.name: float(weights[d.name]) / d.default_weight for d in DIMENSIONS}
    entries = ", ".join(f"{quote(name)}: '{factor!r}'::double" for name, factor in factors.items())
    return (
        f"from {macro}(map {{{entries}}}, suite_name := {quote(suite)}, source_name := {quote(source)},"
        f" normalize := {quote(normalize)}, partial := {str(partial).lower()}, pool := {quote(pool)})"
    )


def _fetched(ranked: duckdb.DuckDBPyRelation, suite: str) -> list[tuple[Any, ...]]:
    try:
        return ranked.fetchall()
    except Exception as error:
        if "cannot normalise over one model" in str(error):
            raise UsageError(
                "store normalisation needs at least two models",
                found="one model",
                hint="--normalize published" if has_study_constants(suite) else "rank at least two models of the suite",
            ) from None
        raise


def _check_choices(suite: str, normalize: str) -> None:
    check_name("normalisation", normalize, NORMALIZATIONS)
    if normalize == "published" and not has_study_constants(suite):
        raise UsageError(
            f"the published constants belong to the suite {QUBA.name}", found=f"suite {suite}", hint="--normalize store"
        )


def _nothing_to_rank(
    store: AttachedDatabase, suite: str, source: str, weights: Mapping[str, float], where: str | None, *, partial: bool
) -> UsageError:
    counts = ", ".join(f"count({d.column})" for d in needed_dimensions(weights))
    condition = of_source(source)
    pool = f"from rankable_pool where suite = {quote(suite)} and {condition}"
    ((total, *present),) = store.rows(f"select count(*), {counts} {pool}")
    lacking = [d.name for d, count in zip(needed_dimensions(weights), present, strict=True) if count == 0]
    if not total:
        ((whole,),) = store.rows(f"select count(*) from rankable where suite = {quote(suite)} and {condition}")
        if whole and where is not None:
            return UsageError(f"no models to rank: none of {whole} in suite {suite} meets --where {where!r}")
        return UsageError(
            f"suite {suite} has no models to rank",
            expected=f"a full run for at least one model: {roles_text(store, suite)}",
            found="; ".join(attached_notes(store, source, [])) or None,
            hint="qubastore show runs; or a suite of your own, with your datasets in its roles (README)",
        )
    return UsageError(
        f"none of the {total} models of suite {suite} has every dimension that has a weight",
        found=f"no model has {', '.join(lacking)}" if lacking else "each lacks at least one",
        hint=None if partial else "--partial, to rank on what they have; or --dimensions, to choose",
    )
