"""Copy a store, or some of its models, into another: laptop to cluster and back. An interrupted copy can be resumed.

Rows are read and rewritten shard by shard, through the same commit and publication as an ingest's, so the copy is a
store like any other; then both sides are compared, row for row.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qubastore.errors import StoreError
from qubastore.lake.database import Database
from qubastore.maintenance.before_copy import check_checkpoints, check_models, check_suites, drop_older_benchmarks
from qubastore.maintenance.run_rows import copy_replicates, fingerprint, rows_of_shard, shards_fit, summarised_at, twice
from qubastore.runs import device_benchmarks, outputs
from qubastore.runs.commit import commit_shards
from qubastore.runs.lookup import named_model
from qubastore.runs.publish import publish_runs
from qubastore.runs.shard import Failure, Shard

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


KEYS = {
    "models": ("model_id",),
    "model_revisions": ("revision",),
    "fingerprints": ("model_id",),
    "checkpoints": ("training", "step"),
    "heads": ("model_id",),
    "head_vectors": ("model_id", "class"),
    "probe_heads": ("model_id",),
    "probe_weights": ("model_id", "class"),
    "unsupported": ("model_id", "condition"),
    "temperatures": ("model_id", "fold"),
    "batch_sizes": ("model_id", "device", "precision", "work"),
    "device_benchmarks": device_benchmarks.KEY,
    "probes": ("probe_id",),
    "datasets": ("dataset_id",),
    "samples": ("dataset_id", "sample_id"),
    "sample_contents": ("dataset_id", "sample_id"),
    "label_sets": ("dataset_id", "label_set", "sample_id"),
    "runs": ("run_id",),
    "derivations": ("run_id", "source_run_id"),
    "own_suites": ("suite", "role", "dataset", "condition", "framing"),
    "annotations": ("scheme", "file_name"),
    "human_trials": ("experiment", "subject", "session", "trial"),
}
"""Table -> its key columns. Rows are copied if the target does not have their key."""


OF_MODEL = (
    *("models", "model_revisions", "fingerprints", "checkpoints", "heads", "head_vectors"),
    *("unsupported", "temperatures", "batch_sizes", "device_benchmarks"),
)


OF_DATASET = ("datasets", "samples", "sample_contents", "label_sets")


OF_RUN = ("runs", "derivations")


PROBES = ("probes", "probe_heads", "probe_weights")
"""Tables of models that are copied after the runs that probes were fitted on."""


OF_STORE = ("own_suites", "annotations", "human_trials")
"""Tables that do not belong to a model: copied only with a whole store."""


@dataclass
class Copied:
    """What was copied.

    Attributes:
        models: Models that are new to the target.
        runs: Runs in the selection.
        shards: Shards that were missing from the target.
        rows: Rows of outputs, logits and features that were compared on both sides.
    """

    models: int = 0
    runs: int = 0
    shards: int = 0
    rows: int = 0


def copy_store(
    source: Database,
    target: Database,
    models: Sequence[str] = (),
    *,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> Copied:
    """Copy what is missing from the target, and compare both sides.

    Args:
        source: The store to read.
        target: A store open for writing.
        models: Names of models; none means all, and everything that does not belong to a model.
        report: Called for every run with its name, the shards done, and the total number of shards.

    Raises:
        UsageError: on an unknown model.
        StoreError: if the two sides differ afterwards, because a run in the target has different rows.
    """
    chosen = [named_model(source, name)[1] for name in models]
    of_models = "list_contains(?, model_id)" if chosen else "true"
    values = [chosen] if chosen else []
    runs = source.rows(
        f"select run_id, model_id, dataset_id from runs where {of_models} order by created_at, run_id", values
    )
    model_ids = [row[0] for row in source.rows(f"select model_id from models where {of_models}", values)]
    dataset_ids = sorted({row[2] for row in runs})
    run_ids = [row[0] for row in runs]
    done = Copied(runs=len(runs))
    there = {row[0] for row in target.rows("select model_id from models")}
    done.models = len(set(model_ids) - there)
    check_models(source, target, sorted(set(model_ids) & there))
    if not chosen:
        check_suites(source, target)
    check_checkpoints(source, target, model_ids)
    drop_older_benchmarks(source, target, model_ids)
    parts = [(table, "model_id", model_ids) for table in OF_MODEL]
    parts += [(table, "dataset_id", dataset_ids) for table in OF_DATASET]
    parts += [(table, "run_id", run_ids) for table in OF_RUN]
    parts += [(table, "", []) for table in OF_STORE if not chosen]
    for part in parts:
        _copy_rows(source, target, *part)
    in_other_shards: set[str] = set()
    for run_id in run_ids:
        copied = _copy_run(source, target, run_id, report)
        if copied is None:
            in_other_shards.add(run_id)
        done.shards += copied or 0
    publish_runs(target)
    probes = [(table, "model_id", model_ids) for table in PROBES]
    for part in probes:
        _copy_rows(source, target, *part)
    parts += probes
    for part in parts:
        _check_rows(source, target, *part)
    summarised = summarised_at(source)
    for run_id in run_ids:
        done.rows += _compare(source, target, run_id, same_shards=run_id not in in_other_shards)
    copy_replicates(source, target, {run_id: summarised[run_id] for run_id in run_ids if run_id in summarised})
    return done


def _rows_of(store: Database, table: str, column: str, ids: Sequence[str]) -> pa.Table:
    where = f" where list_contains(?, {column})" if column else ""
    return store.arrow(f"from {table}{where}", [list(ids)] if column else [])


def _copy_rows(source: Database, target: Database, table: str, column: str, ids: Sequence[str]) -> None:
    """Copy the rows whose key the target does not have; lookup and insertion share one transaction."""
    rows = _rows_of(source, table, column, ids)
    if not len(rows):
        return
    names, key = ", ".join(rows.column_names), KEYS[table]
    same = " and ".join(f"there.{name} is not distinct from copied.{name}" for name in key)

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        connection.register("copied_rows", rows)
        try:
            connection.execute(
                f"insert into {table} ({names})"
                f" select distinct on ({', '.join(key)}) {names} from copied_rows as copied"
                f" where not exists (select 1 from {table} as there where {same})"
            )
        finally:
            connection.unregister("copied_rows")

    target.write(work, repeatable=True)


def _check_rows(source: Database, target: Database, table: str, column: str, ids: Sequence[str]) -> None:
    """Check that the target has every key of the source exactly once.

    Raises:
        StoreError: with the table in which keys are missing or duplicated.
    """
    key = KEYS[table]
    found = []
    for store in (source, target):
        rows = _rows_of(store, table, column, ids).select(list(key))
        found.append(list(zip(*(rows.column(name).to_pylist() for name in key), strict=True)))
    want, got = set(found[0]), found[1]
    if not want <= set(got) or len(set(got)) < len(got):
        raise StoreError(
            f"{table} in {target.location} does not match {source.location}",
            expected=f"{len(want):,} rows, each once",
            found=f"{len(want & set(got)):,} of them, {len(got) - len(set(got)):,} more than once",
            hint="is another process writing to it? Copy again when it is done",
        )


def _copy_run(source: Database, target: Database, run_id: str, report: Callable[[str, int, int], None]) -> int | None:
    """Copy the shards of a run that the target lacks; return their number, None if it has the run in other shards."""
    have = dict(target.rows("select shard, kept from shards where run_id = ?", [run_id]))
    shards = source.rows(
        "select shard, first_sample, n_samples, kept, batch_size, device, seconds, n_by_pillow, committed_at"
        " from shards where run_id = ? order by shard",
        [run_id],
    )
    name = source.rows("select model || ' on ' || dataset from run_details where run_id = ?", [run_id])
    copied = 0
    if not shards_fit(source, target, run_id, {kind for shard in shards for kind in shard[3]}, have):
        return None
    for number, (shard, first, n_samples, kept, batch_size, device, seconds, by_pillow, at) in enumerate(shards):
        report(name[0][0] if name else run_id, number, len(shards))
        if set(kept) <= set(have.get(shard, ())):
            continue
        read = partial(rows_of_shard, source, run_id, shard, first, first + n_samples)
        tables = {kind: table for kind, table in twice(read, source).items() if len(table)}
        written = outputs.write_shard(target.files, run_id, shard, tables)
        failures = source.rows(
            "select sample_id, key, error from failures where run_id = ? and sample_id >= ? and sample_id < ?"
            " order by sample_id",
            [run_id, first, first + n_samples],
        )
        made = Shard(
            run_id,
            shard,
            first,
            n_samples,
            written.files,
            tuple(Failure(*row) for row in failures),
            batch_size,
            device,
            seconds,
            tuple(kept),
            written.checksums,
            by_pillow,
            at,
        )
        commit_shards(target, [made])
        copied += 1
    report(name[0][0] if name else run_id, len(shards), len(shards))
    return copied


def _compare(source: Database, target: Database, run_id: str, *, same_shards: bool) -> int:
    """Compare a run on both sides, row for row; return the number of rows.

    Args:
        source: The store that was read.
        target: The store that was written.
        run_id: The run.
        same_shards: Whether it has the same shards on both sides; if not, the target had the whole run before.

    Raises:
        StoreError: with the run and the table that differ.
    """
    total = 0
    # For a run with an active ingest, compare only what existed when the copy began.
    shards: list[int] | None = [row[0] for row in target.rows("select shard from shards where run_id = ?", [run_id])]
    if shards and not same_shards:
        shards = None
        if not source.rows("select 1 from run_summary where run_id = ?", [run_id]):
            return 0
    for table in (*outputs.KINDS, "failures", "class_summary", "bin_summary", "cue_summary"):
        found = [twice(partial(fingerprint, store, table, run_id, shards), store) for store in (source, target)]
        if table.endswith("summary") and not (found[0][0] and found[1][0]):
            # Not yet complete on one side, or summarised by an older release.
            continue
        if found[0] != found[1]:
            raise StoreError(
                f"{table} of run {run_id} differ between {source.location} and {target.location}",
                expected=f"{found[0][0]:,} rows, the same on both sides",
                found=f"{found[1][0]:,} rows, or other values: the target already had a different version of the run",
                hint=f"qubastore rm run {run_id} --store {shlex.quote(str(target.location))}, then copy again",
            )
        if table in outputs.KINDS:
            total += found[0][0]
    return total
