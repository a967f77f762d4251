"""Published tables that the package carries, as data with their source.

`hesse2025.csv`: the 326 models of "Beyond Accuracy: What Matters in Designing Well-Behaved Image Classification
Models?" (Hesse et al., TMLR 2026, arXiv 2503.17110), from the project page of the study.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import TYPE_CHECKING

from qubastore.dimensions import DIMENSIONS

if TYPE_CHECKING:
    import duckdb

SOURCE = "hesse2025"
_MODEL_COLUMNS = ("model", "label", "architecture", "pretraining", "paradigm", "paper", "loader", "loader_id")


def load_published(connection: duckdb.DuckDBPyConnection) -> None:
    """Put the published rows into a new store."""
    from qubastore.registry import insert

    with files("qubastore.published").joinpath(f"{SOURCE}.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    insert(connection, "published_models", [(SOURCE, *(row[column] for column in _MODEL_COLUMNS)) for row in table])
    results = [
        (
            SOURCE,
            row["model"],
            dimension.name,
            float(row[dimension.column]),
        )
        for row in table
        for dimension in DIMENSIONS
    ]
    insert(connection, "published_results", results)
