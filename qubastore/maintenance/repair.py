"""Repair the faults that `qubastore.maintenance.doctor` finds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.maintenance.checks import SHARDS, SUMS, UNREADABLE, Fault
from qubastore.maintenance.files import COMPUTED_AGAIN, still_kept
from qubastore.runs import removal
from qubastore.runs.publication import Damage
from qubastore.runs.publish import publish_runs
from qubastore.runs.sessions import forget_dead

if TYPE_CHECKING:
    import duckdb


def repair(store: Database, faults: Sequence[Fault]) -> list[str]:
    """Repair the faults that can be repaired, and return a description of each repair.

    Shards with faults are invalidated, so that the next ingest computes them again; summaries are recomputed; sessions
    of killed ingests are removed. Other faults are left as they are, and so is everything if most files are missing.
    """
    if any(fault.check == "files_gone" for fault in faults):
        return []
    done = []
    again = [f.file for f in faults if f.check in UNREADABLE and f"/main/{COMPUTED_AGAIN}/" in f.file]
    if again:
        store.write(partial(_drop_files, paths=again), repeatable=True)
        done.append(f"forgot {len(again)} files of {COMPUTED_AGAIN}, which are computed again when they are wanted")
    faulty = [fault for fault in faults if fault.check in SHARDS and fault.run_id is not None]
    # An ingest may have published a run since its files were examined.
    still = still_kept(store, [fault.file for fault in faulty]) if any(fault.file for fault in faulty) else set()
    faulty = [fault for fault in faulty if not fault.file or fault.file in still]
    lost = [fault.file for fault in faulty if fault.file]
    # The files of a published run hold all its shards.
    runs = sorted({str(fault.run_id) for fault in faulty if fault.shard is None and fault.file})
    shards = sorted({(str(f.run_id), f.shard) for f in faulty if f.shard is not None and f.run_id not in runs})
    if runs or shards:
        invalidate(store, runs, shards, lost)
        done += [f"invalidated run {run_id}" for run_id in runs]
        done += [f"invalidated shard {shard} of run {run_id}" for run_id, shard in shards]
    stale = sorted({fault.run_id for fault in faults if fault.check in SUMS and fault.run_id})
    if stale:
        store.write(lambda c: removal.delete_summaries(c, stale), repeatable=True)
        done.append(f"removed the summaries of {len(stale)} runs")
    damaged: list[Damage] = []
    if published := publish_runs(store, damaged=damaged.append):
        done.append(f"summarised {len(published)} runs")
    done += [f"invalidated shard {damage.shard} of run {damage.run_id}" for damage in damaged]
    if dead := store.write(forget_dead, repeatable=True):
        done.append(f"removed {dead} sessions of killed ingests")
    return done


def _drop_files(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Remove files from the latest snapshot, with their rows, without reading them."""
    connection.execute(
        f"update {ducklake.METADATA}.ducklake_data_file"
        f" set end_snapshot = (select max(snapshot_id) from {ducklake.METADATA}.ducklake_snapshot)"
        " where end_snapshot is null and list_contains(?, parse_filename(path))",
        [[path.rpartition("/")[2] for path in paths]],
    )


def invalidate(
    store: Database, runs: Sequence[str], shards: Sequence[tuple[str, int]], lost: Sequence[str] = ()
) -> None:
    """Remove the rows of runs or of single shards, and everything computed from them; the runs become unfinished.

    Args:
        store: A store open for writing.
        runs: Ids of runs, all shards of which are removed.
        shards: (run id, shard number) of each shard.
        lost: Files that cannot be read. Deleting rows would read them, so they are removed from the catalog first. If
            the process is killed in between, the shards are left without rows; the next deep examination finds that,
            and no ingest commits anything in addition to them.
    """

    def drop_rows(connection: duckdb.DuckDBPyConnection) -> None:
        for run_id in runs:
            removal.empty_run(connection, run_id)
        sizes = dict(connection.execute("select run_id, shard_size from runs").fetchall())
        for run_id, shard in shards:
            first = shard * sizes[run_id]
            removal.invalidate_shard(connection, run_id, shard, first, first + sizes[run_id])

    if lost:
        store.write(partial(_drop_files, paths=lost), repeatable=True)
    store.write(drop_rows, repeatable=True)
