"""Connections to the store that requests share: each is lent to one request at a time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from qubastore.errors import QubastoreError, QueryError
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.store import Store

N_STORES = 4
"""Number of connections; further requests wait for one."""
SECONDS = 60
"""Time limit of a query that a user typed."""
ROWS = 10_000
"""Maximum number of rows of such a query that are returned."""


class Stores:
    """Up to `N_STORES` read-only connections to one store, opened when they are first needed.

    Args:
        open_one: Opens the store for reading.
    """

    def __init__(self, open_one: Callable[[], Store]) -> None:
        self._open = open_one
        self._idle: queue.LifoQueue[Store | None] = queue.LifoQueue()
        for _ in range(N_STORES):
            self._idle.put(None)
        self._spare: queue.SimpleQueue[Store] = queue.SimpleQueue()
        self._closed = False

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Store]:
        """Lend a connection for the block."""
        store = self._idle.get()
        try:
            if store is None:
                store = self._open()
            yield store
        finally:
            self._idle.put(store)

    def query(self, text: str) -> dict[str, Any]:
        """Run a query that a user typed, over nothing but the store, in a connection of its own.

        Returns:
            `columns`: names; `types`: DuckDB's; `rows`: at most `ROWS`; `more`: whether there are further ones.

        Raises:
            QueryError: If DuckDB rejects it, it reads anything outside the store, or takes longer than `SECONDS`.
            UsageError: If there is no query.
        """
        store = self._restricted(text)
        threading.Thread(target=self._open_spare, daemon=True).start()
        late = threading.Event()

        def stop() -> None:
            late.set()
            store._connection.interrupt()

        timer = threading.Timer(SECONDS, stop)
        timer.start()
        try:
            last = store.last_statement(text)
            with translate_errors(text):
                answer = store._connection.execute(last)
                described = answer.description or []
                rows = answer.fetchmany(ROWS + 1) if described else []
            return {
                "columns": [column[0] for column in described],
                "types": [str(column[1]) for column in described],
                "rows": rows[:ROWS],
                "more": len(rows) > ROWS,
            }
        except Exception:
            if late.is_set():
                raise QueryError(
                    f"the query took longer than {SECONDS} seconds", hint="qubastore sql, which has no limit"
                ) from None
            raise
        finally:
            timer.cancel()
            store.close()

    def _restricted(self, text: str) -> Store:
        try:
            store = self._spare.get_nowait()
        except queue.Empty:
            store = self._open()
        try:
            store.prepare(text)
            store.restrict()
        except BaseException:
            store.close()
            raise
        return store

    def _open_spare(self) -> None:
        """Open the connection of the next query, so that it need not wait."""
        with contextlib.suppress(QubastoreError):  # the next query opens its own, and says what is wrong
            store = self._open()
            if self._closed or not self._spare.empty():
                store.close()
            else:
                self._spare.put(store)

    def close(self) -> None:
        """Close the connections that are not lent."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._spare.get_nowait().close()
        with contextlib.suppress(queue.Empty):
            while True:
                store = self._idle.get_nowait()
                if store is not None:
                    store.close()
