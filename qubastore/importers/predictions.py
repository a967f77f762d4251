"""Import predictions made elsewhere as runs."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.datasets.csv_files import read_csv
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.label_spaces import IMAGENET_1K, imagenet_synsets
from qubastore.errors import ImportDataError, UsageError
from qubastore.hashing import content_hash
from qubastore.lake.database import Database
from qubastore.models.model import Model
from qubastore.runs import outputs, records
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from qubastore.runs.run import Run
from qubastore.runs.shard import Shard

if TYPE_CHECKING:
    import duckdb


IMPORT_DATASETS = {"imagenet-val": IMAGENET_1K}
"""Datasets whose predictions can be imported without the images: name -> label space."""


def import_predictions(
    store: Database,
    path: str | os.PathLike[str],
    *,
    model: str,
    dataset: str,
    labels: str | os.PathLike[str] | None = None,
) -> str:
    """Store top-1 predictions as a run, from a CSV file with columns file_name, predicted_class, predicted_probability.

    Metrics that need more than the top-1 probability stay null.

    Args:
        store: A store open for writing.
        path: The CSV file with the predictions.
        model: Name for the model.
        dataset: Name of the dataset.
        labels: CSV file with columns file_name and label; None takes the labels of that dataset in the store, by key
            or by file name.

    Returns:
        The id of the run.

    Raises:
        ImportDataError: with file and line, if a value is invalid; nothing is stored then.
    """
    file = Path(path)
    rows = read_csv(file, ("file_name", "predicted_class", "predicted_probability"))
    data = (
        _labelled_dataset(file, rows, dataset, Path(labels)) if labels else _stored_dataset(store, rows, dataset, file)
    )
    position = {name: index for index, name in enumerate(_names(data))}
    predictions: dict[int, tuple[int, float]] = {}
    for line, row in rows:
        name = row["file_name"]
        if name not in position:
            raise ImportDataError(
                f"{file}, line {line}: {name} is not an image of {dataset}",
                expected=f"a file name like {next(iter(position))}",
                hint="give the labels: --labels LABELS.csv",
            )
        if position[name] in predictions:
            raise ImportDataError(f"{file}, line {line}: a second prediction for {name}", expected="one per image")
        predictions[position[name]] = _prediction(row, f"{file}, line {line}", len(data.classes))
    if len(predictions) < len(data.samples):
        missing = next(name for name, index in position.items() if index not in predictions)
        raise ImportDataError(
            f"{file} has no prediction for {len(data.samples) - len(predictions)} images of {dataset}",
            expected=f"one for each of the {len(data.samples)} images",
            found=f"none for {missing}",
        )
    return _store_run(store, file, model, data, predictions)


def import_real_labels(store: Database) -> list[tuple[str, int]]:
    """Store the ReaL labels of every dataset of official validation images; return (name, images with labels) of each.

    Source: Beyer et al., Are we done with ImageNet?, arXiv 2006.07159; the labels are those included in timm.
    """

    def work(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int]]:
        found = []
        query = "select dataset_id, name from datasets where label_space = ? order by name, n_samples"
        for dataset_id, name in connection.execute(query, [IMAGENET_1K]).fetchall():
            query = "select key from samples where dataset_id = ? order by sample_id"
            keys = [row[0] for row in connection.execute(query, [dataset_id]).fetchall()]
            if records.add_real_labels(connection, dataset_id, keys):
                query = "select count(*) from label_sets where dataset_id = ? and label_set = ? and len(labels) > 0"
                counted = connection.execute(query, [dataset_id, records.REAL_LABELS]).fetchone()
                found.append((name, counted[0] if counted else 0))
        return found

    return store.write(work)


def _whole_number(text: str, where: str, classes: int) -> int:
    value = int(text) if text.strip().isdecimal() else -1
    if not 0 <= value < classes:
        raise ImportDataError(f"{where}: {text!r} is not a class", expected=f"an integer from 0 to {classes - 1}")
    return value


def _prediction(row: Mapping[str, str], where: str, classes: int) -> tuple[int, float]:
    text = row["predicted_probability"]
    try:
        probability = float(text)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        raise ImportDataError(f"{where}: {text!r} is not a probability", expected="a number from 0 to 1")
    return _whole_number(row["predicted_class"], where, classes), probability


def _labelled_dataset(predictions: Path, rows: list[tuple[int, dict[str, str]]], name: str, labels: Path) -> Dataset:
    if name not in IMPORT_DATASETS:
        raise UsageError(
            f"labels for {name!r} cannot be imported",
            expected=f"one of {', '.join(IMPORT_DATASETS)}",
            hint=f"ingest the dataset first: qubastore ingest --dataset {shlex.quote(name)}=PATH --model ...",
        )
    classes = imagenet_synsets()
    right = {}
    for line, row in read_csv(labels, ("file_name", "label")):
        if row["file_name"] in right:
            raise ImportDataError(f"{labels}, line {line}: a second label for {row['file_name']}")
        right[row["file_name"]] = _whole_number(row["label"], f"{labels}, line {line}", len(classes))
    asked = {row["file_name"] for _, row in rows}
    for line, row in rows:
        if row["file_name"] not in right:
            raise ImportDataError(f"{predictions}, line {line}: {row['file_name']} has no label in {labels}")
    samples = tuple(Sample(key, 0, right[key]) for key in sorted(asked))
    return Dataset(name, samples, classes, IMPORT_DATASETS[name], None)


def _stored_dataset(store: Database, rows: list[tuple[int, dict[str, str]]], name: str, file: Path) -> Dataset:
    found = store.rows("select dataset_id, label_space, classes, root, n_samples from datasets where name = ?", [name])
    # If several datasets have the name (a subset and the whole, for example), file names decide.
    fitting = [entry for entry in found if entry[4] == len(rows)]
    if len(fitting) != 1:
        raise ImportDataError(
            f"the store has {len(fitting)} datasets named {name} with {len(rows)} images",
            expected=f"one, whose labels can be used for {file}",
            found=", ".join(f"{entry[0]} with {entry[4]} images" for entry in found) or "none of that name",
            hint="--labels LABELS.csv (columns file_name, label)",
        )
    identity, space, classes, root, _ = fitting[0]
    samples = store.rows(
        """
        select samples.key, samples.bytes, label_sets.labels[1]
        from samples join label_sets using (dataset_id, sample_id)
        where dataset_id = ? and label_set = ? order by sample_id
        """,
        [identity, records.DATASET_LABELS],
    )
    return _Stored(name, tuple(Sample(*sample) for sample in samples), tuple(classes), space, root, identity=identity)


class _Stored(Dataset):
    """A dataset read back from the store, with the identity that it has there."""

    def __init__(
        self,
        name: str,
        samples: tuple[Sample, ...],
        classes: tuple[str, ...],
        space: str,
        root: str | None,
        *,
        identity: str,
    ) -> None:
        super().__init__(name, samples, classes, space, root)
        object.__setattr__(self, "dataset_id", identity)


def _names(data: Dataset) -> list[str]:
    """The names of the samples in a predictions file: the key, or its last part if that is unique."""
    last = [sample.key.rsplit("/", 1)[-1] for sample in data.samples]
    return last if len(set(last)) == len(last) else [sample.key for sample in data.samples]


def _store_run(
    store: Database, file: Path, name: str, data: Dataset, predictions: Mapping[int, tuple[int, float]]
) -> str:
    import numpy as np

    size = len(data.samples)
    content = content_hash(file.read_bytes())
    made_of = {"predictions": content, "name": name}
    model = Model(name, "import", made_of, "", "", None, len(data.classes), None, None, "probabilities")
    run = Run(model.model_id, data.dataset_id, size, size, origin="imported")

    def register(connection: duckdb.DuckDBPyConnection) -> None:
        records.register_dataset(connection, data)
        records.register_model(connection, model)
        records.register_run(connection, run)

    columns: dict[str, Any] = {
        "label": np.array([sample.label for sample in data.samples], np.int32),
        "prediction": np.array([predictions[index][0] for index in range(size)], np.int32),
        "confidence": np.array([predictions[index][1] for index in range(size)]),
    }
    table = outputs.outputs_table(run.run_id, np.arange(size, dtype=np.int32), columns)
    written = outputs.write_shard(store.files, run.run_id, 0, {"outputs": table})
    shard = Shard(run.run_id, 0, 0, size, written.files, device="imported", checksums=written.checksums)
    store.write(register)
    commit_shard(store, shard, dataset_id=data.dataset_id)
    publish_runs(store)
    return run.run_id
