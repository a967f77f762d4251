"""Repair the faults that `qubastore.maintenance.doctor` finds."""

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
    """Repair the faults that can be repaired, and return a description of each repair.

    Shards with faults are invalidated, so that the next ingest computes them again; summaries are recomputed; sessions
    of killed ingests are removed. Other faults are left as they are.
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
        done += [f"invalidated shard {shard} of run {run_id}" for run_id, shard in sorted(shards)]
    stale = sorted({fault.run_id for fault in faults if fault.check in SUMS and fault.run_id})
    if stale:
        store.write(lambda c: removal.delete_summaries(c, stale), repeatable=True)
        done.append(f"removed the summaries of {len(stale)} runs")
    if completed := complete_runs(store):
        done.append(f"summarised {len(completed)} runs")
    if dead := store.write(forget_dead, repeatable=True):
        done.append(f"removed {dead} sessions of killed ingests")
    return done


def invalidate_shards(store: Database, shards: Sequence[tuple[str, int]], lost: Sequence[str]) -> None:
    """Remove the rows of shards and everything computed from them; their runs become unfinished.

    Args:
        store: A store open for writing.
        shards: (run id, shard number) of each shard.
        lost: Files that cannot be read. Deleting rows would read them, so they are removed from the catalog first. If
            the process is killed in between, the shards are left without rows; the next deep examination finds that,
            and no ingest commits anything in addition to them.
    """

    def drop_files(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            f"update {ducklake.METADATA}.ducklake_data_file"
            f" set end_snapshot = (select max(snapshot_id) from {ducklake.METADATA}.ducklake_snapshot)"
            " where end_snapshot is null and list_contains(?, parse_filename(path))",
            [[path.rpartition("/")[2] for path in lost]],
        )

    def drop_rows(connection: duckdb.DuckDBPyConnection) -> None:
        sizes = dict(connection.execute("select run_id, shard_size from runs").fetchall())
        for run_id, shard in shards:
            first = shard * sizes[run_id]
            removal.invalidate_shard(connection, run_id, shard, first, first + sizes[run_id])

    if lost:
        store.write(drop_files, repeatable=True)
    store.write(drop_rows, repeatable=True)
