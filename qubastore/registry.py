"""Rows that say what there is: models, datasets, runs, suites. Each function runs inside a caller's transaction.

DuckLake has no keys: every function looks before it inserts, and `Store.write` makes writers take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qubastore.datasets.dataset import Dataset
from qubastore.datasets.label_spaces import IMAGENET_1K, VALIDATION_FILE, real_labels
from qubastore.models.model import Model
from qubastore.outputs import KINDS
from qubastore.runs import Run
from qubastore.suites import Suite

if TYPE_CHECKING:
    import duckdb

DATASET_LABELS = "dataset"
"""Name of the label set that a dataset comes with."""

REAL_LABELS = "real"
"""Name of the label set ReaL of ImageNet-val (Beyer et al., arXiv 2006.07159)."""

RUN_TABLES = (
    "outputs",
    "logits",
    "features",
    "failures",
    "shards",
    "run_summary",
    "class_summary",
    "bin_summary",
    "cue_summary",
    "run_metrics",
    "derivations",
)
"""Every table with rows of a run, but for `runs` itself."""

SUMMARY_TABLES = ("run_summary", "class_summary", "bin_summary", "cue_summary", "run_metrics")
"""What completing a run writes."""


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, in the order of the table's columns, in one statement."""
    import pyarrow as pa

    if not rows:
        return
    schema = connection.execute(f"from {table} limit 0").to_arrow_table().schema
    columns = [pa.array(column, type=field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)]
    connection.register("incoming_rows", pa.table(columns, schema=schema))
    try:
        connection.execute(f"insert into {table} from incoming_rows")
    finally:
        connection.unregister("incoming_rows")


def exists(connection: duckdb.DuckDBPyConnection, table: str, column: str, value: str) -> bool:
    """Whether `table` has a row whose `column` is `value`."""
    return connection.execute(f"select 1 from {table} where {column} = ? limit 1", [value]).fetchone() is not None


