"""Keeping the small tables of a store small: few files, and few rows in the catalog.

Each transaction adds a file to a table, or rows to the catalog if they are few. So the tables with a few rows per run
would have a file per run for ever. `tidy` merges them once there are enough; what older snapshots refer to stays until
they are expired. The tables of outputs are not its business: their files are written whole (`qubastore.runs.publish`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from qubastore.lake import ducklake

if TYPE_CHECKING:
    import duckdb

    from qubastore.lake.database import Database


SMALL_TABLES = (
    *("shards", "staged_files", "run_files", "failures", "run_summary", "class_summary", "bin_summary", "cue_summary"),
    *("run_metrics", "replicates", "derivations", "sample_contents"),
)
"""The tables with some rows for each run, to which every ingest adds."""


FILES = 32
"""Number of files of about the same size in a table from which they are merged."""


ROWS = 4096
"""Number of rows of a table in the catalog from which they are moved to a file."""


SIZES = (1 << 20, 32 << 20)
"""Limits in bytes: files below the first are merged, and so are those between the two. A row is rewritten twice."""


def tidy(store: Database, tables: Iterable[str], *, fully: bool = False) -> None:
    """Merge the files of tables, and move their rows from the catalog to files, where there are many.

    Args:
        store: A store open for writing.
        tables: Names of tables.
        fully: Leave one file per table and no rows in the catalog, however few there are. In SQLite, DuckLake moves
            rows in a way that a transaction of another process notices, if it began before.
    """
    wanted = sorted(tables)
    files = store.ask(lambda connection: _small_files(connection, wanted))
    # A transaction that reads a store in SQLite would find the table empty after a flush, so it is left to `fully`.
    may_flush = fully or store.location.is_postgres
    rows = store.ask(lambda connection: _rows_in_catalog(connection, wanted)) if may_flush else {}
    todo: list[str] = []
    flushed = [table for table in wanted if rows.get(table, 0) > (0 if fully else ROWS)]
    for table in flushed:
        todo.append(f"call ducklake_flush_inlined_data({_CATALOG}, table_name => {ducklake.quote(table)})")
        # Rows that were deleted while they were in the catalog leave it as rows of a file with deletions.
        todo.append(f"call ducklake_rewrite_data_files({_CATALOG}, {ducklake.quote(table)}, delete_threshold => 0)")
    for table in wanted:
        name = ducklake.quote(table)
        if fully and (sum(files.get(table, ())) > 1 or table in flushed):
            todo.append(f"call ducklake_merge_adjacent_files({_CATALOG}, {name})")
        if not fully and any(n >= FILES for n in files.get(table, ())):
            # Files with many deleted rows: those of the names of staged files.
            todo.append(f"call ducklake_rewrite_data_files({_CATALOG}, {name}, delete_threshold => 0.5)")
        for limit, n in zip(SIZES, files.get(table, ()), strict=False):
            if not fully and n >= FILES:
                todo.append(f"call ducklake_merge_adjacent_files({_CATALOG}, {name}, max_file_size => {limit})")
    for statement in todo:
        # Each in a transaction of its own: they only rearrange rows, and other writers need not wait for all of them.
        store.write(partial(_run, statement=statement), repeatable=True)


def drop_deleted_files(store: Database, tables: Iterable[str]) -> None:
    """Drop the files of tables of which every row was deleted.

    DuckLake keeps such a file if the deletion was recorded in the catalog, as releases up to schema 6 had it.
    """
    for table in tables:
        statement = f"call ducklake_rewrite_data_files({_CATALOG}, {ducklake.quote(table)}, delete_threshold => 1.0)"
        store.write(partial(_run, statement=statement), repeatable=True)


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    connection.execute(statement).fetchall()


_CATALOG = ducklake.quote(ducklake.CATALOG)


def _small_files(connection: duckdb.DuckDBPyConnection, tables: list[str]) -> dict[str, tuple[int, int]]:
    """Table -> number of files below the first limit, and between the two."""
    first, second = SIZES
    rows = connection.execute(
        f"""
        select tables.table_name, count(*) filter (where file_size_bytes < {first}),
            count(*) filter (where file_size_bytes between {first} and {second})
        from {ducklake.METADATA}.ducklake_data_file as files
        join {ducklake.METADATA}.ducklake_table as tables using (table_id)
        where files.end_snapshot is null and tables.end_snapshot is null and list_contains(?, tables.table_name)
        group by tables.table_name
        """,
        [tables],
    ).fetchall()
    return {table: (small, medium) for table, small, medium in rows}


def _rows_in_catalog(connection: duckdb.DuckDBPyConnection, tables: list[str]) -> dict[str, int]:
    """Table -> number of its rows in the catalog, deleted ones included."""
    names = connection.execute(
        f"""
        select tables.table_name, inlined.table_name
        from {ducklake.METADATA}.ducklake_inlined_data_tables as inlined
        join {ducklake.METADATA}.ducklake_table as tables using (table_id)
        where tables.end_snapshot is null and list_contains(?, tables.table_name)
        """,
        [tables],
    ).fetchall()
    if not names:
        return {}
    counts = " union all ".join(
        f"select {ducklake.quote(table)} as t, count(*) as n from {ducklake.METADATA}.{ducklake.quote_name(inlined)}"
        for table, inlined in names
    )
    return dict(connection.execute(f"select t, sum(n)::bigint from ({counts}) group by t").fetchall())
