"""Rank correlations between quality dimensions over models (Hesse et al., arXiv 2503.17110)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from qubastore.analysis.table import Table
from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError
from qubastore.lake.ducklake import quote
from qubastore.metrics.dimensions import DIMENSIONS, named_dimensions
from qubastore.metrics.suites import QUBA
from qubastore.ranking.pool import choose_pool, of_source
from qubastore.statistics.tests import spearman

MIN_MODELS = 3
"""Models that a correlation is over, at least."""


def correlations(
    store: AttachedDatabase,
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
    models, used = pool_models(store, where, suite, source, without_known_faults=without_known_faults)
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
            rho, p = spearman(*np.array(pairs).T)
        rows.append((one.name, other.name, rho, p, len(pairs)))
    notes = [f"{len(models)} {used} models; Spearman's rho, two-sided p"]
    sources = sorted({model["source"] for model in models})
    if len(sources) > 1:
        notes.append(f"sources are mixed ({', '.join(sources)}): a model that several have counts several times")
    return Table(("dimension_a", "dimension_b", "spearman", "p_value", "n"), rows, notes + faults(used))


def pool_models(
    store: AttachedDatabase, where: str | None, suite: str, source: str, *, without_known_faults: bool = False
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


def faults(used: str) -> list[str]:
    """The note about published figures, where they are used."""
    return ["published figures carry known faults: see docs/published.md"] if used == "published" else []
