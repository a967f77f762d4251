"""The study's comparisons of groups of models.

They read the view `rankable`, so measured and published models, and conditions on them, work as in a ranking.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qubastore.analysis.correlations import faults, pool_models
from qubastore.analysis.table import Table
from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError, check_name
from qubastore.lake.ducklake import is_one_of, quote
from qubastore.metrics.dimensions import DIMENSIONS, Dimension
from qubastore.metrics.study_pairs import COMPARISONS, read_pairs
from qubastore.metrics.suites import QUBA
from qubastore.models.zoo import TUNINGS, read_zoo
from qubastore.ranking.pool import check_condition, of_source
from qubastore.ranking.request import PoolRequest
from qubastore.statistics.tests import holm, signed_rank

TUNING = "tuning"
"""A column of the zoo that models can be grouped by, in addition to the columns of `rankable`."""


MIN_PAIRS = 5
"""The fewest pairs that a paired test is computed over."""


def comparison(
    store: AttachedDatabase,
    group_a: str,
    group_b: str,
    *,
    by: str | None = None,
    suite: str = QUBA.name,
    source: str = "auto",
) -> Table:
    """Compare two groups of models, dimension by dimension.

    Models are paired if the list of pairs (`qubastore.metrics.study_pairs`) has one in each group. With at least five
    pairs that cover half of the smaller group, the test is Wilcoxon's signed-rank test over the pairs, else
    Mann-Whitney's U test. p-values are two-sided and Holm-corrected over the dimensions.

    Args:
        store: An open store.
        group_a: SQL condition on the view `rankable`, or with `by` a value of that column.
        group_b: The same for the other group.
        by: A column of `rankable`, or `tuning`.
        suite: The suite.
        source: As in `correlations`.

    Returns:
        Per dimension: n_a, n_b, median_a, median_b, difference (a - b), effect_size (rank-biserial correlation, -1 to
        1, above 0 if a has the larger values), test, n_pairs, paired_median_a, paired_median_b (over the models of the
        pairs), paired_difference (median over the pairs of a - b), p_value, p_holm. The paired columns are null if
        nothing is paired.

    Raises:
        UsageError: on an unknown column, an empty group, or groups that share models.
        QueryError: on a condition that DuckDB rejects.
    """
    conditions = [_condition(store, group, by) for group in (group_a, group_b)]
    if source == "auto":
        whole = " or ".join(f"({condition}\n)" for condition in conditions)
        _, source = pool_models(store, PoolRequest(suite, source, whole))
    groups = []
    used = ""
    for text, condition in zip((group_a, group_b), conditions, strict=True):
        models, used = pool_models(store, PoolRequest(suite, source, condition))
        if not models:
            raise UsageError(f"no {used} model of suite {suite} is in the group {text!r}", hint=_values(store, by))
        groups.append(models)
    names = [{model["model"] for model in models} for models in groups]
    if both := names[0] & names[1]:
        raise UsageError(
            f"{len(both)} models are in both groups, such as {sorted(both)[0]}", expected="groups without common models"
        )
    pairs = _pairs(groups[0], groups[1], [(p.model_a, p.model_b) for p in read_pairs()])
    taken = min(len({id(pair[side]) for pair in pairs}) for side in (0, 1)) if pairs else 0
    paired = len(pairs) >= MIN_PAIRS and 2 * taken >= min(map(len, groups))
    heading = f"a: {len(groups[0])} {used} models, {group_a}; b: {len(groups[1])}, {group_b}"
    return _comparison(groups[0], groups[1], pairs if paired else [], heading, used)


def study_comparison(store: AttachedDatabase, name: str, *, suite: str = QUBA.name, source: str = "auto") -> Table:
    """Compute one of the study's comparisons, over the pairs that `qubastore.metrics.study_pairs` lists.

    Args:
        store: An open store.
        name: One of `COMPARISONS`.
        suite: The suite.
        source: As in `correlations`; measured models are those of the zoo.

    Returns:
        As `comparison`; the groups are the models of the pairs.

    Raises:
        UsageError: on an unknown comparison, or if there is no pair with both models.
    """
    check_name("comparison", name, tuple(COMPARISONS))
    listed = [(pair.model_a, pair.model_b) for pair in read_pairs() if pair.comparison == name]
    models, used = pool_models(store, PoolRequest(suite, source))
    pairs = _pairs(models, models, listed, turned=False)
    if not pairs:
        raise UsageError(
            f"no complete pair of {name} among the {used} models of suite {suite}",
            expected=f"two models such as zoo:{listed[0][0]} and zoo:{listed[0][1]}",
            hint="--source published",
        )
    groups = [list({id(pair[side]): pair[side] for pair in pairs}.values()) for side in (0, 1)]
    what = COMPARISONS[name]
    heading = f"a: {len(groups[0])} {used} models, {what[0]}; b: {len(groups[1])}, {what[1]}"
    table = _comparison(groups[0], groups[1], pairs, heading, used)
    if len(listed) > len(pairs):
        table.notes.insert(1, f"{len(pairs)} of the {len(listed)} pairs of {name} have both models")
    return table


def _comparison(
    a: Sequence[dict[str, Any]],
    b: Sequence[dict[str, Any]],
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    heading: str,
    used: str,
) -> Table:
    """Compare two groups of models, paired if there are pairs."""
    rows = [_compare(dimension, a, b, pairs) for dimension in DIMENSIONS]
    corrected = holm([row[-1] for row in rows])
    test = f"Wilcoxon signed-rank over {len(pairs)} pairs" if pairs else "Mann-Whitney U"
    notes = [
        heading,
        f"{test}, two-sided, Holm-corrected; effect size: rank-biserial correlation, above 0 where a is larger",
    ]
    if pairs:
        notes.append('the models of a pair share a backbone: qubastore sql "from study_pairs"')
    if pairs and len(pairs) < MIN_PAIRS:
        notes.append(f"fewer than {MIN_PAIRS} pairs: no test")
    counts = Counter((side, id(pair[side])) for pair in pairs for side in (0, 1))
    if (often := max(counts.values(), default=1)) > 1:
        notes.append(f"a model is in up to {often} pairs, so these are not independent: p is too small")
    columns = (
        "dimension",
        "better",
        "n_a",
        "n_b",
        "median_a",
        "median_b",
        "difference",
        "effect_size",
        "test",
        "n_pairs",
        "paired_median_a",
        "paired_median_b",
        "paired_difference",
        "p_value",
        "p_holm",
    )
    return Table(columns, [(*row, p) for row, p in zip(rows, corrected, strict=True)], notes + faults(used))


def _compare(
    dimension: Dimension,
    a: Sequence[dict[str, Any]],
    b: Sequence[dict[str, Any]],
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[Any, ...]:
    import numpy as np
    from scipy import stats

    column = dimension.column
    left, right = (np.array([m[column] for m in group if m[column] is not None], float) for group in (a, b))
    if not len(left) or not len(right):
        return (dimension.name, dimension.better, len(left), len(right), *[None] * 4, None, 0, *[None] * 4)
    medians = float(np.median(left)), float(np.median(right))
    both = [(x[column], y[column]) for x, y in pairs if x[column] is not None and y[column] is not None]
    of_pairs: tuple[float | None, ...] = (None, None, None)
    effect: float | None
    p: float | None
    if pairs:
        differences = np.array([x - y for x, y in both])
        effect, p = signed_rank(differences) if len(both) >= MIN_PAIRS else (None, None)
        test = "wilcoxon" if len(both) >= MIN_PAIRS else None
        if both:
            of_pairs = (*(statistics.median(side) for side in zip(*both, strict=True)), float(np.median(differences)))
    else:
        result = stats.mannwhitneyu(left, right, alternative="two-sided")
        effect, p = float(2 * result.statistic / (len(left) * len(right)) - 1), float(result.pvalue)
        test = "mann-whitney"
    figures = (*medians, medians[0] - medians[1], effect, test, len(both), *of_pairs, p)
    return (dimension.name, dimension.better, len(left), len(right), *figures)


def _pairs(
    a: Sequence[dict[str, Any]],
    b: Sequence[dict[str, Any]],
    listed: Iterable[tuple[str, str]],
    *,
    turned: bool = True,
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The listed pairs with one model in each group, each once; with `turned`, in either order."""
    left, right = _by_study_name(a), _by_study_name(b)
    names = dict.fromkeys(pair for one, other in listed for pair in ((one, other), (other, one))[: 1 + turned])
    sources = dict.fromkeys(source for source, _ in left)
    return [
        (left[source, one], right[source, other])
        for one, other in names
        for source in sources
        if (source, one) in left and (source, other) in right
    ]


