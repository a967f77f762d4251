"""Committing a shard: its files, its row and its failures in one transaction, once.

The first commit of a shard wins. A later commit that keeps no additional kinds of output is rejected, and its files are
removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from qubastore.errors import DatasetError, QubastoreError, StoreError
from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.runs import records, removal
from qubastore.runs.run import Run
from qubastore.runs.shard import Shard

if TYPE_CHECKING:
    import duckdb


def commit_shard(
    store: Database,
    shard: Shard,
    *,
    dataset_id: str,
    contents: Mapping[int, str] | None = None,
    replace: bool = False,
    run: Run | None = None,
    check: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> bool:
    """Commit one shard as in `commit_shards`; return whether this commit was the first."""
    runs = {run.run_id: run} if run else {}
    return commit_shards(
        store, [shard], dataset_id=dataset_id, contents=contents, replace=replace, runs=runs, check=check
    )[0]


def commit_shards(
    store: Database,
    shards: Sequence[Shard],
    *,
    dataset_id: str,
    contents: Mapping[int, str] | None = None,
    replace: bool = False,
    runs: Mapping[str, Run] | None = None,
    driver: str | None = None,
    check: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> list[bool]:
    """Commit the shards of several runs over the same range of samples in one transaction: all or none, and only once.

    One transaction for all models of a group takes a third of the time of one transaction per model.

    Args:
        store: A store open for writing.
        shards: The shards that the evaluator wrote.
        dataset_id: Dataset of the runs, for `contents`.
        contents: Sample id -> content hash of samples that were decoded for the first time.
        replace: Replace committed shards even if they keep as many kinds of output.
        runs: With `replace`, the current runs by id; their versions replace the stored ones.
        driver: Id of the ingest that commits.
        check: Called inside the transaction; raises if the shards' sources have changed in the meantime.

    Returns:
        For each shard, False if another commit was first; its files are removed in that case.

    Raises:
        StoreError: If a run was removed in the meantime.
        DatasetError: If an image has changed since it was first read.
    """
    if not shards:
        return []

    attempts = 0

    def work(connection: duckdb.DuckDBPyConnection) -> list[bool]:
        nonlocal attempts
        attempts += 1
        # If the connection was lost after the server had committed, there is nothing left to do. Only registered files
        # show this; for shards without files, a second attempt writes the same as the first.
        if attempts > 1:
            ours = [_is_registered(connection, shard) for shard in shards if shard.files]
            if ours and all(ours):
                return [True] * len(shards)
        check(connection)
        ids = [shard.run_id for shard in shards]
        query = "select run_id, shard, kept from shards where list_contains(?, run_id) and list_contains(?, shard)"
        committed = connection.execute(query, [ids, [shard.shard for shard in shards]]).fetchall()
        kept = {(run_id, number): set(kinds) for run_id, number, kinds in committed}
        known = connection.execute("select run_id from runs where list_contains(?, run_id)", [ids]).fetchall()
        if removed := set(ids) - {row[0] for row in known}:
            raise StoreError(f"run {min(removed)} was removed during the ingest", hint="run the same command again")
        # A committed shard is replaced only by one that keeps all its kinds of output and more.
        won = [
            replace or (there := kept.get((shard.run_id, shard.shard))) is None or there < set(shard.kept)
            for shard in shards
        ]
        taken = [shard for shard, is_won in zip(shards, won, strict=True) if is_won]
        for shard in taken:
            if replace and runs and shard.run_id in runs:
                records.replace_run(connection, runs[shard.run_id])
            if (shard.run_id, shard.shard) in kept:
                end = shard.first_sample + shard.n_samples
                removal.invalidate_shard(connection, shard.run_id, shard.shard, shard.first_sample, end)
            for kind, file in shard.files.items():
                connection.execute(
                    "call ducklake_add_data_files(?, ?, ?, hive_partitioning => true)", [ducklake.CATALOG, kind, file]
                )
        failures = [(s.run_id, f.sample_id, f.key, f.error) for s in taken for f in s.failures]
        insert(connection, "failures", failures)
        if contents and taken:
            _record_contents(connection, dataset_id, contents)
        insert(connection, "shards", [_row(shard, driver) for shard in taken])
        return won

    try:
        won = store.write(work, repeatable=True)
    except BaseException:
        # The commit may have taken effect despite the error: files that the catalog refers to are never removed.
        for shard in shards:
            with contextlib.suppress(QubastoreError, OSError):
                if not store.ask(partial(_is_registered, shard=shard)):
                    shard.drop_files(store.files)
        raise
    for number, (shard, is_won) in enumerate(zip(shards, won, strict=True)):
        if not is_won:
            # Or this commit was first: the connection was lost after it, and the second attempt found its shard.
            won[number] = store.ask(partial(_is_registered, shard=shard))
            if not won[number]:
                shard.drop_files(store.files)
    return won


def _row(shard: Shard, driver: str | None) -> tuple[Any, ...]:
    return (
        shard.run_id,
        shard.shard,
        shard.first_sample,
        shard.n_samples,
        shard.n_outputs,
        len(shard.failures),
        list(shard.kept),
        shard.batch_size,
        shard.device,
        shard.seconds,
        shard.committed_at or datetime.now(UTC),
        driver,
        dict(shard.checksums),
    )


def known_contents(store: Database, dataset_id: str) -> dict[int, str]:
    """The content hashes, by sample id, of a dataset's samples that were decoded before."""
    query = "select sample_id, content_hash from sample_contents where dataset_id = ?"
    return dict(store.rows(query, [dataset_id]))


def _is_registered(connection: duckdb.DuckDBPyConnection, shard: Shard) -> bool:
    """Whether the catalog refers to any of a shard's files."""
    names = [file.rpartition("/")[2] for file in shard.files.values()]
    query = (
        f"select count(*) from {ducklake.METADATA}.ducklake_data_file"
        " where end_snapshot is null and list_contains(?, parse_filename(path))"
    )
    row = connection.execute(query, [names]).fetchone()
    return bool(names) and row is not None and row[0] > 0


def _record_contents(connection: duckdb.DuckDBPyConnection, dataset_id: str, contents: Mapping[int, str]) -> None:
    """Store the hashes of samples that have none yet, and compare the others.

    Raises:
        DatasetError: If an image has changed since it was first read.
    """
    query = "select sample_id, content_hash from sample_contents where dataset_id = ? and sample_id between ? and ?"
    known = dict(connection.execute(query, [dataset_id, min(contents), max(contents)]).fetchall())
    check_contents(known, contents)
    new = [(dataset_id, sample, value) for sample, value in contents.items() if sample not in known]
    insert(connection, "sample_contents", new)


def check_contents(known: Mapping[int, str], found: Mapping[int, str], keys: Mapping[int, str] | None = None) -> None:
    """Compare content hashes with the stored ones; `keys` are the samples' names for the error.

    Raises:
        DatasetError: If an image has changed since it was first read.
    """
    for sample, value in found.items():
        if sample in known and known[sample] != value:
            name = (keys or {}).get(sample, f"sample {sample}")
            raise DatasetError(
                f"{name} has changed since it was first read",
                expected=f"content hash {known[sample]}",
                found=value,
                hint="restore the file, or give the changed images another dataset name",
            )
