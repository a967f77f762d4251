"""In-memory snapshots of the per-run tables, with the views over them.

DuckLake reads its catalog for every table that a query names, which takes about 5 ms each, and a view names many. In an
in-memory DuckDB database the same views are bound in a millisecond. The SQL of the views is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.ducklake import CATALOG, METADATA_PREFIX, quote, quote_name
from qubastore.lake.rows import insert, records
from qubastore.lake.views import needed_views, reads

if TYPE_CHECKING:
    import duckdb


OF_RUNS = ("runs", "run_summary", "class_summary", "bin_summary", "cue_summary", "run_metrics")
"""Tables of which only the rows of the requested runs are copied."""


WHOLE = ("models", "datasets", "own_suites", "published_models", "published_results")
"""Tables that are copied completely."""


EMPTY = ("human_trials",)
"""Tables that per-run views name but whose rows are not copied; query the store for them."""


ATTEMPTS = 5
"""Copies that are made if another process commits at the same time.

A transaction over a catalog in SQLite finds a table empty if `compact` moved its rows from the catalog to a file after
the transaction began. So a copy counts only if nothing was committed meanwhile; commits of an ingest are seconds apart.
"""


class Snapshot:
    """A copy of the tables that some views read, and the views. Use it as a context manager."""

    def __init__(
        self,
        store: Database,
        views: Sequence[str],
        runs: Sequence[str] | None = None,
        *,
        tables: Sequence[str] = (),
        emptied: Sequence[str] = (),
        catalog: str = CATALOG,
        replaced: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Copy the tables that views read, from one snapshot of the store.

        Args:
            store: An open store.
            views: Names of per-run views.
            runs: Ids of runs; None means all.
            tables: Tables to copy in addition to those that the views read.
            emptied: Tables to copy without their rows, because `add` provides them.
            catalog: The database of the tables: the store, or a connected attachment.
            replaced: View -> the SELECT that replaces it in the copy.
        """
        self._cursor = store.cursor()
        with translate_errors():
            needed = needed_views(self._cursor, views)
            named = {*tables, *chain(*reads(self._cursor, needed).values())}
            self._cursor.execute("use memory")
            # The optimizer would read the statistics of every column from the catalog, one by one.
            self._cursor.execute("pragma disable_optimizer")
            self._tables = named.intersection((*OF_RUNS, *WHOLE, *EMPTY))
            for _ in range(ATTEMPTS):
                before = _newest(self._cursor, catalog)
                self._copy(runs, emptied, catalog)
                if _newest(self._cursor, catalog) == before:
                    break
            for view in needed:
                replace(view, select=replaced.get(view.name, view.select)).create(self._cursor)
            self._cursor.execute("pragma enable_optimizer")

    def _copy(self, runs: Sequence[str] | None, emptied: Sequence[str], catalog: str) -> None:
        """Copy the tables in one transaction."""
        self._cursor.execute("begin transaction")
        for table in (*OF_RUNS, *WHOLE, *EMPTY):
            if table in self._tables:
                query = f"create or replace table {table} as from {catalog}.main.{table}"
                if table in emptied or table in EMPTY:
                    self._cursor.execute(f"{query} limit 0")
                elif table in OF_RUNS and runs is not None:
                    # A list as a parameter takes 0.2 ms a value, and one of literals is compared value by value.
                    chosen = "run_id in (select unnest(string_split(?, ' ')))"
                    self._cursor.execute(f"{query} where {chosen}", [" ".join(runs)])
                else:
                    self._cursor.execute(query)
        self._cursor.execute("commit")

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The result of a query over the copy."""
        with translate_errors(query):
            return self._cursor.execute(query, list(parameters)).fetchall()

    def records(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The result of a query over the copy, as a list of mappings from column to value."""
        with translate_errors(query):
            return records(self._cursor.execute(query, list(parameters)))

    def keep(self, name: str, query: str) -> None:
        """Store the result of a query over the copy as a table; other connections read it as `memory.main.NAME`."""
        with translate_errors(query):
            self._cursor.execute(f"create or replace table {name} as {query}")

    def add(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows into the copy of a table: what is not stored yet, for the views that read it.

        A table that no view reads is not in the copy, and gets no rows.
        """
        if rows and table in self._tables:
            with translate_errors():
                insert(self._cursor, table, rows)

    def forget_metrics(self, names: Sequence[str]) -> None:
        """Delete metrics from the copy of `run_metrics`."""
        with translate_errors():
            self._cursor.execute("delete from run_metrics where list_contains(?, metric)", [list(names)])

    def write(self, query: str, path: Path, options: str) -> None:
        """Write the result of a query over the copy to a file, with options of DuckDB's COPY."""
        with translate_errors(query):
            self._cursor.execute(f"copy ({query}) to {quote(str(path))} ({options})")

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self._cursor.close()


def _newest(cursor: duckdb.DuckDBPyConnection, catalog: str) -> int | None:
    """The number of a DuckLake's newest snapshot, read outside any transaction; None for another database."""
    import duckdb

    try:
        row = cursor.execute(
            f"select max(snapshot_id) from {quote_name(METADATA_PREFIX + catalog)}.ducklake_snapshot"
        ).fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    return row[0] if row else None
