"""Gathering the rows of attached tables for rankings, and checking that their values are possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qubastore.attachments.columns import COLUMNS, FIGURES
from qubastore.errors import ImportDataError, QueryError
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.ducklake import quote
from qubastore.metrics.dimensions import DIMENSIONS, Dimension

if TYPE_CHECKING:
    from qubastore.attachments.attached import Attachment
    from qubastore.lake.database import Database


_RANGES = {
    "0 to 1": ("between 0 and 1", "0 to 1"),
    # Relative to clean accuracy: a value above 10 must be a percentage.
    "0 and up": ("between 0 and 10", "a ratio, 0 to 10"),
    "up to 1": ("between -10 and 2", "a ratio, near 1"),
    "millions": ("between 1e-9 and 1e6", "millions"),
}


def add_rows(store: Database, attachment: Attachment, target: str) -> None:
    """Append the rows of an attachment's ranked table to another table.

    Args:
        store: A store with the attachment connected.
        attachment: The attachment.
        target: The table to append to, with the columns `COLUMNS`.

    Raises:
        ImportDataError: If a figure is not a number or out of its range, or a model has no name or several rows.
    """
    if attachment.ranked_table is None:
        return
    expressions = {**attachment.columns, "source": quote(attachment.name)}
    expressions["suite"] = (
        f"coalesce(nullif(({expressions.get('suite', 'null')}\n)::varchar, ''), {quote(attachment.suite)})"
    )
    parts = []
    for name in COLUMNS:
        text = expressions.get(name, "null")
        if name in FIGURES and name in expressions:
            # Some programs write NaN for a missing value.
            parts.append(f"case when not isnan(({text}\n)::double) then ({text}\n)::double end")
        else:
            parts.append(f"({text}\n)::varchar")
    place = f"{attachment.name}.{attachment.ranked_table}"
    try:
        with translate_errors(place):
            store._connection.execute(
                f"insert into {target} select {', '.join(parts)}"
                f' from {attachment.name}.main."{attachment.ranked_table}"'
            )
    except QueryError as error:
        raise ImportDataError(
            f"the rows of {place} cannot be ranked",
            found=error.what.splitlines()[0],
            hint="qubastore attach with --column, to define its columns",
        ) from None
    mine = f"from {target} where source = {quote(attachment.name)}"
    for suite, model, n in store.rows(
        f"select suite, model, count(*) {mine} group by all order by count(*) desc limit 1"
    ):
        if n > 1:
            raise ImportDataError(f"{place} has {n} rows for {model} in suite {suite}", expected="one row per model")
    if store.rows(f"select 1 {mine} and coalesce(model, '') = '' limit 1"):
        raise ImportDataError(f"{place} has a row without the name of a model")
    for dimension in DIMENSIONS:
        condition, meaning = _RANGES[dimension.unit]
        wrong = store.rows(f"select model, {dimension.column} {mine} and {dimension.column} not {condition} limit 1")
        for model, value in wrong:
            raise ImportDataError(
                f"{place}: {dimension.column} of {model}",
                expected=meaning,
                found=f"{value:g}",
                hint=_rescaled(dimension),
            )


def _rescaled(dimension: Dimension) -> str:
    name, other = dimension.column, dimension.name
    if dimension.unit == "millions":
        return f"--column {name}={other}/1e6, if it is not in millions"
    return f"--column {name}={name}/100, if it is a percentage"
