"""Weighted QUBA rankings, as `qubastore rank` and `Store.rank` ask for them; `quba_ranking` holds the formula."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.attachments.gather import GATHERED, gather
from qubastore.errors import QueryError, UsageError, check_name, did_you_mean
from qubastore.lake import sandbox
from qubastore.lake.ducklake import quote
from qubastore.lake.snapshot import Snapshot
from qubastore.metrics.dimensions import DIMENSION_NAMES, DIMENSIONS, Dimension, named_dimensions
from qubastore.metrics.known_differences import known_faults
from qubastore.metrics.suites import QUBA, has_study_constants
from qubastore.ranking_notes import (
    WITH_FAULTS,
    attached_notes,
    left_out_notes,
    needed_dimensions,
    ranking_faults,
    ranking_notes,
    roles_text,
)

if TYPE_CHECKING:
    import duckdb

ORIGINS = ("measured", "published", "attached")
"""Kinds of sources; `auto` takes the first that has models to rank."""
NORMALIZATIONS = ("auto", "published", "store")


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


def final_weights(factors: Mapping[str, float], only: Sequence[str] = ()) -> dict[str, float]:
    """Default weights times the factors of every name (dimension, alias or group) that means the dimension.

    Args:
        factors: Name -> factor, 0 or more. Factors of overlapping names multiply.
        only: Names; where given, every other dimension weighs 0.

    Raises:
        UsageError: on an unknown name, a factor that is negative or no number, or no positive weight at all.
    """
    named_dimensions([*factors, *only])
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
        kept = {dimension.name for dimension in named_dimensions(only)}
        weights = {name: weight if name in kept else 0.0 for name, weight in weights.items()}
    if not math.isfinite(sum(weights.values())):
        raise UsageError("the weights add up to infinity", expected="smaller factors: only their proportions count")
    if not any(weights.values()):
        raise UsageError("all weights are zero", expected="at least one dimension with a weight above 0")
    return weights


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
    ranked = store.sql(_call("quba_ranking", final, suite, source, normalize, partial=partial))
    columns = tuple(ranked.columns)
    rows = _fetched(ranked, suite)
    if not rows:
        raise _nothing_to_rank(store, suite, source, final, where, partial=partial)
    published = normalize == "published" or (normalize == "auto" and has_study_constants(suite))
    notes = ranking_notes(store, rows, columns, final, suite, source, published=published, partial=partial)
    faults: dict[tuple[str, str], dict[str, str]] = {}
    if without_known_faults:
        call = _call("quba_ranking", final, suite, source, normalize, partial=partial, pool=WITH_FAULTS)
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
    call = _call("quba_contributions", ranking.weights, suite, source, normalize, partial=partial)
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
    call = _call("quba_contributions", ranking.weights, suite, source, normalize, partial=partial)
    columns = "model, source, dimension, value, mean, coalesce(std, 0), direction * standard_score"
    return store.rows(f"select {columns} {call} where weight > 0")


def choose_pool(
    store: AttachedDatabase, where: str | None, suite: str, source: str = "auto", *, without_known_faults: bool = False
) -> None:
    """Make the temporary table `rankable_pool` of the rows of `rankable` that meet a condition.

    Args:
        store: An open store.
        where: SQL condition over `rankable`; it sees figures as they were published.
        suite: A suite that there is.
        source: As in `rank`.
        without_known_faults: Whether figures with a known fault are null; the table `WITH_FAULTS` then has them.

    Raises:
        UsageError: on an unknown suite or source.
        QueryError: on a condition that DuckDB refuses.
        StoreError: where an attachment cannot be read.
    """
    names = source.split(",")
    if len(names) > 1 and {"auto", "all"} & {*names}:
        raise UsageError(f"--source {source}: auto and all stand alone", hint="--source all, or sources by name")
    gather(store, source)
    with Snapshot(store, ["rankable", "suites"], replaced=GATHERED) as copy:
        suites = copy.rows("select suite from suites union select suite from rankable order by suite")
        check_name("suite", suite, [row[0] for row in suites])
        found = copy.rows("select distinct source from rankable where origin = 'published'")
        sources = [row[0] for row in found] + [each.name for each in store.attachments]
        copy.keep("rankable_rows", "from rankable")
    for name in names:
        check_name("source", name, ("auto", "all", *ORIGINS, *sorted(sources)))
    if where is not None:
        check_condition(store, where)
    condition = f"({where}\n)" if where else "true"
    try:
        # A condition may ask other views too, so it is asked of the store.
        query = f"from memory.main.rankable_rows as rankable where {condition}"
        store.execute(
            f"create or replace temp table {WITH_FAULTS if without_known_faults else 'rankable_pool'} as {query}"
        )
    except QueryError as error:
        if where is None:
            raise
        raise QueryError(
            f"--where {where!r}: {error.what.splitlines()[0]}", hint="qubastore show views rankable, for its columns"
        ) from None
    if without_known_faults:
        faultless = f"from without_known_faults(pool := '{WITH_FAULTS}')"
        store.execute(f"create or replace temp table rankable_pool as {faultless}")


def _call(
    macro: str,
    weights: Mapping[str, float],
    suite: str,
    source: str,
    normalize: str,
    *,
    partial: bool,
    pool: str = "rankable_pool",
) -> str:
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


def pareto_front(
    rows: Sequence[tuple[Any, ...]], columns: Sequence[str], front: Sequence[Dimension]
) -> list[tuple[Any, ...]]:
    """The rows that no other of the same source beats; models without a value in one of the dimensions are on none."""
    source = columns.index("source")
    signs = [(columns.index(d.name), 1 if d.better == "up" else -1) for d in front]
    points = [
        (row, [sign * row[index] for index, sign in signs])
        for row in rows
        if all(row[index] is not None for index, _ in signs)
    ]
    return [
        row
        for row, mine in points
        if not any(
            other[source] == row[source] and theirs != mine and all(x >= y for x, y in zip(theirs, mine, strict=True))
            for other, theirs in points
        )
    ]


def front_note(kept: Sequence[Any], rows: Sequence[Any], front: Sequence[Dimension]) -> str:
    """How many of the rows of a ranking are on a Pareto front."""
    named = ", ".join(dimension.name for dimension in front)
    return f"{len(kept)} of {len(rows)} models are on the Pareto front of {named}"


def of_source(source: str) -> str:
    """The condition over `rankable` that a choice of sources stands for; `auto` stands for all."""
    if source in ("auto", "all"):
        return "true"
    named = ", ".join(map(quote, source.split(",")))
    return f"(origin in ({named}) or source in ({named}))"


def _check_choices(suite: str, normalize: str) -> None:
    check_name("normalisation", normalize, NORMALIZATIONS)
    if normalize == "published" and not has_study_constants(suite):
        raise UsageError(
            f"the published constants belong to the suite {QUBA.name}", found=f"suite {suite}", hint="--normalize store"
        )


def check_condition(store: AttachedDatabase, where: str) -> None:
    """Refuse what is no single condition, and what reads more than the store: the text goes into a query.

    Raises:
        QueryError: naming what DuckDB found.
    """
    words = {
        "named": f"--where {where!r}",
        "kind": "SQL condition",
        "expected": 'a condition over the columns of rankable, as in "accuracy > 0.8 and parameters_m < 30"',
        "hint": "qubastore show views rankable",
    }
    store.ask(lambda connection: sandbox.check_condition(connection, where, **words))


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
