"""Columns of attached tables: mapping the columns of tables of any origin to dimensions, so that they can be ranked.

Columns with the names of the view `rankable` have the same meaning. timm's `results-imagenet.csv` is recognised by its
columns. For other tables the user defines the mapping: column = SQL expression over the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qubastore.attachments.attached import table_stem
from qubastore.errors import UsageError, check_name
from qubastore.lake import sandbox
from qubastore.lake.ducklake import literal_path, quote, quote_name
from qubastore.metrics.dimensions import DIMENSIONS

if TYPE_CHECKING:
    from qubastore.lake.database import Database


KINDS = ("architecture", "pretraining", "paradigm")


DESCRIBING = ("suite", "model", *KINDS)


FIGURES = (*(d.column for d in DIMENSIONS), "macs_g", "activations_m")
"""The columns of figures that a table can have; those of `DESCRIBING` describe the model."""


COLUMNS = {**dict.fromkeys(("suite", "source", "model", *KINDS), "varchar"), **dict.fromkeys(FIGURES, "double")}
"""Columns of `attached_dimensions`, and their types."""


TIMM_TABLE = "results_imagenet"


TIMM_COLUMNS = {
    "model": "'timm:' || model",
    "accuracy": "top1 / 100",
    "parameters_m": "replace(param_count::varchar, ',', '')::double",
}
"""timm's results-imagenet.csv: top-1 in per cent, parameters in millions with a comma for thousands."""


_TIMM_SIZES = (
    "'timm:' || model"
    " || if(row_number() over (partition by model order by top1 desc, img_size) = 1, '', ' ' || img_size::varchar)"
)
"""The model column since August 2024, when the table got a row per image size, sorted by top-1: the first row of a
model has its name, the others `NAME SIZE`."""


_TIMM_HEADER = {"model", "top1", "top1_err", "top5", "param_count"}


def reader(path: str) -> str:
    """The call of the table function that reads a file."""
    if path.lower().endswith(".parquet"):
        return f"read_parquet({quote(literal_path(path))})"
    return f"read_csv({quote(literal_path(path))}, header = true, skip = 0)"


def table_name(path: str) -> str:
    """The table name of a file: its stem in lower case, with _ for other characters than letters, digits and _.

    >>> table_name("/data/results-imagenet.csv")
    'results_imagenet'
    """
    return re.sub(r"\W+", "_", table_stem(path.rpartition("/")[2]).lower(), flags=re.ASCII)


def choose_columns(
    store: Database, tables: Mapping[str, Sequence[str]], table: str | None, given: Mapping[str, str]
) -> tuple[str | None, dict[str, str]]:
    """Choose the table to rank, and the meaning of its columns.

    Args:
        store: An open store, for checking expressions.
        tables: Table -> its columns.
        table: The user's choice; None finds one.
        given: Column of `rankable` -> SQL expression; these take precedence over columns recognised by their names.

    Returns:
        The table and a mapping column -> expression; None and an empty mapping if no table can be ranked.

    Raises:
        UsageError: On unknown tables and columns, if several tables could be ranked, or if one has no column of models.
        QueryError: On an expression that reads more than the table.
    """
    if table is not None:
        check_name("table", table, tables)
    known = {name: name for name in (*DESCRIBING, *FIGURES)} | {"parameters": "parameters_m"}
    chosen = {known[check_name("column of rankable", name, known)]: text for name, text in given.items()}
    for name, text in chosen.items():
        _check_expression(store, name, text)
    found = {name: _by_names(name, columns) for name, columns in tables.items()}
    able = [name for name, columns in found.items() if columns] or (list(tables) if chosen else [])
    if table is None and len(able) > 1:
        raise UsageError(
            "several tables could be ranked", expected="one", found=", ".join(able), hint=f"--table {able[0]}"
        )
    if table is None and not able:
        return None, {}
    ranked = table or able[0]
    columns = {**found[ranked], **chosen}
    if "model" not in columns and chosen:
        columns = {**_model_column(tables[ranked]), **columns}
    if "model" not in columns or not set(columns) & set(FIGURES):
        raise UsageError(
            f"the table {ranked} has no column for the {'model' if 'model' not in columns else 'figures'}",
            expected="a column model, and columns named as in: qubastore show views rankable",
            found=", ".join(tables[ranked]),
            hint="--column model=NAME --column accuracy=top1/100",
        )
    return ranked, columns


def _by_names(table: str, columns: Sequence[str]) -> dict[str, str]:
    """The meaning of a table's columns by their names; empty if these are not sufficient for a ranking."""
    if table == TIMM_TABLE and set(columns) >= _TIMM_HEADER:
        return {**TIMM_COLUMNS, **({"model": _TIMM_SIZES} if "img_size" in columns else {})}
    spelled = {name.lower(): name for name in columns}
    found = {name: quote_name(spelled[name]) for name in (*DESCRIBING, *FIGURES) if name in spelled}
    found = {**_model_column(columns), **found}
    return found if "model" in found and set(found) & set(FIGURES) else {}


def _model_column(columns: Sequence[str]) -> dict[str, str]:
    for name in columns:
        if name.lower() in ("model", "model_name", "name"):
            return {"model": quote_name(name)}
    return {}


def _check_expression(store: Database, name: str, text: str) -> None:
    words = {
        "named": f"--column {name}={text}",
        "kind": "SQL expression",
        "expected": "an expression over the table's columns, as in top1/100",
    }
    store.ask(lambda connection: sandbox.check_condition(connection, text, **words))
