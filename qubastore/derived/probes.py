"""Probes: classifiers fitted on a model's kept features of one split and tested on another, without inference.

The hyperparameter (inverse regularisation of the linear probe, number of neighbours) is chosen on a validation split,
never on the test split; the chosen probe is then fitted on training and validation samples together and tested once.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from qubastore.derived.probe_methods import METHODS, Split, accuracy, fit
from qubastore.derived.recipe import check_unchanged, read_labels, read_vectors, states
from qubastore.errors import UsageError, check_name
from qubastore.hashing import identifier, part_of
from qubastore.lake.database import Database
from qubastore.lake.rows import exists, insert
from qubastore.runs.lookup import RunName, complete_runs_of, named_model, named_run

if TYPE_CHECKING:
    import duckdb


HELD_OUT = 5
"""Without a validation split, one in this many training samples is held out for validation."""


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        model: Name of the model.
        task: Name of the task: the common part of the splits' names.
        method: `linear` or `knn`.
        chosen: The hyperparameter value chosen on the validation split.
        candidates: Each value tried -> accuracy on the validation split.
        train_accuracy: Accuracy on the samples of the final fit.
        val_accuracy: Accuracy of the chosen value on the validation split.
        test_accuracy: Accuracy on the test split.
        n_train: Number of samples in the final fit, validation included.
        n_val: Number of validation samples.
        n_test: Number of test samples.
        n_classes: Number of classes.
        is_new: False if the store already had this probe.
    """

    model: str
    task: str
    method: str
    chosen: float
    candidates: dict[float, float]
    train_accuracy: float
    val_accuracy: float
    test_accuracy: float
    n_train: int
    n_val: int
    n_test: int
    n_classes: int
    is_new: bool = True


def probe(
    store: Database,
    model: str,
    *,
    train: str,
    test: str,
    val: str | None = None,
    method: str = "linear",
    log: Callable[[str], None] = lambda _: None,
) -> Probe:
    """Fit a probe on the kept features of a model's runs, test it, and store the result.

    Args:
        store: A store open for writing.
        model: Name of the model.
        train: Dataset of one of its complete runs with kept features, or a prefix of the run's id.
        test: The same for the test split.
        val: The same for the validation split; None holds out a fifth of the training split, by the samples' keys.
        method: One of `METHODS`.
        log: Called with progress messages.

    Returns:
        The probe; the stored one if these runs were probed before and have not changed since.

    Raises:
        UsageError: if a run is missing or has no kept features, classes differ, there is only one class, splits share
            more than half of their images, or the runs differ in precision, condition, framing or decoder.
    """
    make, candidates = METHODS[check_name("method", method, METHODS)]
    name, model_id = named_model(store, model)
    texts = {"train": train, "test": test} | ({"val": val} if val else {})
    complete = complete_runs_of(store, model_id)
    runs = {split: named_run(store, name, complete, text) for split, text in texts.items()}
    _check(store, name, runs)
    before = states(store, [run.run_id for run in runs.values()])
    task = _task(runs)
    probe_id = identifier("probe", method, list(candidates), sorted(before.items()), [runs[s].run_id for s in runs])
    if (stored := _stored(store, probe_id, name)) is not None:
        return stored
    log(f"{name} on {task}: {method} probe of kept features")
    data, dropped = _without_test_images(store, runs, {split: _read(store, run) for split, run in runs.items()})
    if dropped:
        log(f"left out of training and validation: {dropped} images that are also in another split")
    if "val" not in data:
        data["train"], data["val"] = _held_out(data["train"])
    classes = np.unique(data["train"].labels)
    if len(classes) < 2:
        raise UsageError(
            f"the training split {runs['train'].dataset} has only one class", expected="at least two classes"
        )
    tried = {
        value: accuracy(fit(make(value), data["train"]), data["val"]) for value in _usable(candidates, method, data)
    }
    # On a tie max returns the first: the strongest regularisation, the fewest neighbours.
    chosen = max(tried, key=lambda value: tried[value])
    whole = data["train"].joined(data["val"])
    fitted = fit(make(chosen), whole)
    result = Probe(
        name,
        task,
        method,
        chosen,
        tried,
        accuracy(fitted, whole),
        tried[chosen],
        accuracy(fitted, data["test"]),
        len(whole.labels),
        len(data["val"].labels),
        len(data["test"].labels),
        len(np.unique(whole.labels)),
    )
    _store_probe(store, probe_id, model_id, runs, result, before)
    return result


def _stored(store: Database, probe_id: str, name: str) -> Probe | None:
    rows = store.rows(
        "select task, method, chosen, candidates, train_accuracy, val_accuracy, test_accuracy, n_train, n_val, n_test,"
        " n_classes from probes where probe_id = ?",
        [probe_id],
    )
    return replace(Probe(name, *rows[0]), is_new=False) if rows else None


def probe_tasks(store: Database, model: str) -> list[str]:
    """Tasks for which a model has complete runs with features on NAME/train and NAME/test."""
    _, model_id = named_model(store, model)
    kept = {run.dataset for run in complete_runs_of(store, model_id) if "features" in run.kept}
    return sorted(
        name.removesuffix("/train")
        for name in kept
        if name.endswith("/train") and f"{name.removesuffix('/train')}/test" in kept
    )


