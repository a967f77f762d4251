"""Staged files that cannot be read when their run is published: whether it is so, and invalidating their shards."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qubastore.errors import StoreError
from qubastore.hashing import checksum
from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.runs import removal
from qubastore.runs.publication import Damage
from qubastore.runs.unpublished import CommittedShard, UnpublishedRun, committed_shards

if TYPE_CHECKING:
    import duckdb


def damage_error(damage: Damage) -> StoreError:
    """The error for a shard whose staged files cannot be read."""
    return StoreError(
        f"shard {damage.shard} of run {damage.run_id} cannot be published",
        found=f"{damage.file}: {damage.found}" if damage.file else damage.found,
        hint="run the same command again: the shard is made anew",
    )


def invalidate_damaged(store: Database, damaged: Sequence[Damage], run: UnpublishedRun) -> bool:
    """Invalidate the damaged shards of a run; return False if they have changed since they were read.

    Raises:
        StoreError: If the store's other files cannot be read either, or if a file can be read here.
    """
    shards = {shard.shard: shard for shard in run.shards if shard.shard in {damage.shard for damage in damaged}}

    def work(connection: duckdb.DuckDBPyConnection) -> bool:
        # A publication by another process, which removes the files, is not damage.
        if not run.is_same(committed_shards(connection, [run.run_id])[run.run_id]):
            return False
        for number, shard in shards.items():
            removal.invalidate_shard(connection, run.run_id, number, shard.first, shard.end)
        return True

    if not run.is_same(store.ask(lambda connection: committed_shards(connection, [run.run_id]))[run.run_id]):
        return False
    _check_files(store, damaged, shards)
    done = store.write(work, repeatable=True)
    if done:
        with contextlib.suppress(OSError):
            store.files.remove_all(
                [store.files.path(file) for each in shards.values() for file in each.staged.values()]
            )
    return done


def _is_damaged(store: Database, shard: CommittedShard) -> bool:
    """Whether this process cannot read the staged files of a shard, or finds other bytes."""
    try:
        return any(
            checksum(store.files.read(store.files.path(file))) != shard.checksums.get(kind)
            for kind, file in shard.staged.items()
        )
    except FileNotFoundError:
        return True


def _check_files(store: Database, damaged: Sequence[Damage], shards: Mapping[int, CommittedShard]) -> None:
    """Check that damage is damage: that this process has access to the store's files, and finds it too.

    Raises:
        StoreError: If the folder is not mounted here, or only where the damage was found.
    """
    listed = f"ducklake_list_files({ducklake.quote(ducklake.CATALOG)}, 'published_results')"
    for (path,) in store.rows(f"select data_file from {listed} limit 1"):
        try:
            store.files.read(path)
        except OSError as error:
            raise StoreError(
                f"the files of {store.location} cannot be read",
                found=f"{path}: {error.strerror or error}",
                hint="is the folder mounted, is it the right bucket?",
            ) from None
    if any(damage.file for damage in damaged) and not any(_is_damaged(store, shard) for shard in shards.values()):
        raise StoreError(
            f"{damaged[0].file} can be read here, but not where it was to be merged",
            found=damaged[0].found,
            hint="do all nodes have access to the store's files? Run the same command again",
        )
