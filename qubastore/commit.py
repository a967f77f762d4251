"""Committing a shard: its files, its row and its failures in one transaction, once.

The first commit of a shard wins. A later one that offers nothing more is told so, and drops its files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore import engine, outputs, registry
from qubastore.errors import DatasetError, QubastoreError, StoreError
from qubastore.runs import Run
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Failure:
    """An image that could not be decoded."""

    sample_id: int
    key: str
    error: str


@dataclass(frozen=True)
class Shard:
    """What an evaluator hands over of one run: names of files that it wrote, and counts.

    Attributes:
        run_id: The run.
        shard: Its number.
        first_sample: Its first sample.
        n_samples: Samples that were tried.
        files: Kind (outputs, logits, features) -> Parquet file below the store's data path.
        failures: Images that could not be decoded.
        batch_size: Images of a forward pass.
        device: What it ran on.
        seconds: Time of the forward passes.
        kept: Kinds that were kept.
    """

    run_id: str
    shard: int
    first_sample: int
    n_samples: int
    files: Mapping[str, str]
    failures: Sequence[Failure] = ()
    batch_size: int = 0
    device: str = ""
    seconds: float = 0.0
    kept: tuple[str, ...] = ("outputs",)

    @property
    def n_outputs(self) -> int:
        """Samples that have a row."""
        return self.n_samples - len(self.failures)

    def drop_files(self) -> None:
        """Remove the files of a shard that will not be committed."""
        for file in self.files.values():
            Path(file).unlink(missing_ok=True)


def commit_shard(
    store: Store,
    shard: Shard,
    *,
    dataset_id: str,
    contents: Mapping[int, str] | None = None,
    replace: bool = False,
    run: Run | None = None,
    check: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> bool:
    """Register a shard: all of it, or nothing, and only once.

    Args:
        store: A store open for writing.
        shard: What the evaluator wrote.
        dataset_id: Dataset of the run, for `contents`.
        contents: Sample id -> content hash of samples decoded for the first time.
        replace: Take the place of what is committed, even if that keeps as much.
        run: With `replace`, the run as it is now: its versions take the place of those noted.
        check: Looks inside the transaction whether what the shard was made from still holds, and raises if not.

    Returns:
        False where another commit was first; the shard's files are gone then.

    Raises:
        StoreError: where the run was removed in the meantime.
        DatasetError: where an image is another one than when it was first read.
    """

    def work(connection: duckdb.DuckDBPyConnection) -> bool:
        check(connection)
        kept = connection.execute(
            "select kept from shards where run_id = ? and shard = ?", [shard.run_id, shard.shard]
        ).fetchone()
        if not registry.exists(connection, "runs", "run_id", shard.run_id):
            raise StoreError(
                f"run {shard.run_id} was removed while it was worked on", hint="run the same command again"
            )
        # What is there gives way to more of the same, never to something that lacks a kind it has.
        if kept is not None and not replace and not set(kept[0]) < set(shard.kept):
            return False
        if replace and run is not None:
            registry.replace_run(connection, run)
        if kept is not None:
            _remove_shard(connection, shard)
        for kind, file in shard.files.items():
            connection.execute(
                "call ducklake_add_data_files(?, ?, ?, hive_partitioning => true)", [engine.CATALOG, kind, file]
            )
        registry.insert(connection, "failures", [(shard.run_id, f.sample_id, f.key, f.error) for f in shard.failures])
        if contents:
            _record_contents(connection, dataset_id, contents)
        row = (
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
            datetime.now(UTC),
        )
        registry.insert(connection, "shards", [row])
        return True

    try:
        committed = store.write(work)
    except BaseException:
        # An error may reach us although the commit took effect: what the catalog refers to is never removed.
        with contextlib.suppress(QubastoreError):
            if not _is_registered(store, shard):
                shard.drop_files()
        raise
    if not committed:
        shard.drop_files()
    return committed


def known_contents(store: Store, dataset_id: str) -> dict[int, str]:
    """Sample id -> content hash, for the samples of a dataset that were decoded before."""
    query = "select sample_id, content_hash from sample_contents where dataset_id = ?"
    return dict(store.rows(query, [dataset_id]))


def _is_registered(store: Store, shard: Shard) -> bool:
    """Whether the catalog refers to any of a shard's files."""
    for kind, file in shard.files.items():
        query = f"select count(*) from ducklake_list_files({engine.quote(engine.CATALOG)}, {engine.quote(kind)})"
        if store.rows(f"{query} where ends_with(data_file, ?)", [Path(file).name])[0][0]:
            return True
    return False


def _remove_shard(connection: duckdb.DuckDBPyConnection, shard: Shard) -> None:
    registry.empty_derived(connection, shard.run_id)
    # What was summed up over the old rows goes with them: the run is complete again once it is summed up anew.
    for table in registry.SUMMARY_TABLES:
        connection.execute(f"delete from {table} where run_id = ?", [shard.run_id])
    connection.execute("delete from shards where run_id = ? and shard = ?", [shard.run_id, shard.shard])
    end = shard.first_sample + shard.n_samples
    for table in (*outputs.KINDS, "failures"):
        connection.execute(
            f"delete from {table} where run_id = ? and sample_id >= ? and sample_id < ?",
            [shard.run_id, shard.first_sample, end],
        )


def _record_contents(connection: duckdb.DuckDBPyConnection, dataset_id: str, contents: Mapping[int, str]) -> None:
    """Record the hashes of samples that have none yet, and compare the others.

    Raises:
        DatasetError: where an image is another one than when it was first read.
    """
    query = "select sample_id, content_hash from sample_contents where dataset_id = ? and sample_id between ? and ?"
    known = dict(connection.execute(query, [dataset_id, min(contents), max(contents)]).fetchall())
    check_contents(known, contents)
    new = [(dataset_id, sample, value) for sample, value in contents.items() if sample not in known]
    registry.insert(connection, "sample_contents", new)


def check_contents(known: Mapping[int, str], found: Mapping[int, str], keys: Mapping[int, str] | None = None) -> None:
    """Compare content hashes.

    Raises:
        DatasetError: where an image is another one than when it was first read.
    """
    for sample, value in found.items():
        if sample in known and known[sample] != value:
            name = (keys or {}).get(sample, f"sample {sample}")
            raise DatasetError(
                f"{name} has changed since it was first read",
                expected=f"content hash {known[sample]}",
                found=value,
                hint="restore the file, or give the changed images a dataset name of their own",
            )
