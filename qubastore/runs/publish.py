"""Publishing runs: once all shards of a run are committed, it becomes visible as a whole, with its sums and metrics.

The staged files of its shards are merged into one file per table. One transaction registers the new files, stores the
sums and metrics, and forgets the staged files, which are removed afterwards. A kill before it loses only the merged
files, a kill after it leaves only staged files: both are orphans for `qubastore gc`. Several processes may publish the
same run: the first one wins.

It is an idempotent, separate step that runs at every start of an ingest, so that it completes what a killed ingest left
undone, and computes a metric that is new in this release for every old run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from qubastore.errors import StoreError
from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.lake.tidy import SMALL_TABLES, tidy
from qubastore.metrics.catalogue import METRICS
from qubastore.runs.damage import damage_error, invalidate_damaged
from qubastore.runs.image_sets import image_set
from qubastore.runs.metrics import store_metrics, view_metrics
from qubastore.runs.outputs import KINDS
from qubastore.runs.publication import Damage, Publication, ReadRows, prepare
from qubastore.runs.summaries import RUNS_AT_ONCE, SUMMARIES, with_cues
from qubastore.runs.unpublished import committed_shards, unpublished_runs

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


SECONDS_AT_ONCE = 5.0
"""Seconds after which prepared runs are stored, though there could be more of them in a transaction."""


def publish_runs(
    store: Database,
    runs: Sequence[str] | None = None,
    *,
    damaged: Callable[[Damage], None] | None = None,
    replicates: bool = False,
) -> list[str]:
    """Publish every run whose shards are all committed, and store missing metrics; return the published runs.

    Args:
        store: A store open for writing.
        runs: Consider only these, and no metrics of other runs.
        damaged: Called for each shard whose staged files cannot be read; it is invalidated, and its run stays
            unfinished.
        replicates: Compute and store the bootstrap replicates of these runs, too: of the accuracy, and of the figures
            of `clean_runs` that depend on confidences.

    Raises:
        StoreError: If such a shard is found and there is no `damaged`.
    """
    waiting = unpublished_runs(store, runs)
    clean = clean_runs(store, [run.run_id for run in waiting]) if replicates else set()
    prepared = (
        prepare(
            run,
            store.files,
            reader(store),
            images=image_set(store, run.dataset_id) if replicates else None,
            confidences=run.run_id in clean,
        )
        for run in waiting
    )
    done = store_publications(store, prepared, damaged=damaged)
    if runs is None:
        store_metrics(store)
    return done


def clean_runs(store: Database, runs: Sequence[str]) -> set[str]:
    """Those of `runs` that can be the clean run of a suite, whose calibration and class balance are ranked."""
    if not runs:
        return set()
    query = """
        select run_id from runs join datasets using (dataset_id)
        where list_contains(?, run_id) and condition = 'clean'
            and name in (select dataset from suites where role = 'clean')
    """
    return {run_id for (run_id,) in store.rows(query, [list(runs)])}


def store_publications(
    store: Database, prepared: Iterable[Publication], *, damaged: Callable[[Damage], None] | None = None
) -> list[str]:
    """Store publications as they are prepared, many in a transaction; return the runs that were published by it.

    Args:
        store: A store open for writing.
        prepared: The publications.
        damaged: Called for each damaged shard, as in `publish_runs`.
    """
    done: list[str] = []
    waiting: list[Publication] = []
    since = time.monotonic()
    for publication in prepared:
        if publication.damaged:
            if not invalidate_damaged(store, publication.damaged, publication.run):
                continue
            for damage in publication.damaged:
                if damaged is None:
                    raise damage_error(damage)
                damaged(damage)
            continue
        waiting.append(publication)
        if len(waiting) >= RUNS_AT_ONCE or time.monotonic() - since > SECONDS_AT_ONCE:
            done += _store(store, waiting)
            waiting, since = [], time.monotonic()
    done += _store(store, waiting)
    if done:
        # What was published is stored. Small tables that cannot be merged now are merged the next time.
        with contextlib.suppress(StoreError):
            tidy(store, SMALL_TABLES)
    return done


def reader(store: Database) -> ReadRows:
    """A function that reads published rows of a run, for `prepare`."""

    def read(run_id: str, kind: str, first: int, end: int) -> pa.Table:
        query = f"from {kind} where run_id = ? and sample_id >= ? and sample_id < ? order by sample_id"
        return store.arrow(query, [run_id, first, end])

    return read


def _store(store: Database, publications: Sequence[Publication]) -> list[str]:
    """Store publications in one transaction; return the runs that it published."""
    if not publications:
        return []
    summaries = with_cues(
        store,
        [each.summary for each in publications if each.summary is not None],
        [each.predictions for each in publications if each.predictions is not None],
    )
    metrics = [row for each in publications for row in each.metrics]
    if summaries:
        of_views = [metric for metric in METRICS if metric.over == "run" and metric.view]
        metrics += view_metrics(store, {summary.run[0]: of_views for summary in summaries}, metrics, summaries)
    runs = [each.run.run_id for each in publications]
    attempts = 0

    def work(connection: duckdb.DuckDBPyConnection) -> list[str]:
        nonlocal attempts
        attempts += 1
        if attempts > 1 and (ours := _stored(connection, store, publications)):
            # The connection was lost after the server had committed: there is nothing left to do.
            return ours
        now = committed_shards(connection, runs)
        query = "select run_id from run_summary where list_contains(?, run_id)"
        summarised = {row[0] for row in connection.execute(query, [runs]).fetchall()}
        # Skip runs that were removed, whose shards changed, or that another process has published.
        won = [
            each
            for each in publications
            if each.run.is_same(now[each.run.run_id]) and (each.summary is None) == (each.run.run_id in summarised)
        ]
        ids = {each.run.run_id for each in won}
        _replace_files(connection, store, [each for each in won if each.files or each.run.staged_files])
        for table in SUMMARIES:
            insert(connection, table, [row for each in summaries if each.run[0] in ids for row in each.rows(table)])
        insert(connection, "run_metrics", [row for row in metrics if row[0] in ids])
        defined = {row[:2] for row in metrics if row[3] is not None}
        insert(connection, "replicates", [row for each in won for row in each.replicates if row[:2] in defined])
        return [each.run.run_id for each in won]

    # If this fails, it may have taken effect, or do so yet: the new files stay, and are orphans for gc if it does not.
    published = store.write(work, repeatable=True)
    with contextlib.suppress(OSError):  # what cannot be removed now is an orphan, too
        _remove_files(store, publications, published)
    return published


def _replace_files(connection: duckdb.DuckDBPyConnection, store: Database, publications: Sequence[Publication]) -> None:
    """Register the files of publications in place of those that their runs have, and forget the staged files."""
    runs = [each.run.run_id for each in publications]
    if not runs:
        return
    for kind, run_id in runs_with_files(connection, runs):
        connection.execute(f"delete from {kind} where run_id = ?", [run_id])
    for kind in KINDS:
        if paths := [file.path for each in publications for file in each.files if file.kind == kind]:
            connection.execute(
                "call ducklake_add_data_files(?, ?, ?, hive_partitioning => true)", [ducklake.CATALOG, kind, paths]
            )
    for table in ("staged_files", "run_files"):
        connection.execute(f"delete from {table} where list_contains(?, run_id)", [runs])
    insert(
        connection,
        "run_files",
        [
            (each.run.run_id, file.kind, file.part, store.files.below(file.path), file.n_rows, file.checksum)
            for each in publications
            for file in each.files
        ],
    )


def runs_with_files(
    connection: duckdb.DuckDBPyConnection, runs: Sequence[str] | None = None
) -> dict[tuple[str, str], int]:
    """(Kind of output, run) -> number of files in the latest snapshot, of all runs or of some."""
    rows = connection.execute(
        f"""
        select tables.table_name, partitions.partition_value, count(*)
        from {ducklake.METADATA}.ducklake_file_partition_value as partitions
        join {ducklake.METADATA}.ducklake_data_file as files using (data_file_id)
        join {ducklake.METADATA}.ducklake_table as tables on tables.table_id = files.table_id
        where files.end_snapshot is null and tables.end_snapshot is null and list_contains(?, tables.table_name)
            and (? or list_contains(?, partitions.partition_value))
        group by all
        """,
        [list(KINDS), runs is None, list(runs or ())],
    ).fetchall()
    return {(kind, run_id): n for kind, run_id, n in rows}


def _stored(connection: duckdb.DuckDBPyConnection, store: Database, publications: Sequence[Publication]) -> list[str]:
    """The runs whose publication, and not another one, is stored."""
    runs = [each.run.run_id for each in publications]
    query = "select file from run_files where list_contains(?, run_id)"
    files = {row[0] for row in connection.execute(query, [runs]).fetchall()}
    query = "select run_id, computed_at from run_summary where list_contains(?, run_id)"
    computed = dict(connection.execute(query, [runs]).fetchall())
    return [
        each.run.run_id
        for each in publications
        if (each.files and store.files.below(each.files[0].path) in files)
        or (each.summary is not None and computed.get(each.run.run_id) == each.summary.run[-1])
    ]


def _remove_files(store: Database, publications: Sequence[Publication], published: Sequence[str]) -> None:
    """Remove the staged files of runs that were published, and the new files of those that were not."""
    for each in publications:
        if each.run.run_id in published:
            store.files.remove_all([store.files.path(file) for file in each.run.staged_files])
        else:
            store.files.remove_all([file.path for file in each.files])
