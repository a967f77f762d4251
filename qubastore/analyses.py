"""The study's analyses over a pool of models: rank correlations of dimensions, comparisons of groups.

They read the view `rankable`, so measured and published models, and conditions over them, work as in a ranking.
"""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qubastore.dimensions import DIMENSIONS, Dimension, named_dimensions
from qubastore.engine import quote
from qubastore.errors import UsageError, check_name
from qubastore.ranking import check_condition, choose_pool, of_source
from qubastore.store import Store
from qubastore.suites import QUBA

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_MODELS = 3
"""Models that a correlation is over, at least."""
MIN_PAIRS = 5
"""Pairs that a paired test is over, at least."""


@dataclass(frozen=True)
class Table:
    """Rows with names, and what a reader must know."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str]


def correlations(
    store: Store,
    *,
    dimensions: Sequence[str] = (),
    where: str | None = None,
    suite: str = QUBA.name,
    source: str = "auto",
    without_known_faults: bool = False,
) -> Table:
    """Spearman's rank correlation of every two dimensions, over the models that have both.

    Args:
        store: An open store.
        dimensions: Names or aliases; none means all nine.
        where: SQL condition over the view `rankable`.
        suite: The suite.
        source: `measured`, `published`, or `auto`: measured where there are at least three such models.
        without_known_faults: As in `ranking.rank`.

    Returns:
        Rows (dimension_a, dimension_b, spearman, p_value, n), every unordered pair once; p-values are two-sided, from
        SciPy's t approximation; both are null where a dimension is constant or fewer than three models have both.

    Raises:
        UsageError: on unknown names, or where fewer than three models are left.
    """
    import numpy as np

    chosen = named_dimensions(dimensions) or list(DIMENSIONS)
    if len(chosen) < 2:
        raise UsageError("a correlation needs two dimensions", hint="--dimensions accuracy,calibration_error")
    models, used = _models(store, where, suite, source, without_known_faults=without_known_faults)
    if len(models) < MIN_MODELS:
        raise UsageError(f"{len(models)} models are no basis for a correlation", expected=f"at least {MIN_MODELS}")
    rows: list[tuple[Any, ...]] = []
    for one, other in itertools.combinations(chosen, 2):
        pairs = [
            (m[one.column], m[other.column])
            for m in models
            if m[one.column] is not None and m[other.column] is not None
        ]
        rho = p = None
        if len(pairs) >= MIN_MODELS and all(len(set(values)) > 1 for values in zip(*pairs, strict=True)):
            rho, p = _spearman(*np.array(pairs).T)
        rows.append((one.name, other.name, rho, p, len(pairs)))
    notes = [f"{len(models)} {used} models; Spearman's rho, two-sided p"]
    sources = sorted({model["source"] for model in models})
    if len(sources) > 1:
        notes.append(f"sources are mixed ({', '.join(sources)}): a model that several have counts several times")
    return Table(("dimension_a", "dimension_b", "spearman", "p_value", "n"), rows, notes + _faults(used))


def comparison(
    store: Store,
    group_a: str,
    group_b: str,
    *,
    by: str | None = None,
    suite: str = QUBA.name,
    source: str = "auto",
) -> Table:
    """Two groups of models, dimension by dimension.

    Models pair up where both groups have the same label (the same architecture under two paradigms); a label that a
    group has several times counts with its median. With at least five pairs that make up half of the smaller group, the
    test is Wilcoxon's signed-rank test over the pairs, else Mann-Whitney's U test. p-values are two-sided and
    Holm-corrected over the dimensions.

    Args:
        store: An open store.
        group_a: SQL condition over the view `rankable`, or with `by` a value of that column.
        group_b: The same for the other group.
        by: A column of `rankable`.
        suite: The suite.
        source: As in `correlations`.

    Returns:
        Per dimension: n_a, n_b, median_a, median_b, difference (a - b), effect_size (rank-biserial correlation, -1 to
        1, above 0 where a has the larger values), test, n_pairs, p_value, p_holm.

    Raises:
        UsageError: on an unknown column, an empty group, or groups that share models.
        QueryError: on a condition that DuckDB refuses.
    """
    conditions = [_condition(store, group, by) for group in (group_a, group_b)]
    if source == "auto":
        whole = " or ".join(f"({condition}\n)" for condition in conditions)
        _, source = _models(store, whole, suite, source)
    groups = []
    used = ""
    for text, condition in zip((group_a, group_b), conditions, strict=True):
        models, used = _models(store, condition, suite, source)
        if not models:
            raise UsageError(f"no {used} model of suite {suite} is in the group {text!r}", hint=_values(store, by))
        groups.append(models)
    names = [{model["model"] for model in models} for models in groups]
    if both := names[0] & names[1]:
        raise UsageError(
            f"{len(both)} models are in both groups, {sorted(both)[0]} for one", expected="groups without common models"
        )
    pairs = _pairs(*groups)
    paired = len(pairs) >= MIN_PAIRS and 2 * len(pairs) >= min(map(len, groups))
    rows = [_compare(dimension, groups[0], groups[1], pairs if paired else []) for dimension in DIMENSIONS]
    corrected = holm([row[-1] for row in rows])
    notes = [
        f"a: {len(groups[0])} {used} models, {group_a}; b: {len(groups[1])}, {group_b}",
        f"{'Wilcoxon signed-rank over pairs of one label' if paired else 'Mann-Whitney U'}, two-sided, Holm-corrected;"
        " effect size: rank-biserial correlation, above 0 where a is larger",
    ]
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
        "p_value",
        "p_holm",
    )
    return Table(columns, [(*row, p) for row, p in zip(rows, corrected, strict=True)], notes + _faults(used))


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Spearman's rho and its two-sided p from the t approximation, as scipy.stats.spearmanr has them.

    Importing scipy.stats alone takes a third of a second, which a command that only asks should not.
    """
    import numpy as np
    from scipy.special import stdtr

    ranks: list[NDArray[np.float64]] = []
    for values in (x, y):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        # Equal values share the mean of their ranks.
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    rho = float(np.clip(np.corrcoef(ranks[0], ranks[1])[0, 1], -1, 1))
    freedom = len(x) - 2
    if abs(rho) == 1:
        return rho, 0.0
    return rho, float(2 * stdtr(freedom, -abs(rho) * np.sqrt(freedom / ((1 + rho) * (1 - rho)))))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; tests without a p-value count for nothing.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[index] = highest
    return corrected


