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
from qubastore.ranking.pool import Pool, of_source
from qubastore.ranking.request import ORIGINS, PoolRequest
from qubastore.statistics.tests import spearman

MIN_MODELS = 3
"""The fewest models that a correlation is computed over."""

_DEFAULTS = PoolRequest()


def correlations(store: AttachedDatabase, request: PoolRequest = _DEFAULTS, *, dimensions: Sequence[str] = ()) -> Table:
    """Spearman's rank correlation of every pair of dimensions, over the models that have both.

    Args:
        store: An open store.
        request: The models; `auto` takes the first of measured, published and attached with at least three.
        dimensions: Names or aliases; none means all nine.

    Returns:
        Rows (dimension_a, dimension_b, spearman, p_value, n), every unordered pair once; p-values are two-sided, from
        SciPy's t approximation; both are null where a dimension is constant or fewer than three models have both.

    Raises:
        UsageError: on unknown names, or if fewer than three models are left.
    """
    import numpy as np

    chosen = named_dimensions(dimensions) or list(DIMENSIONS)
    if len(chosen) < 2:
        raise UsageError("a correlation needs two dimensions", hint="--dimensions accuracy,calibration_error")
    models, used = pool_models(store, request)
    if len(models) < MIN_MODELS:
        raise UsageError(f"{len(models)} models are too few for a correlation", expected=f"at least {MIN_MODELS}")
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
        notes.append(f"sources are mixed ({', '.join(sources)}): a model in several of them counts several times")
    return Table(("dimension_a", "dimension_b", "spearman", "p_value", "n"), rows, notes + faults(used))


def pool_models(store: AttachedDatabase, request: PoolRequest) -> tuple[list[dict[str, Any]], str]:
    """The models of a pool, each as a mapping from column to value, and the source of their figures.

    Args:
        store: An open store.
        request: The models; `auto` takes the first of measured, published and attached with at least three.
    """
    of_suite = f"from pool where suite = {quote(request.suite)}"
    with Pool(store, request) as pool:
        source = request.source
        if source == "auto":
            counts = dict(pool.rows(f"select origin, count(*) {of_suite} group by origin"))
            source = next((origin for origin in ORIGINS if counts.get(origin, 0) >= MIN_MODELS), "published")
        return pool.records(f"{of_suite} and {of_source(source)} order by model, source"), source


def faults(used: str) -> list[str]:
    """The note about published figures, if they are used."""
    return ["published figures have known faults: see docs/published.md"] if used == "published" else []
