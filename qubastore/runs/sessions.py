"""Ingests at work: each notes itself in the store while it lasts, so that `qubastore status` shows it from anywhere.

A row is a note for people, never a lock: that nothing is committed twice is the commit's business.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.errors import QubastoreError
from qubastore.lake.database import Database

if TYPE_CHECKING:
    import duckdb


@contextlib.contextmanager
def active_session(store: Database, run_ids: Sequence[str], n_images: int, address: str | None) -> Iterator[str]:
    """Note an ingest in the store while the block lasts; the value is its id.

    Args:
        store: A store open for writing.
        run_ids: The runs that it works on.
        n_images: Images that are to go through models.
        address: The Ray cluster that does the work, if it is not the ingest's own.
    """
    driver_id = uuid.uuid4().hex[:12]
    row = [driver_id, socket.gethostname(), os.getpid(), address, list(run_ids), n_images]

    def begin(connection: duckdb.DuckDBPyConnection) -> None:
        forget_dead(connection)
        connection.execute("delete from drivers where driver_id = ?", [driver_id])
        connection.execute("insert into drivers values (?, ?, ?, ?, ?, ?, now())", row)

    store.write(begin, repeatable=True)
    try:
        yield driver_id
    finally:
        # What ended the work is the news; that the note could not be removed is not.
        with contextlib.suppress(QubastoreError):
            store.write(lambda c: c.execute("delete from drivers where driver_id = ?", [driver_id]), repeatable=True)


def is_alive(host: str, process_id: int) -> bool | None:
    """Whether an ingest still runs; None where it is on another machine, and nobody here can tell."""
    if host != socket.gethostname():
        return None
    return Path(f"/proc/{process_id}").exists() if Path("/proc").exists() else _answers(process_id)


def _answers(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


NOTED = "select driver_id, host, process_id from drivers"
"""The ingests that noted themselves, for `killed`."""


def killed(noted: Iterable[tuple[str, str, int]]) -> list[str]:
    """Ids of the ingests, among the rows of `NOTED`, that were killed on this machine and left their note."""
    return [driver_id for driver_id, host, process_id in noted if is_alive(host, process_id) is False]


def forget_dead(connection: duckdb.DuckDBPyConnection) -> int:
    """Remove the notes of ingests on this machine that were killed; return how many."""
    dead = killed(connection.execute(NOTED).fetchall())
    if dead:
        connection.execute("delete from drivers where list_contains(?, driver_id)", [dead])
    return len(dead)