def _compare(
    dimension: Dimension, a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], pairs: Sequence[tuple[Any, Any]]
) -> tuple[Any, ...]:
    import numpy as np
    from scipy import stats

    column = dimension.column
    left, right = (np.array([m[column] for m in group if m[column] is not None], float) for group in (a, b))
    if not len(left) or not len(right):
        return (dimension.name, dimension.better, len(left), len(right), *[None] * 4, None, 0, None)
    medians = float(np.median(left)), float(np.median(right))
    medians_of_pairs = [(_median(one, column), _median(other, column)) for one, other in pairs]
    both = [x - y for x, y in medians_of_pairs if x is not None and y is not None]
    if both:
        effect, p = _signed_rank(np.array(both))
        test = "wilcoxon"
    else:
        result = stats.mannwhitneyu(left, right, alternative="two-sided")
        effect, p = float(2 * result.statistic / (len(left) * len(right)) - 1), float(result.pvalue)
        test = "mann-whitney"
    figures = (*medians, medians[0] - medians[1], effect, test, len(both), p)
    return (dimension.name, dimension.better, len(left), len(right), *figures)


def _signed_rank(differences: Any) -> tuple[float, float]:
    """Matched-pairs rank-biserial correlation and Wilcoxon's p; pairs without a difference are left out."""
    import numpy as np
    from scipy import stats

    kept = differences[differences != 0]
    if not len(kept):
        return 0.0, 1.0
    ranks = stats.rankdata(np.abs(kept))
    effect = float((ranks[kept > 0].sum() - ranks[kept < 0].sum()) / ranks.sum())
    with warnings.catch_warnings():
        # Ties make SciPy fall back from the exact distribution to the normal approximation, and say so.
        warnings.simplefilter("ignore")
        return effect, float(stats.wilcoxon(kept).pvalue)


def _pairs(a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Models of either group by common label."""
    by_label: list[dict[str, list[dict[str, Any]]]] = [defaultdict(list), defaultdict(list)]
    for labels, group in zip(by_label, (a, b), strict=True):
        for model in group:
            if model["label"]:
                labels[model["label"]].append(model)
    return [(by_label[0][label], by_label[1][label]) for label in sorted(by_label[0]) if label in by_label[1]]


def _median(models: Sequence[dict[str, Any]], column: str) -> float | None:
    import statistics

    values = [model[column] for model in models if model[column] is not None]
    return statistics.median(values) if values else None


def _models(
    store: Store, where: str | None, suite: str, source: str, *, without_known_faults: bool = False
) -> tuple[list[dict[str, Any]], str]:
    """The models of a pool as rows by column, and whose figures they are."""
    choose_pool(store, where, suite, source, without_known_faults=without_known_faults)
    if source == "auto":
        query = f"select count(*) from rankable_pool where suite = {quote(suite)} and source = 'measured'"
        source = "measured" if store.rows(query)[0][0] >= MIN_MODELS else "published"
    answer = store.sql(
        f"from rankable_pool where suite = {quote(suite)} and {of_source(source)} order by model, source"
    )
    columns = answer.columns
    return [dict(zip(columns, row, strict=True)) for row in answer.fetchall()], source


def _condition(store: Store, group: str, by: str | None) -> str:
    if by is None:
        check_condition(store, group)
        return group
    columns = store.sql("from rankable limit 0").columns
    check_name("column of rankable", by, columns)
    return f"{by}::varchar = {quote(group)}"


def _values(store: Store, by: str | None) -> str | None:
    if by is None:
        return "qubastore show views rankable, for its columns"
    found = [str(row[0]) for row in store.rows(f"select distinct {by} from rankable where {by} is not null order by 1")]
    return f"{by} is one of {', '.join(found[:12])}"


def _faults(used: str) -> list[str]:
    return ["published figures carry known faults: see docs/published.md"] if used == "published" else []
