"""Committing shards: their rows, the names of their staged files, and their failures in one transaction, once.

The first commit of a shard wins. A later commit that keeps no additional kinds of output is rejected, and its files are
removed. What is committed becomes visible in the tables of outputs when its run is published
(`qubastore.runs.publish`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as changed
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qubastore.errors import DatasetError, QubastoreError, StoreError
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
    found = {dataset_id: contents} if contents else {}
    return commit_shards(store, [shard], contents=found, replace=replace, runs=runs, check=check)[0]


def commit_shards(
    store: Database,
    shards: Sequence[Shard],
    *,
    contents: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
    replace: bool = False,
    runs: Mapping[str, Run] = MappingProxyType({}),
    driver: str | None = None,
    check: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> list[bool]:
    """Commit shards in one transaction: all or none, and each only once.

    A transaction has a fixed cost, so many shards at once take little longer than one.

    Args:
        store: A store open for writing.
        shards: The shards that evaluators wrote, each once.
        contents: Dataset id -> sample id -> content hash of samples that were decoded for the first time.
        replace: Replace committed shards even if they keep as many kinds of output.
        runs: With `replace`, the current runs by id; their versions replace the stored ones.
        driver: Id of the ingest that commits.
        check: Called inside the transaction; raises if the shards' sources have changed in the meantime.

    Returns:
        For each shard, False if another commit was first; its files are removed in that case.

    Raises:
        StoreError: If a run was removed in the meantime, or a shard is not one of its run's.
        DatasetError: If an image has changed since it was first read.
    """
    if not shards:
        return []
    now = datetime.now(UTC)
    # The time tells this commit from others, should its answer be lost.
    shards = [changed(shard, committed_at=shard.committed_at or now) for shard in shards]
    ids = sorted({shard.run_id for shard in shards})
    attempts = 0

    def work(connection: duckdb.DuckDBPyConnection) -> list[bool]:
        nonlocal attempts
        attempts += 1
        check(connection)
        query = "select run_id, shard, kept, committed_at, driver_id from shards where list_contains(?, run_id)"
        committed = {(row[0], row[1]): row[2:] for row in connection.execute(query, [ids]).fetchall()}
        if attempts > 1 and all(_is_ours(committed.get((s.run_id, s.shard)), s, driver) for s in shards):
            # The connection was lost after the server had committed: there is nothing left to do.
            return [True] * len(shards)
        query = """
            select run_id, shard_size, n_shards, datasets.n_samples
            from runs left join datasets using (dataset_id)
            where list_contains(?, run_id)
        """
        sizes = {run_id: sizes for run_id, *sizes in connection.execute(query, [ids]).fetchall()}
        if removed := set(ids) - sizes.keys():
            raise StoreError(f"run {min(removed)} was removed during the ingest", hint="run the same command again")
        for shard in shards:
            _check_range(shard, *sizes[shard.run_id])
        # A committed shard is replaced only by one that keeps all its kinds of output and more.
        won = [
            replace or (there := committed.get((s.run_id, s.shard))) is None or set(there[0]) < set(s.kept)
            for s in shards
        ]
        taken = [shard for shard, is_won in zip(shards, won, strict=True) if is_won]
        for run_id in sorted({shard.run_id for shard in taken} & runs.keys()) if replace else ():
            records.replace_run(connection, runs[run_id])
        for shard in taken:
            if (shard.run_id, shard.shard) in committed:
                # Published rows are replaced when the run is published again, if there is anything to replace them.
                forget = removal.forget_shard if shard.files else removal.invalidate_shard
                forget(connection, shard.run_id, shard.shard, *_range(shard))
        failures = [(s.run_id, f.sample_id, f.key, f.error) for s in taken for f in s.failures]
        insert(connection, "failures", failures)
        if taken:
            for dataset_id, found in contents.items():
                _record_contents(connection, dataset_id, found)
        insert(connection, "shards", [_row(shard, driver) for shard in taken])
        insert(connection, "staged_files", [row for shard in taken for row in _staged(store, shard)])
        return won

    try:
        won = store.write(work, repeatable=True)
    except BaseException:
        # The commit may have taken effect despite the error.
        for shard in shards:
            with contextlib.suppress(QubastoreError, OSError):
                _drop_unless_staged(store, shard)
        raise
    for shard, is_won in zip(shards, won, strict=True):
        if not is_won:
            _drop_unless_staged(store, shard)
    return won


def _is_ours(row: tuple[Any, ...] | None, shard: Shard, driver: str | None) -> bool:
    """Whether the committed row of a shard (kept, committed_at, driver_id) is that of this very commit."""
    return row is not None and row[1:] == (shard.committed_at, driver) and set(row[0]) == set(shard.kept)


def _check_range(shard: Shard, shard_size: int, n_shards: int, n_samples: int | None) -> None:
    """Reject a shard with a range of samples that is not that of the run's shard of this number."""
    first, end = _range(shard)
    whole = (shard.shard * shard_size, min((shard.shard + 1) * shard_size, end if n_samples is None else n_samples))
    if (first, end) != whole or shard.shard >= n_shards:
        raise StoreError(
            f"shard {shard.shard} of run {shard.run_id} has samples {first} to {end - 1}",
            expected=f"one of {n_shards} shards of {shard_size} samples: another process changed the run",
            hint="run the same command again",
        )


def _range(shard: Shard) -> tuple[int, int]:
    return shard.first_sample, shard.first_sample + shard.n_samples


def _staged(store: Database, shard: Shard) -> list[tuple[Any, ...]]:
    return [(shard.run_id, shard.shard, kind, store.files.below(file)) for kind, file in shard.files.items()]


def _drop_unless_staged(store: Database, shard: Shard) -> None:
    """Remove a shard's files, unless the store refers to them."""
    names = [store.files.below(file) for file in shard.files.values()]
    query = "select count(*) from staged_files where run_id = ? and list_contains(?, file)"
    if store.rows(query, [shard.run_id, names]) == [(0,)]:
        shard.drop_files(store.files)


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
        shard.committed_at,
        driver,
        dict(shard.checksums),
        shard.n_by_pillow,
    )


def known_contents(store: Database, dataset_id: str) -> dict[int, str]:
    """The content hashes, by sample id, of a dataset's samples that were decoded before."""
    query = "select sample_id, content_hash from sample_contents where dataset_id = ?"
    return dict(store.rows(query, [dataset_id]))


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
