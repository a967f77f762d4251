"""Storing models, datasets, runs and suites. Each function runs inside a caller's transaction.

DuckLake has no keys: every function checks for existing rows before it inserts, and `Store.write` allows only one
writer at a time.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qubastore.datasets.dataset import Dataset
from qubastore.datasets.label_spaces import IMAGENET_1K, VALIDATION_FILE, real_labels
from qubastore.errors import UsageError
from qubastore.lake.rows import exists, insert
from qubastore.metrics.suites import Suite
from qubastore.models.model import Model
from qubastore.runs.run import Run

if TYPE_CHECKING:
    import duckdb


DATASET_LABELS = "dataset"
"""Name of the set of a dataset's own labels."""


REAL_LABELS = "real"
"""Name of the set of the ReaL labels of ImageNet-val (Beyer et al., arXiv 2006.07159)."""


def register_dataset(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> bool:
    """Store a dataset with its samples and labels, unless it exists; return whether it was new."""
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
        [
            (identity, index, s.key, s.size, list(s.factors.items()), s.path, s.row)
            for index, s in enumerate(dataset.samples)
        ],
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
    """Store the ReaL labels of a dataset, if all its images are official validation images; return whether they are.

    An image without ReaL labels gets an empty list.
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


def register_model(
    connection: duckdb.DuckDBPyConnection,
    model: Model,
    revision: str | None = None,
    checkpoint: tuple[str, int] | None = None,
) -> None:
    """Store a model, unless it exists, with its fingerprint and the checkpoint revision from which it is loaded.

    For a model that exists, missing information is added: costs, width of the features, fingerprint.

    Args:
        connection: The caller's transaction.
        model: The model.
        revision: What it is loaded from.
        checkpoint: The training of which it is a checkpoint, and the step.

    Raises:
        UsageError: If another model is that step of the training.
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
            # An earlier release may have identified another layer as the classifier.
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
    if checkpoint is not None:
        _register_checkpoint(connection, *checkpoint, model_id)


def _register_checkpoint(connection: duckdb.DuckDBPyConnection, training: str, step: int, model_id: str) -> None:
    query = "select model_id from checkpoints where training = ? and step = ?"
    known = connection.execute(query, [training, step]).fetchone()
    if known is None:
        insert(connection, "checkpoints", [(training, step, model_id, datetime.now(UTC))])
    elif known[0] != model_id:
        raise UsageError(
            f"step {step} of {training} is another model in this store",
            expected=f"the model {known[0]}: a step of a training has one set of weights",
            found=model_id,
            hint=f"another name=, or qubastore rm model {shlex.quote(f'{training},step={step}')}",
        )


def register_run(connection: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Store a run, unless it exists."""
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
        run.decoder,
        run.answer_space or None,
    )
    insert(connection, "runs", [row])


def replace_run(connection: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Replace the row of a run, with the current versions of packages."""
    connection.execute("delete from runs where run_id = ?", [run.run_id])
    register_run(connection, run)


def note_unsupported(connection: duckdb.DuckDBPyConnection, model_id: str, condition: str, reason: str) -> None:
    """Store that a network cannot be run under a condition."""
    forget_unsupported(connection, model_id, condition)
    planned = "select run_id from runs where model_id = ? and condition = ?"
    # A run that is impossible must not be listed as unfinished.
    connection.execute(
        f"delete from runs where run_id in ({planned}) and run_id not in (select run_id from shards)",
        [model_id, condition],
    )
    insert(connection, "unsupported", [(model_id, condition, reason, datetime.now(UTC))])


def forget_unsupported(connection: duckdb.DuckDBPyConnection, model_id: str, condition: str) -> None:
    """Delete the record that a network cannot be run under a condition, because it was run."""
    connection.execute("delete from unsupported where model_id = ? and condition = ?", [model_id, condition])


def replace_suite(connection: duckdb.DuckDBPyConnection, suite: Suite) -> None:
    """Store a suite, replacing one of the same name."""
    connection.execute("delete from own_suites where suite = ?", [suite.name])
    rows = [
        (suite.name, r.role, r.dataset, r.condition, r.framing, r.n_samples, r.label_space, suite.decoder)
        for r in suite.roles
    ]
    insert(connection, "own_suites", rows)