def register_dataset(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> bool:
    """Store a dataset with its samples and labels, unless it is there; return whether it was new."""
    if exists(connection, "datasets", "dataset_id", dataset.dataset_id):
        return False
    now, identity = datetime.now(UTC), dataset.dataset_id
    size = len(dataset.samples)
    space, classes = dataset.label_space, list(dataset.classes)
    insert(
        connection,
        "datasets",
        [(identity, dataset.name, size, space, classes, dataset.root, now, list(dataset.factors.items()))],
    )
    insert(
        connection,
        "samples",
        [(identity, index, s.key, s.size, list(s.factors.items())) for index, s in enumerate(dataset.samples)],
    )
    insert(
        connection,
        "label_sets",
        [(identity, DATASET_LABELS, index, list(s.labels)) for index, s in enumerate(dataset.samples)],
    )
    if space == IMAGENET_1K:
        add_real_labels(connection, identity, [sample.key for sample in dataset.samples])
    return True


def add_real_labels(connection: duckdb.DuckDBPyConnection, dataset_id: str, keys: Sequence[str]) -> bool:
    """Store the ReaL labels of a dataset all of whose images are official validation images; return whether it is one.

    An image without ReaL labels has an empty list.
    """
    numbers = [VALIDATION_FILE.search(key) for key in keys]
    if not all(numbers) or not keys:
        return False
    labels = real_labels()
    rows = [
        (dataset_id, REAL_LABELS, index, list(labels[int(number[1]) - 1]))
        for index, number in enumerate(numbers)
        if number is not None
    ]
    connection.execute("delete from label_sets where dataset_id = ? and label_set = ?", [dataset_id, REAL_LABELS])
    insert(connection, "label_sets", rows)
    return True


def register_model(connection: duckdb.DuckDBPyConnection, model: Model, revision: str | None = None) -> None:
    """Store a model, unless it is there, its fingerprint, and the checkpoint revision that leads to it.

    Of a model that is there, what was not known of it before is added: costs, width of its features, fingerprint.
    """
    model_id = model.model_id
    if not exists(connection, "models", "model_id", model_id):
        insert(connection, "models", [(model_id, *model.row(), datetime.now(UTC), model.macs, model.activations)])
    else:
        if model.macs is not None:
            connection.execute(
                "update models set macs = ?, activations = ? where model_id = ? and macs is null",
                [model.macs, model.activations, model_id],
            )
        if model.macs is not None and model.fingerprint is not None:
            # A release before may have taken another layer for the classifier.
            connection.execute(
                "update models set feature_width = ? where model_id = ? and feature_width is distinct from ?",
                [model.feature_width, model_id, model.feature_width],
            )
    if model.fingerprint is not None and not exists(connection, "fingerprints", "model_id", model_id):
        found = model.fingerprint
        row = (model_id, found.precision, found.version, found.values, list(found.packages), datetime.now(UTC))
        insert(connection, "fingerprints", [row])
    if revision is not None and not exists(connection, "model_revisions", "revision", revision):
        insert(connection, "model_revisions", [(revision, model_id)])


def register_run(connection: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Store a run, unless it is there."""
    if exists(connection, "runs", "run_id", run.run_id):
        return
    row = (
        run.run_id,
        run.model_id,
        run.dataset_id,
        run.framing,
        run.condition,
        run.precision,
        run.output_schema,
        run.origin,
        run.shard_size,
        run.n_shards,
        list(run.versions.items()),
        datetime.now(UTC),
    )
    insert(connection, "runs", [row])


def replace_run(connection: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Store a run in place of its row, with the versions of today."""
    connection.execute("delete from runs where run_id = ?", [run.run_id])
    register_run(connection, run)


def note_unsupported(connection: duckdb.DuckDBPyConnection, model_id: str, condition: str, reason: str) -> None:
    """Note that a network cannot be run under a condition."""
    forget_unsupported(connection, model_id, condition)
    planned = "select run_id from runs where model_id = ? and condition = ?"
    # A run that cannot be made is no unfinished one.
    connection.execute(
        f"delete from runs where run_id in ({planned}) and run_id not in (select run_id from shards)",
        [model_id, condition],
    )
    insert(connection, "unsupported", [(model_id, condition, reason, datetime.now(UTC))])


def forget_unsupported(connection: duckdb.DuckDBPyConnection, model_id: str, condition: str) -> None:
    """Take back what was noted: the network was run under the condition after all."""
    connection.execute("delete from unsupported where model_id = ? and condition = ?", [model_id, condition])


def replace_suite(connection: duckdb.DuckDBPyConnection, suite: Suite) -> None:
    """Store a suite in place of one of the same name."""
    connection.execute("delete from own_suites where suite = ?", [suite.name])
    rows = [(suite.name, r.role, r.dataset, r.condition, r.framing, r.n_samples, r.label_space) for r in suite.roles]
    insert(connection, "own_suites", rows)


def empty_derived(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Take back all that was computed from the outputs of a run, in the transaction that changes them.

    Derived runs (and those derived from them) stay as unfinished runs, with the command that makes them anew; probes
    of its features go.
    """
    connection.execute("delete from probes where list_contains([train_run_id, val_run_id, test_run_id], ?)", [run_id])
    # What was fitted on the run's logits; the model's architecture says on which run.
    fitted = "select model_id from models where loader = 'derived' and contains(architecture, ?)"
    connection.execute(f"delete from temperatures where model_id in ({fitted})", [f'"fit_on":"{run_id}"'])
    query = "select distinct run_id from derivations where source_run_id = ?"
    for (derived,) in connection.execute(query, [run_id]).fetchall():
        for table in RUN_TABLES:
            if table != "derivations":
                connection.execute(f"delete from {table} where run_id = ?", [derived])
        empty_derived(connection, derived)


def forget_sums(connection: duckdb.DuckDBPyConnection, runs: Sequence[str]) -> None:
    """Take back what was summed up over the rows of runs: they are complete again once they are summed up anew."""
    for table in SUMMARY_TABLES:
        connection.execute(f"delete from {table} where list_contains(?, run_id)", [list(runs)])


def remove_shard(connection: duckdb.DuckDBPyConnection, run_id: str, shard: int, first: int, end: int) -> None:
    """Remove a shard, its rows (samples `first` to `end` - 1) and everything that was computed from them."""
    empty_derived(connection, run_id)
    forget_sums(connection, [run_id])
    connection.execute("delete from shards where run_id = ? and shard = ?", [run_id, shard])
    for table in (*KINDS, "failures"):
        connection.execute(
            f"delete from {table} where run_id = ? and sample_id >= ? and sample_id < ?", [run_id, first, end]
        )


def remove_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Remove a run with everything that was computed from it."""
    empty_derived(connection, run_id)
    for table in (*RUN_TABLES, "runs"):
        connection.execute(f"delete from {table} where run_id = ?", [run_id])


def remove_model(connection: duckdb.DuckDBPyConnection, model_id: str) -> int:
    """Remove a model with all its runs; return how many runs went with it."""
    runs = [row[0] for row in connection.execute("select run_id from runs where model_id = ?", [model_id]).fetchall()]
    for run_id in runs:
        remove_run(connection, run_id)
    tables = ("models", "model_revisions", "fingerprints", "heads", "head_vectors", "unsupported", "temperatures")
    for table in (*tables, "probes"):
        connection.execute(f"delete from {table} where model_id = ?", [model_id])
    return len(runs)
