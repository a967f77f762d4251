"""Removing models, runs and shards with everything that was computed from them, inside a caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qubastore.runs.outputs import KINDS
from qubastore.runs.summaries import SUMMARIES

if TYPE_CHECKING:
    import duckdb


SUMMARY_TABLES = (*SUMMARIES, "run_metrics", "replicates")
"""The tables of what is computed from a run's outputs when it is published, or later."""


RUN_TABLES = (*KINDS, "failures", "shards", "staged_files", "run_files", *SUMMARY_TABLES, "derivations")
"""Every table with rows of a run, except `runs` itself."""


def empty_derived(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Delete everything that was computed from the outputs of a run, in the transaction that changes them.

    Derived runs (and runs derived from them) are kept as unfinished runs, with the command that computes them again;
    probes of its features are deleted, and so are the heads of models that were fitted on them.
    """
    connection.execute("delete from probes where list_contains([train_run_id, val_run_id, test_run_id], ?)", [run_id])
    of_run = "select model_id from probe_heads where list_contains([train_run_id, val_run_id], ?)"
    for table in ("probe_weights", "probe_heads"):
        connection.execute(f"delete from {table} where model_id in ({of_run})", [run_id])
    # Temperatures that were fitted on the run's logits; the architecture of a derived model contains the run's id.
    fitted = "select model_id from models where loader = 'derived' and contains(architecture, ?)"
    connection.execute(f"delete from temperatures where model_id in ({fitted})", [f'"fit_on":"{run_id}"'])
    query = "select distinct run_id from derivations where source_run_id = ?"
    for (derived,) in connection.execute(query, [run_id]).fetchall():
        empty_run(connection, derived)


def delete_summaries(connection: duckdb.DuckDBPyConnection, runs: Sequence[str]) -> None:
    """Delete the summaries and metrics of runs, which are published again once they are summarised again."""
    for table in SUMMARY_TABLES:
        connection.execute(f"delete from {table} where list_contains(?, run_id)", [list(runs)])


def forget_shard(connection: duckdb.DuckDBPyConnection, run_id: str, shard: int, first: int, end: int) -> None:
    """Remove a shard of samples `first` to `end` - 1, and everything that was computed from its run.

    Rows of it that were published stay where they are until the run is published again, which replaces them.
    """
    empty_derived(connection, run_id)
    delete_summaries(connection, [run_id])
    for table in ("shards", "staged_files"):
        connection.execute(f"delete from {table} where run_id = ? and shard = ?", [run_id, shard])
    connection.execute(
        "delete from failures where run_id = ? and sample_id >= ? and sample_id < ?", [run_id, first, end]
    )


def invalidate_shard(connection: duckdb.DuckDBPyConnection, run_id: str, shard: int, first: int, end: int) -> None:
    """Remove a shard as `forget_shard` does, and its published rows."""
    forget_shard(connection, run_id, shard, first, end)
    for kind in KINDS:
        connection.execute(
            f"delete from {kind} where run_id = ? and sample_id >= ? and sample_id < ?", [run_id, first, end]
        )


def empty_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Remove everything that a run keeps, and what was computed from it: it is planned, but nothing of it is done."""
    empty_derived(connection, run_id)
    for table in RUN_TABLES:
        if table != "derivations":
            connection.execute(f"delete from {table} where run_id = ?", [run_id])


def remove_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Remove a run with everything that was computed from it."""
    empty_run(connection, run_id)
    for table in ("derivations", "runs"):
        connection.execute(f"delete from {table} where run_id = ?", [run_id])


def remove_model(connection: duckdb.DuckDBPyConnection, model_id: str) -> int:
    """Remove a model with all its runs; return the number of runs removed."""
    runs = [row[0] for row in connection.execute("select run_id from runs where model_id = ?", [model_id]).fetchall()]
    for run_id in runs:
        remove_run(connection, run_id)
    tables = (
        *("models", "model_revisions", "fingerprints", "heads", "head_vectors", "unsupported", "temperatures"),
        *("batch_sizes", "device_benchmarks", "probe_heads", "probe_weights", "probes", "checkpoints"),
    )
    for table in tables:
        connection.execute(f"delete from {table} where model_id = ?", [model_id])
    return len(runs)