def _read(store: Database, run: RunName) -> Split:
    n = store.rows("select n_samples from datasets where dataset_id = ?", [run.dataset_id])[0][0]
    ids, (features,) = read_vectors(store, "features", [run.run_id], 0, n)
    keys = store.rows("select key from samples where dataset_id = ? order by sample_id", [run.dataset_id])
    if not len(ids):
        raise UsageError(f"the run on {run.place} has no samples: no image could be decoded")
    labels = read_labels(store, run.dataset_id, 0, n)[ids]
    return Split(features, labels[:, 0], np.array([row[0] for row in keys], object)[ids])


def _held_out(whole: Split) -> tuple[Split, Split]:
    chosen = np.array([part_of("probe", key, HELD_OUT) == 0 for key in whole.keys])
    if chosen.all() or not chosen.any():
        raise UsageError(
            f"{len(chosen)} training samples are too few to hold some out", hint="name a validation split: --val NAME"
        )
    return whole.part(~chosen), whole.part(chosen)


def _usable(candidates: Sequence[float], method: str, data: dict[str, Split]) -> list[float]:
    """The candidates that the training split allows: no more neighbours than samples."""
    return [value for value in candidates if method != "knn" or value <= len(data["train"].labels)]


def _task(runs: dict[str, RunName]) -> str:
    train, test = runs["train"].dataset, runs["test"].dataset
    stem = train.removesuffix("/train")
    return stem if train.endswith("/train") and test == f"{stem}/test" else f"{train} to {test}"


def _check(store: Database, name: str, runs: dict[str, RunName]) -> None:
    if len({run.run_id for run in runs.values()}) < len(runs):
        raise UsageError("a split is named twice", expected="one run each for training, validation and test")
    for run in runs.values():
        if "features" not in run.kept:
            raise UsageError(
                f"the run of {name} on {run.place} has no kept features",
                hint=f"qubastore ingest --model {shlex.quote(name)} --dataset {shlex.quote(run.dataset)}=PATH"
                " --keep outputs,features",
            )
    unlike = {run.task[1:] for run in runs.values()}
    if len(unlike) > 1:
        raise UsageError(
            "the splits were run in different ways",
            expected="one framing, condition, precision and decoder",
            found="; ".join(f"{run.place}, {run.way}" for run in runs.values()),
            hint="give prefixes of the run ids: qubastore show runs",
        )
    ids = [run.dataset_id for run in runs.values()]
    classes = dict(store.rows("select dataset_id, classes from datasets where list_contains(?, dataset_id)", [ids]))
    for run in runs.values():
        if classes[run.dataset_id] != classes[runs["train"].dataset_id]:
            raise UsageError(
                f"{run.dataset} and {runs['train'].dataset} have different classes",
                expected=", ".join(classes[runs["train"].dataset_id][:5]),
                found=", ".join(classes[run.dataset_id][:5]),
            )


def _without_test_images(
    store: Database, runs: dict[str, RunName], data: dict[str, Split]
) -> tuple[dict[str, Split], int]:
    """Training and validation without images of the test split (and training without those of validation).

    Some datasets have duplicates across splits: CIFAR-100, or dSprites, whose first and last angle are the same. A
    split that mostly consists of another split's images is a mistake.

    Raises:
        UsageError: if more than half of a split's images are in another.
    """
    hashes = {
        split: dict(
            store.rows(
                "select samples.key, content_hash from sample_contents join samples using (dataset_id, sample_id)"
                " where dataset_id = ?",
                [run.dataset_id],
            )
        )
        for split, run in runs.items()
    }
    seen: set[str] = set()
    kept: dict[str, Split] = {}
    dropped = 0
    for split in ("test", "val", "train"):
        if split not in data:
            continue
        own = [hashes[split].get(key) for key in data[split].keys]
        fresh = np.array([each is None or each not in seen for each in own], bool)
        if (n := int((~fresh).sum())) * 2 > len(own):
            raise UsageError(
                f"{n} of the {len(own)} images of {runs[split].dataset} are also in another split",
                expected="splits without common images: a probe tested on what it was fitted on proves nothing",
            )
        kept[split] = data[split].part(fresh)
        dropped += n
        seen |= {each for each in own if each is not None}
    return kept, dropped


def _store_probe(
    store: Database, probe_id: str, model_id: str, runs: dict[str, RunName], made: Probe, before: dict[str, str]
) -> None:
    row = (
        probe_id,
        model_id,
        made.task,
        made.method,
        runs["train"].run_id,
        runs["val"].run_id if "val" in runs else None,
        runs["test"].run_id,
        made.n_train,
        made.n_val,
        made.n_test,
        made.n_classes,
        made.chosen,
        made.train_accuracy,
        made.val_accuracy,
        made.test_accuracy,
        list(made.candidates.items()),
        [(package, version(package)) for package in ("scikit-learn", "numpy")],
        datetime.now(UTC),
    )

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        check_unchanged(connection, before, f"the probe of {made.model}")
        if not exists(connection, "probes", "probe_id", probe_id):
            insert(connection, "probes", [row])

    store.write(work)
