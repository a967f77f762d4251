"""The database of a store: a DuckLake, that is a catalog (a SQLite file or PostgreSQL) and tables in Parquet files.

On a laptop a store is a folder: `catalog.sqlite`, `data/` with the Parquet files, and `commit.lock`, which writers hold
one after another. For several machines it is a URL (`qubastore.lake.location`). Readers never wait: a transaction sees
one snapshot.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qubastore.errors import StoreError, UsageError
from qubastore.lake import ducklake, sandbox
from qubastore.lake.connection import lock_file, open_connection, refresh_views
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.interrupts import defer_interrupts
from qubastore.lake.location import Location
from qubastore.lake.locks import ANOTHER_HOLDS_IT, LOCK_TIMEOUT, AdvisoryLock, FileLock, WriterLock
from qubastore.lake.object_storage import PATIENCE, DataFiles

if TYPE_CHECKING:
    from typing import Self

    import duckdb

T = TypeVar("T")

_DOUBTS = 5
"""Times that a transaction is tried again after an error that a broken connection may have caused."""


class Database:
    """An open store as a database: it answers queries and commits transactions. Use it as a context manager.

    Args:
        location: Where it is.
        connection: A connection with its catalog attached.
        read_only: Whether it is never written.
    """

    def __init__(self, location: Location, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        self.location, self.read_only = location, read_only
        self.files = DataFiles(location.data)
        self._connection = connection
        self._lock: WriterLock | None = None
        self._restricted = False

    @classmethod
    def open(cls, location: Location, *, read_only: bool = True) -> Self:
        """Open a store.

        Raises:
            StoreNotFoundError: where there is none.
            StoreVersionError: where it was written with another schema.
        """
        opened = open_connection(location, read_only=read_only)
        database = cls(opened.location, opened.connection, read_only=read_only)
        if opened.has_old_views and not read_only:
            try:
                database.write(refresh_views)
            except BaseException:
                database.close()
                raise
        return database

    @property
    def path(self) -> Path:
        """The folder of a store that is one.

        Raises:
            UsageError: where the store is at a URL.
        """
        if self.location.folder is None:
            raise UsageError(f"the store {self.location} is no folder")
        return self.location.folder

    @property
    def data_path(self) -> Path:
        """The folder of the Parquet files of a store that is a folder; `files` works for every store."""
        return self.path.resolve() / "data"

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards."""
        if isinstance(self._lock, AdvisoryLock):
            self._lock.close()
        ducklake.close(self._connection, self.location)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> duckdb.DuckDBPyRelation:
        """The answer to a query, as a lazy DuckDB relation: `.pl()`, `.df()`, `.arrow()`, `.fetchall()`.

        Raises:
            QueryError: where DuckDB refuses the query.
        """
        self.prepare(query)
        with translate_errors(query):
            return self._connection.sql(query, params=parameters)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The answer to a query as a list of tuples."""
        self.prepare(query)
        with translate_errors(query):
            return self._again(lambda: self._connection.execute(query, list(parameters)).fetchall())

    def prepare(self, query: str) -> None:
        """Have ready what a query names beside the store's own tables; here there is nothing else."""

    @property
    def is_restricted(self) -> bool:
        """Whether queries are answered from the store alone."""
        return self._restricted

    def restrict(self, folders: Sequence[str] = (), files: Sequence[str] = ()) -> None:
        """Answer from the store alone from now on: no other files, databases or extensions. `check` each query first.

        Args:
            folders: Folders that may be read beside the store's own, each with a slash at its end.
            files: Files that may be.
        """
        with translate_errors():
            sandbox.restrict(self._connection, [f"{self.location.data}/", *folders], files)
        self._restricted = True

    def check(self, statement: duckdb.Statement) -> None:
        """Refuse a statement that reaches outside, in a restricted store.

        Raises:
            QueryError: naming the function that does.
        """
        if self._restricted:
            with translate_errors(statement.query):
                sandbox.check(self._connection, statement)

    def ask(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Have a function put questions to the connection; `rows` is for a single one."""
        with translate_errors():
            return self._again(lambda: question(self._connection))

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same database: it may put other questions meanwhile. Close it after use."""
        return self._connection.cursor()

    def execute(self, query: str) -> None:
        """Run a statement for its effect: temporary tables of this connection, mostly."""
        with translate_errors(query):
            self._connection.execute(query)

    def write(self, work: Callable[[duckdb.DuckDBPyConnection], T], *, repeatable: bool = False) -> T:
        """Run `work` in one transaction: all of it is stored, or nothing.

        DuckLake lets two transactions that only append both succeed, so only one writer of a store commits at a time:
        what `work` reads cannot change before. Where the catalog is locked all the same, the transaction is rolled
        back and `work` runs again, checks included. Where the catalog's server goes away, it is waited for; work that
        may have been committed by then runs again only if it is `repeatable`.

        Ctrl-C waits until the transaction is over.

        Args:
            work: What to do, with a connection in a transaction.
            repeatable: Whether `work` may run again after it took effect: it checks what is there.

        Raises:
            StoreError: in a read-only store, on a full disk, or where the store stays locked or out of reach.
        """
        import duckdb

        if self.read_only:
            raise StoreError(f"the store {self.location} is open for reading only", hint="open it with read_only=False")
        deadline, pause, doubts = time.monotonic() + LOCK_TIMEOUT, 0.01, 0
        with translate_errors():
            while True:
                sent = False
                try:
                    lock = self._writer_lock()
                    with lock.held(deadline), defer_interrupts():
                        try:
                            self._connection.execute("begin transaction")
                            lock.enter(self._connection)
                            result = work(self._connection)
                            lock.confirm()
                            sent = True
                            self._connection.execute("commit")
                        except BaseException:
                            with contextlib.suppress(duckdb.Error):
                                self._connection.execute("rollback")
                            raise
                        return result
                except duckdb.Error as error:
                    lost = self.location.is_postgres and ducklake.is_lost(error)
                    waits = ANOTHER_HOLDS_IT in str(error)
                    if (
                        self.location.is_postgres
                        and not (lost or waits)
                        and doubts < _DOUBTS
                        and ducklake.may_be_lost(error)
                    ):
                        lost, doubts = True, doubts + 1
                    again = waits or "database is locked" in str(error) or (lost and (repeatable or not sent))
                    if lost and not again:
                        raise StoreError(
                            f"the connection to {self.location} broke while something was committed",
                            found="nobody can tell whether it took effect",
                            hint="run the same command again: it sees what is there",
                        ) from None
                    if not again or time.monotonic() > deadline:
                        raise
                if lost:
                    self._reconnect(deadline)
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _writer_lock(self) -> WriterLock:
        if self._lock is None:
            if self.location.is_postgres:
                self._lock = AdvisoryLock(self._connection, self.location)
            else:
                self._lock = FileLock(lock_file(self.location))
        return self._lock

    def _again(self, ask: Callable[[], T]) -> T:
        """Put a question; where the catalog's server went away, wait for it and ask again."""
        import duckdb

        try:
            return ask()
        except duckdb.Error as error:
            if not (self.location.is_postgres and ducklake.is_lost(error)):
                raise
        self._reconnect(time.monotonic() + PATIENCE)
        return ask()

    def _reconnect(self, deadline: float) -> None:
        """A new connection in place of one that broke, as soon as the server is there.

        Raises:
            StoreError: where it is not there by the deadline.
        """
        import duckdb

        pause = 0.1
        while True:
            try:
                fresh = open_connection(self.location, read_only=self.read_only).connection
                break
            except (StoreError, duckdb.Error) as error:
                if time.monotonic() > deadline or not ducklake.is_lost(error):
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
        if isinstance(self._lock, AdvisoryLock):
            self._lock.abandon()
        ducklake.keep_for_good(self._connection)
        self._connection, self._lock = fresh, None
        if self._restricted:
            self.restrict()