def _by_study_name(models: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Models by source and name in the study's table; of duplicates, the one with the study's preprocessing."""
    stored: Mapping[str, str] = {
        name: entry.name for entry in read_zoo() for name in (entry.stored_as, entry.stored_as_reference) if name
    }
    as_there = {entry.stored_as_reference for entry in read_zoo()}
    ordered = sorted(models, key=lambda model: model["model"] in as_there)
    return {(model["source"], stored.get(model["model"], model["model"])): model for model in ordered}


def _condition(store: AttachedDatabase, group: str, by: str | None) -> str:
    if by is None:
        check_condition(store, group)
        return group
    columns = store.sql("from rankable limit 0").columns
    check_name("column of rankable", by, (*columns, TUNING))
    if by == TUNING:
        check_name(TUNING, group, TUNINGS)
        names = {e.name: (e.name, e.stored_as, e.stored_as_reference) for e in read_zoo() if e.tuning == group}
        listed = sorted({name for each in names.values() for name in each if name})
        return is_one_of("model", listed)
    return f"{by}::varchar = {quote(group)}"


def _values(store: AttachedDatabase, by: str | None) -> str | None:
    if by is None:
        return "qubastore show views rankable, for its columns"
    if by == TUNING:
        return f"{TUNING} is one of {', '.join(TUNINGS)}"
    found = [str(row[0]) for row in store.rows(f"select distinct {by} from rankable where {by} is not null order by 1")]
    return f"{by} is one of {', '.join(found[:12])}"


def values_of(store: AttachedDatabase, by: str, suite: str, source: str) -> list[str]:
    """The values of a column of `rankable`, or of `tuning`, that at least two models of a suite have.

    Raises:
        UsageError: on an unknown column.
    """
    if by == TUNING:
        return list(TUNINGS)
    check_name("column of rankable", by, (*store.sql("from rankable limit 0").columns, TUNING))
    kind = of_source(source)
    query = f"select {by}::varchar from rankable where suite = ? and {kind} and {by} is not null group by 1"
    return [row[0] for row in store.rows(f"{query} having count(*) >= 2 order by count(*) desc, 1", [suite])]
