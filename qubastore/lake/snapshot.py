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
from typing import Any

from qubastore.lake.database import Database
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.ducklake import CATALOG, quote
from qubastore.lake.views import needed_views, reads

OF_RUNS = ("runs", "run_summary", "class_summary", "bin_summary", "cue_summary", "run_metrics")
"""Tables of which only the rows of the requested runs are copied."""


WHOLE = ("models", "datasets", "own_suites", "published_models", "published_results")
"""Tables that are copied completely."""


EMPTY = ("human_trials",)
"""Tables that per-run views name but whose rows are not copied; query the store for them."""


class Snapshot:
    """A copy of the tables that some views read, and the views. Use it as a context manager."""

    def __init__(
        self,
        store: Database,
        views: Sequence[str],
        runs: Sequence[str] | None = None,
        *,
        tables: Sequence[str] = (),
        catalog: str = CATALOG,
        replaced: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Copy the tables that views read, from one snapshot of the store.

        Args:
            store: An open store.
            views: Names of per-run views.
            runs: Ids of runs; None means all.
            tables: Tables to copy in addition to those that the views read.
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
            self._cursor.execute("begin transaction")
            for table in (*OF_RUNS, *WHOLE, *EMPTY):
                if table in named:
                    query = f"create or replace table {table} as from {catalog}.main.{table}"
                    if table in OF_RUNS and runs is not None:
                        self._cursor.execute(f"{query} where list_contains(?, run_id)", [list(runs)])
                    else:
                        self._cursor.execute(query + (" limit 0" if table in EMPTY else ""))
            for view in needed:
                replace(view, select=replaced.get(view.name, view.select)).create(self._cursor)
            self._cursor.execute("commit")
            self._cursor.execute("pragma enable_optimizer")

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The result of a query over the copy."""
        with translate_errors(query):
            return self._cursor.execute(query, list(parameters)).fetchall()

    def keep(self, name: str, query: str) -> None:
        """Store the result of a query over the copy as a table; other connections read it as `memory.main.NAME`."""
        with translate_errors(query):
            self._cursor.execute(f"create or replace table {name} as {query}")

    def add_metrics(self, rows: Sequence[tuple[str, str, int, float | None]]) -> None:
        """Insert rows into the copy of `run_metrics`: the results of transforms, for the views that read them."""
        if rows:
            with translate_errors():
                self._cursor.executemany("insert into run_metrics values (?, ?, ?, ?)", [list(row) for row in rows])

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
