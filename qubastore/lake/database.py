"""The database of a store: a DuckLake, which is a catalog (a SQLite file or PostgreSQL) and tables in Parquet files.

On one machine a store is a folder: `catalog.sqlite`, `data/` with the Parquet files, and `commit.lock`, which a writer
locks. For several machines it is a URL (`qubastore.lake.location`). Readers never wait: a transaction sees one
snapshot.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qubastore.errors import StoreError, StoreUnreachableError, UsageError
from qubastore.lake import ducklake, sandbox
from qubastore.lake.connection import lock_file, open_connection, refresh_views
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.interrupts import defer_interrupts
from qubastore.lake.location import Location
from qubastore.lake.locks import ANOTHER_HOLDS_IT, LOCK_TIMEOUT, AdvisoryLock, FileLock, WriterLock
from qubastore.lake.object_storage import DataFiles
from qubastore.lake.rows import records
from qubastore.s3 import PATIENCE

if TYPE_CHECKING:
    from typing import Self

    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

T = TypeVar("T")

_DOUBTS = 5
"""Number of times a transaction is retried after an error that a broken connection may have caused."""


class Database:
    """The database of an open store: it runs queries and commits transactions. Use it as a context manager.

    Args:
        location: The store's location.
        connection: A connection with the store's catalog attached.
        read_only: Whether it is open for reading only.
    """

    def __init__(self, location: Location, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        self.location, self.read_only = location, read_only
        self.files = DataFiles(location.data)
        self._connection = connection
        self._lock: WriterLock | None = None
        self._restricted = False

    @classmethod
    def open(cls, location: Location, *, read_only: bool = True, refresh: bool = True) -> Self:
        """Open a store.

        Args:
            location: The store's location.
            read_only: Whether to open it for reading only.
            refresh: If it is opened for writing, replace another release's views by this one's.

        Raises:
            StoreNotFoundError: If there is no store at the location.
            StoreVersionError: If the store has the schema version of another release.
        """
        opened = open_connection(location, read_only=read_only)
        database = cls(opened.location, opened.connection, read_only=read_only)
        if opened.has_old_views and refresh and not read_only:
            try:
                database.write(refresh_views)
            except BaseException:
                database.close()
                raise
        return database

    @property
    def path(self) -> Path:
        """The store's folder.

        Raises:
            UsageError: If the store is at a URL.
        """
        if self.location.folder is None:
            raise UsageError(f"the store {self.location} is not a folder")
        return self.location.folder

    @property
    def data_path(self) -> Path:
        """The folder of the Parquet files of a store that is a folder; `files` works for every store."""
        return self.path.resolve() / "data"

    def close(self) -> None:
        """Close the connection; the object cannot be used afterwards."""
        if isinstance(self._lock, AdvisoryLock):
            self._lock.close()
        ducklake.close(self._connection, self.location)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> duckdb.DuckDBPyRelation:
        """The result of a query as a lazy DuckDB relation: `.pl()`, `.df()`, `.arrow()`, `.fetchall()`.

        For lists, such as kept logits, `arrays` and `arrow` are many times faster: with parameters, DuckDB first copies
        the rows into a collection from which it reads lists slowly.

        Raises:
            QueryError: If DuckDB rejects the query.
        """
        self.prepare(query)
        with translate_errors(query):
            return self._connection.sql(query, params=parameters)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The result of a query as a list of tuples."""
        return self._answer(query, parameters, lambda answer: answer.fetchall())

    def arrays(self, query: str, parameters: Sequence[Any] = ()) -> dict[str, NDArray[Any]]:
        """The result of a query as NumPy arrays: column -> (n_rows,); masked where a value is missing."""
        return self._answer(query, parameters, lambda answer: answer.fetchnumpy())

    def arrow(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The result of a query as an Arrow table."""
        return self._answer(query, parameters, lambda answer: answer.to_arrow_table())

    def records(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The result of a query as a list of mappings from column to value."""
        return self._answer(query, parameters, records)

    def _answer(self, query: str, parameters: Sequence[Any], fetch: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """What `fetch` makes of the connection that has executed a query."""
        self.prepare(query)
        with translate_errors(query):
            return self._with_reconnect(lambda: fetch(self._connection.execute(query, list(parameters))))

    def prepare(self, query: str) -> None:
        """Prepare the tables outside the store that a query refers to; a subclass that has such tables overrides it."""

    @property
    def is_restricted(self) -> bool:
        """Whether queries can read only the store."""
        return self._restricted

    def restrict(self, folders: Sequence[str] = (), files: Sequence[str] = ()) -> None:
        """Allow queries to read only the store from now on: no other files, databases or extensions.

        Call `check` on each query before it is run.

        Args:
            folders: Folders that may be read in addition to the store's own, each with a trailing slash.
            files: Files that may be read.
        """
        with translate_errors():
            sandbox.restrict(self._connection, [f"{self.location.data}/", *folders], files)
        self._restricted = True

    def check(self, statement: duckdb.Statement) -> None:
        """In a restricted store, reject a statement that reads or writes anything outside it.

        Raises:
            QueryError: If it does; the error names the disallowed reference.
        """
        if self._restricted:
            with translate_errors(statement.query):
                sandbox.check(self._connection, statement)

    def last_statement(self, query: str) -> duckdb.Statement:
        """Check all statements of a query, run all but the last, and return that.

        Raises:
            QueryError: If DuckDB rejects one, or it reads or writes anything outside a restricted store.
            UsageError: If there is none.
        """
        with translate_errors(query):
            statements = self._connection.extract_statements(query)
            if not statements:
                raise UsageError("there is no query", hint='qubastore sql "from accuracy"')
            for statement in statements[:-1]:
                self.check(statement)
                self._connection.execute(statement)
            self.check(statements[-1])
        return statements[-1]

    def ask(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Call a function that queries the connection, and return its result; for a single query use `rows`."""
        with translate_errors():
            return self._with_reconnect(lambda: question(self._connection))

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A separate connection to the same database, for concurrent queries. Close it after use."""
        return self._connection.cursor()

    def execute(self, query: str) -> None:
        """Run a statement for its effect, such as creating a temporary table of this connection."""
        with translate_errors(query):
            self._connection.execute(query)

    def write(
        self,
        work: Callable[[duckdb.DuckDBPyConnection], T],
        *,
        repeatable: bool = False,
        patience: float | None = None,
    ) -> T:
        """Run `work` in one transaction, so that all of it is stored or nothing.

        DuckLake lets two transactions that only append both succeed, so only one writer of a store commits at a time:
        what `work` reads cannot change before its commit. If the catalog is locked nevertheless, the transaction is
        rolled back and `work` runs again, including its checks. If the connection to the catalog's server is lost,
        `write` waits for the server; work that may have been committed already runs again only if it is `repeatable`.

        Ctrl-C is deferred to the end of the transaction.

        Args:
            work: Called with a connection in a transaction.
            repeatable: Whether `work` may run again after it took effect, because it checks what is stored.
            patience: Seconds to wait for other writers, and for a server; None means `LOCK_TIMEOUT`.

        Raises:
            StoreError: In a read-only store, on a full disk, or if the store stays locked or unreachable.
        """
        import duckdb

        if self.read_only:
            raise StoreError(f"the store {self.location} is open for reading only", hint="open it with read_only=False")
        deadline = time.monotonic() + (LOCK_TIMEOUT if patience is None else patience)
        pause, doubts = 0.01, 0
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
                            f"the connection to {self.location} was lost during a commit",
                            found="it is unknown whether the commit took effect",
                            hint="run the same command again: it continues from what is stored",
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

    def _with_reconnect(self, query: Callable[[], T]) -> T:
        """Run a query; whenever the connection to the catalog's server is lost, reconnect and run it again."""
        import duckdb

        deadline, pause, breakdowns = time.monotonic() + PATIENCE, 0.1, 0
        while True:
            try:
                return query()
            except duckdb.Error as error:
                # A query that breaks DuckDB down again and again is not the server's fault.
                breakdowns += ducklake.is_broken(error)
                if not ducklake.is_cut(error, self.location) or breakdowns > _DOUBTS or time.monotonic() > deadline:
                    raise
            self._reconnect(deadline)
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _reconnect(self, deadline: float) -> None:
        """Replace a lost connection by a new one as soon as the server is available.

        Raises:
            StoreUnreachableError: If it is not available by the deadline.
        """
        pause = 0.1
        while True:
            try:
                fresh = open_connection(self.location, read_only=self.read_only).connection
                break
            except StoreUnreachableError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
        if isinstance(self._lock, AdvisoryLock):
            self._lock.abandon()
        ducklake.never_destroy(self._connection)
        self._connection, self._lock = fresh, None
        if self._restricted:
            self.restrict()
