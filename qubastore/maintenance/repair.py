"""Repairing what the doctor found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.maintenance.checks import SHARDS, SUMS, Fault
from qubastore.runs import removal
from qubastore.runs.publish import complete_runs
from qubastore.runs.sessions import forget_dead

if TYPE_CHECKING:
    import duckdb


def repair(store: Database, faults: Sequence[Fault]) -> list[str]:
    """Mend what can be; return what was done, in words.

    Shards with faults are taken back, so that the next ingest makes them anew; sums are made anew; notes of dead
    ingests go. What no one can mend from here stays.
    """
    done = []
    shards = {
        (fault.run_id, fault.shard)
        for fault in faults
        if fault.check in SHARDS and fault.run_id is not None and fault.shard is not None
    }
    if shards:
        lost = [fault.file for fault in faults if fault.check in SHARDS and fault.shard is not None and fault.file]
        invalidate_shards(store, sorted(shards), lost)
        done += [f"took back shard {shard} of run {run_id}" for run_id, shard in sorted(shards)]
    stale = sorted({fault.run_id for fault in faults if fault.check in SUMS and fault.run_id})
    if stale:
        store.write(lambda c: removal.forget_sums(c, stale), repeatable=True)
        done.append(f"removed the sums of {len(stale)} runs")
    if completed := complete_runs(store):
        done.append(f"summed up {len(completed)} runs")
    if dead := store.write(forget_dead, repeatable=True):
        done.append(f"removed {dead} notes of ingests that were killed")
    return done


def invalidate_shards(store: Database, shards: Sequence[tuple[str, int]], lost: Sequence[str]) -> None:
    """Take shards back: their rows and what was computed from them; their runs are unfinished then.

    Args:
        store: A store open for writing.
        shards: Run and number of each.
        lost: Files that cannot be read. Deleting rows means reading them, so the catalog is told first that it has
            these files no more. Killed in between, the shards are there without rows, which the next deep examination
            finds; no ingest commits anything beside them.
    """

    def files_of(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            f"update {ducklake.METADATA}.ducklake_data_file"
            f" set end_snapshot = (select max(snapshot_id) from {ducklake.METADATA}.ducklake_snapshot)"
            " where end_snapshot is null and list_contains(?, parse_filename(path))",
            [[path.rpartition("/")[2] for path in lost]],
        )

    def all_else(connection: duckdb.DuckDBPyConnection) -> None:
        sizes = dict(connection.execute("select run_id, shard_size from runs").fetchall())
        for run_id, shard in shards:
            first = shard * sizes[run_id]
            removal.invalidate_shard(connection, run_id, shard, first, first + sizes[run_id])

    if lost:
        store.write(files_of, repeatable=True)
    store.write(all_else, repeatable=True)
