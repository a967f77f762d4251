"""Inserting rows inside a caller's transaction, and fetching them as mappings.

DuckLake has no keys, so callers check for existing rows before they insert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, in the order of the table's columns, in one statement."""
    import pyarrow as pa

    if not rows:
        return
    schema = connection.execute(f"from {table} limit 0").to_arrow_table().schema
    columns = [pa.array(column, type=field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)]
    connection.register("incoming_rows", pa.table(columns, schema=schema))
    try:
        connection.execute(f"insert into {table} from incoming_rows")
    finally:
        connection.unregister("incoming_rows")


def exists(connection: duckdb.DuckDBPyConnection, table: str, column: str, value: str) -> bool:
    """Whether `table` has a row whose `column` is `value`."""
    return connection.execute(f"select 1 from {table} where {column} = ? limit 1", [value]).fetchone() is not None


def records(answer: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The rows of an executed query, each as a mapping from column to value."""
    columns = [name for name, *_ in answer.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
