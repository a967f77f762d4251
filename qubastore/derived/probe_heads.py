"""The kept heads of probes that are models, and the images that they were fitted on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from qubastore.derived.probe_methods import Classifier
from qubastore.derived.probes import FittedProbe
from qubastore.derived.recipe import check_unchanged, states
from qubastore.errors import UsageError, check_text
from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.models.loaders import PROBE
from qubastore.models.model import Model
from qubastore.runs import records, removal
from qubastore.runs.lookup import RunName, named_model
from qubastore.statistics.logistic import LinearClassifier

if TYPE_CHECKING:
    import duckdb


def check_probe_name(name: str) -> None:
    """Check the name of a probe that is to be kept.

    Raises:
        UsageError: if it would not be read back as `probe:NAME`.
    """
    if not check_text("the name of a probe", name).isprintable() or not name or set(name) & set(",:@="):
        raise UsageError(f"{name!r} is not a valid name of a probe", expected="a name without , : @ =")


@dataclass(frozen=True)
class ProbeHead:
    """The kept head of a linear probe.

    Attributes:
        model_id: Id of the probe.
        backbone: Name of the model whose features it takes.
        backbone_id: Id of that model.
        classifier: The classifier of its features.
        fitted_on: Run -> its state, of the runs that it was fitted on.
        datasets: Ids of the datasets that it was fitted on.
        command: The command that fits it again.
    """

    model_id: str
    backbone: str
    backbone_id: str
    classifier: LinearClassifier
    fitted_on: Mapping[str, str]
    datasets: frozenset[str]
    command: str


def read_probe_head(store: Database, name: str) -> ProbeHead:
    """The head of a linear probe that was kept as a model.

    Args:
        store: An open store.
        name: `probe:NAME`.

    Raises:
        UsageError: if there is no such probe, its head was deleted because its features changed, or it is a k-NN probe.
    """
    _, model_id = named_model(store, name)
    rows = store.rows(
        "select name, backbone_id, method, center, scale, train_run_id, val_run_id, command"
        " from probe_heads left join models on models.model_id = backbone_id where probe_heads.model_id = ?",
        [model_id],
    )
    if not rows:
        raise UsageError(
            f"{name} has no head: the features that it was fitted on have changed or were removed",
            hint=f"fit it again: qubastore probe ... --save-as {name.removeprefix(f'{PROBE}:')}",
        )
    backbone, backbone_id, method, center, scale, *fitted_on, command = rows[0]
    if method != "linear":
        raise UsageError(
            f"{name} is a k-NN probe: it is not run on images, but answers wherever its backbone's features are kept",
            expected="a linear probe, which has gradients",
            hint=f"qubastore ingest --model {shlex.quote(str(backbone))} --keep outputs,features ..., then {command}",
        )
    runs = [run_id for run_id in fitted_on if run_id]
    datasets = store.rows("select dataset_id from runs where list_contains(?, run_id)", [runs])
    if backbone is None or len(datasets) < len(runs):
        raise UsageError(
            f"the store has {name}, but not the features that it was fitted on",
            expected="its backbone with its runs, from the store that the probe comes from",
            hint="qubastore copy SOURCE TARGET --model BACKBONE --model PROBE",
        )
    classifier = _classifier(store, model_id, center, scale)
    of_runs = frozenset(dataset_id for (dataset_id,) in datasets)
    return ProbeHead(model_id, backbone, backbone_id, classifier, states(store, runs), of_runs, command)


def kept_classifier(store: Database, name: str, backbone_id: str, runs: Mapping[str, RunName]) -> Classifier | None:
    """The classifier of a linear probe of a name that was fitted on these very runs; None if there is none.

    Fitted again on another processor it would differ in the last digits, and with it the identity of the model.
    """
    rows = store.rows(
        """
        select model_id, center, scale from probe_heads join models using (model_id)
        where name = ? and backbone_id = ? and method = 'linear' and train_run_id = ? and test_run_id = ?
            and val_run_id is not distinct from ?
        """,
        [name, backbone_id, runs["train"].run_id, runs["test"].run_id, runs["val"].run_id if "val" in runs else None],
    )
    return _classifier(store, *rows[0]) if len(rows) == 1 else None


def _classifier(store: Database, model_id: str, center: Sequence[float], scale: Sequence[float]) -> LinearClassifier:
    vectors = store.rows("select weights, bias from probe_weights where model_id = ? order by class", [model_id])
    weights, bias = (np.array([row[column] for row in vectors], np.float64) for column in (0, 1))
    return LinearClassifier(np.array(center, np.float64), np.array(scale, np.float64), weights, bias)


def fitted_images(store: Database, model_id: str) -> set[str]:
    """The images that a probe was fitted on, as `images_of` identifies them."""
    rows = store.rows(
        "select train_run_id, val_run_id, train_samples, val_samples from probe_heads where model_id = ?", [model_id]
    )
    found: set[str] = set()
    for train, val, in_train, in_val in rows:
        for run_id, samples in ((train, in_train), (val, in_val)):
            for (dataset_id,) in store.rows("select dataset_id from runs where run_id = ?", [run_id]):
                images = _images(store, dataset_id)
                found |= {images[sample] for sample in samples}
    return found


def images_of(store: Database, dataset_id: str) -> set[str]:
    """An identifier of each image of a dataset: its content hash, or its place in the dataset if that is unknown."""
    return set(_images(store, dataset_id).values())


def _images(store: Database, dataset_id: str) -> dict[int, str]:
    return dict(
        store.rows(
            "select sample_id, coalesce(content_hash, dataset_id || '/' || sample_id)"
            " from samples left join sample_contents using (dataset_id, sample_id) where dataset_id = ?",
            [dataset_id],
        )
    )


def store_head(store: Database, model: Model, found: FittedProbe, command: str) -> None:
    """Register the model of a probe with its head; one of the same name whose head was deleted is replaced.

    Args:
        store: A store open for writing.
        model: The model.
        found: The fitted probe.
        command: The command that fits it again.

    Raises:
        UsageError: if another probe has the name, or the same probe another name.
        StoreError: if the features that it was fitted on have changed in the meantime.
    """
    measured, runs, classifier = found.probe, found.runs, found.fitted.classifier
    linear = classifier if isinstance(classifier, LinearClassifier) else None
    head = (
        model.model_id,
        model.architecture[PROBE]["backbone"],
        measured.task,
        measured.method,
        measured.chosen,
        runs["train"].run_id,
        runs["val"].run_id if "val" in runs else None,
        runs["test"].run_id,
        found.samples["train"].tolist(),
        found.samples["val"].tolist() if "val" in found.samples else [],
        None if linear is None else linear.center.tolist(),
        None if linear is None else linear.scale.tolist(),
        command,
        datetime.now(UTC),
    )
    weights = [] if linear is None else zip(linear.weights.tolist(), linear.bias.tolist(), strict=True)
    rows = [(model.model_id, label, *row) for label, row in enumerate(weights)]

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        check_unchanged(connection, found.states, model.name)
        query = "select name from models where model_id = ? and name <> ?"
        for (other,) in connection.execute(query, [model.model_id, model.name]).fetchall():
            raise UsageError(
                f"this probe is already in the store, as {other}", hint=f"--save-as {other.partition(':')[2]}"
            )
        query = """
            select models.model_id, probe_heads.command from models left join probe_heads using (model_id)
            where name = ? and models.model_id <> ?
        """
        for model_id, fitted_by in connection.execute(query, [model.name, model.model_id]).fetchall():
            if fitted_by is not None:
                raise UsageError(
                    f"{model.name} is already in the store, and was fitted differently",
                    found=fitted_by,
                    hint=f"choose another name; or qubastore rm model {shlex.quote(model.name)}, then the same again",
                )
            removal.remove_model(connection, model_id)
        records.register_model(connection, model)
        for table, new in (("probe_heads", [head]), ("probe_weights", rows)):
            connection.execute(f"delete from {table} where model_id = ?", [model.model_id])
            insert(connection, table, new)

    store.write(work)
