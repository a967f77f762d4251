"""Locks between the writers of a store, so that what a transaction reads cannot change before it commits.

DuckLake lets two transactions that only append both succeed, so without a lock two drivers could commit the same shard
twice. A store in a folder has a lock file, whose lock the operating system releases when its holder dies. A catalog in
PostgreSQL has an advisory lock, which the server releases when the holder's connection ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.errors import StoreBusyError
from qubastore.lake.ducklake import METADATA, never_destroy, quote
from qubastore.lake.location import Location

if TYPE_CHECKING:
    import duckdb


LOCK_TIMEOUT = 120.0
"""Seconds that a writer waits for another one before it fails."""


ANOTHER_HOLDS_IT = "another writer holds the lock inside its transaction"


_LOCKS = "writer_locks"


class FileLock:
    """The lock of a store in a folder: an exclusive lock on a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextlib.contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """Acquire the lock, waiting for it if necessary, and hold it during the block.

        Raises:
            StoreBusyError: If another process still holds it at the deadline (in `time.monotonic` seconds).
        """
        with self._file.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreBusyError(
                            f"another process has kept the store {self._file.parent} locked for {LOCK_TIMEOUT:.0f} s",
                            hint=f"see who holds it: fuser {shlex.quote(str(self._file))}",
                        ) from None
                    time.sleep(0.005)
            yield

    def enter(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: a file lock needs no second lock inside the transaction."""

    def confirm(self) -> None:
        """Do nothing: the operating system keeps the lock as long as this process lives."""


class AdvisoryLock:
    """The lock of a store in PostgreSQL: two advisory locks.

    The first is acquired on a separate connection before the committing transaction begins, because that transaction
    reads the catalog as it was at its begin. The second is acquired inside that transaction and lasts as long as it: a
    writer that loses the first lock (because an operator ended its session) still excludes others.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, location: Location) -> None:
        self._location = location
        self._cursor = connection.cursor()
        self._cursor.execute(
            f"attach if not exists {quote(location.connection_string)} as {_LOCKS} (type postgres, read_only)"
        )
        # Stores in the same database differ in their schema; the key of a lock has 64 bits.
        digest = hashlib.blake2b(f"qubastore:{location.schema}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "big", signed=True) >> 1 << 1

    @contextlib.contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """Acquire the lock, waiting for it if necessary, and hold it during the block.

        Raises:
            StoreBusyError: If another session still holds it at the deadline (in `time.monotonic` seconds).
        """
        import duckdb

        pause = 0.002
        self._cursor.execute("begin transaction")
        try:
            while not self._ask(f"select pg_try_advisory_xact_lock({self._key})"):
                if time.monotonic() > deadline:
                    raise StoreBusyError(
                        f"another writer has kept the store {self._location} locked for {LOCK_TIMEOUT:.0f} s",
                        found=self._holder(),
                        hint="is it alive? select pg_terminate_backend(PID) ends a session that is not",
                    )
                time.sleep(pause)
                pause = min(1.5 * pause, 0.05)
            yield
        finally:
            with contextlib.suppress(duckdb.Error):
                self._cursor.execute("rollback")

    def enter(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Acquire the second lock, as the first step inside the transaction.

        Raises:
            duckdb.TransactionException: If a transaction that lost the first lock still holds it: try again.
        """
        import duckdb

        query = f"select pg_try_advisory_xact_lock({self._key + 1})"
        row = connection.execute(f"from postgres_query({quote(METADATA)}, {quote(query)})").fetchone()
        if row is None or not row[0]:
            raise duckdb.TransactionException(ANOTHER_HOLDS_IT)

    def close(self) -> None:
        """Close the lock's connection."""
        import duckdb

        try:
            with contextlib.suppress(duckdb.TransactionException):
                self._cursor.execute("rollback")
            self._ask("select 1")
        except duckdb.Error:
            self.abandon()
        else:
            self._cursor.close()

    def abandon(self) -> None:
        """Leave the lock's connection open: its server cannot be reached, and closing it would end the process.

        See `ducklake.close`.
        """
        never_destroy(self._cursor)

    def confirm(self) -> None:
        """Check that the session that holds the lock is alive; otherwise another writer may have begun.

        Raises:
            duckdb.Error: If it is not.
        """
        self._ask("select 1")

    def _ask(self, query: str) -> object:
        row = self._cursor.execute(f"from postgres_query('{_LOCKS}', {quote(query)})").fetchone()
        return row[0] if row else None

    def _holder(self) -> str | None:
        query = (
            "select coalesce(string_agg('PID ' || a.pid || ' from ' || coalesce(a.client_addr::text, 'this machine'),"
            " ', '), '') from pg_locks l join pg_stat_activity a using (pid)"
            " where l.locktype = 'advisory' and l.granted"
            f" and (l.classid::bigint << 32 | l.objid::bigint) = {self._key}"
        )
        return str(self._ask(query)) or None


WriterLock = FileLock | AdvisoryLock
