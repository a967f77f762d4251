"""Writers of a store take turns: what a transaction reads cannot change before it commits.

DuckLake lets two transactions that only append both succeed, so that two drivers would commit one shard twice. A store
that is a folder has a lock file, of which the system lets go when its holder dies, however it dies. A catalog in
PostgreSQL has an advisory lock, which the server lets go of when the holder's connection ends.
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
from qubastore.lake.ducklake import METADATA, keep_for_good, quote
from qubastore.lake.location import Location

if TYPE_CHECKING:
    import duckdb


LOCK_TIMEOUT = 120.0
"""Seconds that a writer waits for another one before it gives up."""


ANOTHER_HOLDS_IT = "another writer holds the lock inside its transaction"


_LOCKS = "writer_locks"


class FileLock:
    """The turn to write a store that is a folder."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextlib.contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """Wait for one's turn, and keep it.

        Raises:
            StoreBusyError: where another process keeps it past the deadline (of `time.monotonic`).
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
        """Nothing more to do inside the transaction."""

    def confirm(self) -> None:
        """The system keeps the lock as long as this process lives."""


class AdvisoryLock:
    """The turn to write a store in PostgreSQL: two advisory locks.

    One is had on a connection of its own, before the transaction begins that commits: that one reads the catalog as it
    was when it began, which has to be after the lock was had. The other is had inside that transaction, and lives just
    as long: who loses the first while standing still (an operator ends the session) keeps others out all the same.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, location: Location) -> None:
        self._location = location
        self._cursor = connection.cursor()
        self._cursor.execute(
            f"attach if not exists {quote(location.connection_string)} as {_LOCKS} (type postgres, read_only)"
        )
        # Stores in one database are told apart by their schema; the number of a lock has 64 bits.
        digest = hashlib.blake2b(f"qubastore:{location.schema}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "big", signed=True) >> 1 << 1

    @contextlib.contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """Wait for one's turn, and keep it.

        Raises:
            StoreBusyError: where another session keeps it past the deadline (of `time.monotonic`).
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
        """Take the second lock, as the first thing inside the transaction.

        Raises:
            duckdb.TransactionException: where a transaction that lost its turn still has it: to be tried again.
        """
        import duckdb

        query = f"select pg_try_advisory_xact_lock({self._key + 1})"
        row = connection.execute(f"from postgres_query({quote(METADATA)}, {quote(query)})").fetchone()
        if row is None or not row[0]:
            raise duckdb.TransactionException(ANOTHER_HOLDS_IT)

    def close(self) -> None:
        """Let go of the connection."""
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
        """Never close it: its server is gone, and closing it would end the process (`engine.close`)."""
        keep_for_good(self._cursor)

    def confirm(self) -> None:
        """Ask whether the session that has the lock is still alive: without it, another writer may have begun.

        Raises:
            duckdb.Error: where it is not.
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
