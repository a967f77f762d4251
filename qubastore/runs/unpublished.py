"""Runs that can be published: every shard is committed, and nothing is summarised yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.lake.ducklake import is_one_of
from qubastore.runs.outputs import KINDS

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class CommittedShard:
    """A committed shard of a run that can be published.

    Attributes:
        shard: Its number.
        first: Its first sample.
        end: One past its last sample.
        n_outputs: Number of samples with outputs.
        kept: Kinds of output.
        committed_at: When it was committed.
        checksums: Kind of output -> hash of the file that the evaluator wrote.
        staged: Kind of output -> staged file, below the store's data path; empty if its rows are already in the tables.
    """

    shard: int
    first: int
    end: int
    n_outputs: int
    kept: tuple[str, ...]
    committed_at: datetime
    checksums: Mapping[str, str]
    staged: Mapping[str, str]

    @property
    def is_staged(self) -> bool:
        """Whether its rows are in staged files; a shard whose images all failed has neither rows nor files."""
        return bool(self.staged) or not self.n_outputs


@dataclass(frozen=True)
class UnpublishedRun:
    """A run whose shards are all committed, and what is needed to publish it.

    Attributes:
        run_id: The run.
        dataset_id: Its dataset.
        label_space: How its outputs became the dataset's classes.
        n_failed: Number of images that could not be decoded.
        has_cues: Whether its images have a shape and a texture.
        shards: Its shards, in order.
    """

    run_id: str
    dataset_id: str
    label_space: str
    n_failed: int
    has_cues: bool
    shards: tuple[CommittedShard, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of output that any shard kept."""
        return tuple(kind for kind in KINDS if any(kind in shard.kept for shard in self.shards))

    @property
    def is_staged(self) -> bool:
        """Whether all rows are in staged files, so that it can be merged without the catalog."""
        return all(shard.is_staged for shard in self.shards)

    @property
    def staged_files(self) -> list[str]:
        """Its staged files, below the store's data path."""
        return [file for shard in self.shards for file in shard.staged.values()]

    def is_same(self, shards: Sequence[CommittedShard]) -> bool:
        """Whether nothing that is published has changed: the shards, their times, their staged files."""

        def state(of: Sequence[CommittedShard]) -> list[tuple[Any, ...]]:
            return [(shard.shard, shard.committed_at, sorted(shard.staged.values())) for shard in of]

        return state(self.shards) == state(shards)


def unpublished_runs(
    store: Database, runs: Sequence[str] | None = None, *, summarised: bool = False
) -> list[UnpublishedRun]:
    """The runs that can be published, the oldest first.

    Args:
        store: An open store.
        runs: Consider only these.
        summarised: Include runs that are published already, to write their files anew.
    """
    chosen = "true" if runs is None else is_one_of("runs.run_id", runs)
    ready = f"""
        select runs.run_id, coalesce(runs.answer_space, datasets.label_space), runs.dataset_id, runs.n_shards
        from runs
        join datasets using (dataset_id)
        join (select run_id, count(*) as n from shards group by run_id) as done using (run_id)
        left join run_summary using (run_id)
        where done.n = runs.n_shards and (run_summary.run_id is null or ?) and {chosen}
        order by runs.created_at, runs.run_id
    """
    found = store.rows(ready, [summarised])
    if not found:
        return []
    ids = [run_id for run_id, *_ in found]
    shards = store.ask(lambda connection: committed_shards(connection, ids))
    failed = dict(store.rows(f"select run_id, count(*) from failures where {is_one_of('run_id', ids)} group by run_id"))
    # Either all images of a dataset have a texture, or none.
    with_cues = {
        dataset_id
        for (dataset_id,) in store.rows(
            "select dataset_id from samples where list_contains(?, dataset_id) and sample_id = 0"
            " and factors['texture'] is not null",
            [sorted({dataset_id for _, _, dataset_id, _ in found})],
        )
    }
    return [
        UnpublishedRun(run_id, dataset_id, space, failed.get(run_id, 0), dataset_id in with_cues, shards[run_id])
        for run_id, space, dataset_id, n_shards in found
        # A shard may have been invalidated, or the run removed, since the first query.
        if len(shards[run_id]) == n_shards
    ]


def committed_shards(
    connection: duckdb.DuckDBPyConnection, runs: Sequence[str]
) -> dict[str, tuple[CommittedShard, ...]]:
    """The committed shards of runs, in order."""
    staged: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    chosen = is_one_of("run_id", runs)
    query = f"select run_id, shard, kind, file from staged_files where {chosen}"
    for run_id, shard, kind, file in connection.execute(query).fetchall():
        staged[run_id, shard][kind] = file
    query = f"""
        select run_id, shard, first_sample, first_sample + n_samples, n_outputs, kept, committed_at, checksums
        from shards where {chosen} order by run_id, shard
    """
    shards: dict[str, list[CommittedShard]] = {run_id: [] for run_id in runs}
    for run_id, number, first, end, n_outputs, kept, at, checksums in connection.execute(query).fetchall():
        known = CommittedShard(
            number, first, end, n_outputs, tuple(kept), at, dict(checksums or {}), staged.get((run_id, number), {})
        )
        shards[run_id].append(known)
    return {run_id: tuple(each) for run_id, each in shards.items()}
