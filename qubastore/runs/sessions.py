"""Active ingests: each stores a row while it runs, so that `qubastore status` shows it on every machine.

The row is for display only, not a lock: `commit_shards` ensures that nothing is committed twice.
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
    """List an ingest in the store as active during the block; yield its id.

    Args:
        store: A store open for writing.
        run_ids: The runs that it works on.
        n_images: Number of images to evaluate, summed over models.
        address: Address of the Ray cluster; None if the ingest starts its own.
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
        # The error that ended the ingest matters, not one from removing its row.
        with contextlib.suppress(QubastoreError):
            store.write(lambda c: c.execute("delete from drivers where driver_id = ?", [driver_id]), repeatable=True)


def is_alive(host: str, process_id: int) -> bool | None:
    """Whether an ingest is still running; None if it is on another machine, where this cannot be checked."""
    if host != socket.gethostname():
        return None
    return Path(f"/proc/{process_id}").exists() if Path("/proc").exists() else _process_exists(process_id)


def _process_exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


NOTED = "select driver_id, host, process_id from drivers"
"""The query for the ingests listed as active, for `killed`."""


def killed(noted: Iterable[tuple[str, str, int]]) -> list[str]:
    """The ids of the ingests, among the rows of `NOTED`, that were killed on this machine and left their row."""
    return [driver_id for driver_id, host, process_id in noted if is_alive(host, process_id) is False]


def forget_dead(connection: duckdb.DuckDBPyConnection) -> int:
    """Delete the rows of ingests that were killed on this machine; return the number of rows."""
    dead = killed(connection.execute(NOTED).fetchall())
    if dead:
        connection.execute("delete from drivers where list_contains(?, driver_id)", [dead])
    return len(dead)
