"""Inserting rows inside a caller's transaction. DuckLake has no keys, so callers check for existing rows first."""

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
