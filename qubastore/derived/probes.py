"""Probes: classifiers fitted on a model's kept features of one split and tested on another, without inference.

The hyperparameter (inverse regularisation of the linear probe, number of neighbours) is chosen on a validation split,
never on the test split; the chosen probe is then fitted on training and validation samples together and tested once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qubastore.derived.probe_data import find_splits, read_splits, task_of
from qubastore.derived.probe_methods import METHODS, Classifier, Fitted, Split, fit
from qubastore.derived.recipe import check_unchanged, states
from qubastore.errors import check_name
from qubastore.hashing import identifier
from qubastore.lake.database import Database
from qubastore.lake.rows import exists, insert
from qubastore.runs.lookup import RunName, named_model
from qubastore.statistics.scores import HOST, Arrays

if TYPE_CHECKING:
    import duckdb


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
    arrays: Arrays = HOST,
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
        arrays: What computes: NumPy, or torch on a GPU.
        log: Called with progress messages.

    Returns:
        The probe; the stored one if these runs were probed before and have not changed since.

    Raises:
        UsageError: if a run is missing or has no kept features, classes differ, there is only one class, splits share
            more than half of their images, or the runs differ in precision, condition, framing or decoder.
    """
    task = ProbedRuns.of(store, model, train, val, test, method)
    return task.stored(store) or task.fit(store, arrays, log).probe


@dataclass(frozen=True)
class FittedProbe:
    """A probe with its classifier.

    Attributes:
        probe: The probe.
        runs: `train`, `test` and perhaps `val` -> the run.
        states: Run -> its state when its features were read.
        samples: Split of `runs` -> the samples that it was fitted on, (n,) int32, ascending.
        fitted: The classifier, and the labels that it was fitted on.
    """

    probe: Probe
    runs: Mapping[str, RunName]
    states: Mapping[str, str]
    samples: Mapping[str, NDArray[np.int32]]
    fitted: Fitted


@dataclass(frozen=True)
class ProbedRuns:
    """What is probed: the runs of a model on the splits of a task, and how.

    Attributes:
        model: Name of the model.
        model_id: Its id.
        method: One of `METHODS`.
        runs: `train`, `test` and perhaps `val` -> the run.
        states: Run -> its state.
    """

    model: str
    model_id: str
    method: str
    runs: dict[str, RunName]
    states: dict[str, str]

    @classmethod
    def of(cls, store: Database, model: str, train: str, val: str | None, test: str, method: str) -> ProbedRuns:
        """Find the runs; arguments and errors are those of `probe`."""
        check_name("method", method, METHODS)
        name, model_id = named_model(store, model)
        runs = find_splits(store, model, {"train": train, "test": test} | ({"val": val} if val else {}))
        return cls(name, model_id, method, runs, states(store, [run.run_id for run in runs.values()]))

    @property
    def probe_id(self) -> str:
        """Hash of the method, its candidates, and the runs with their states."""
        found = METHODS[self.method]
        version = [] if found.version == 1 else [found.version]
        runs = [run.run_id for run in self.runs.values()]
        return identifier("probe", self.method, *version, list(found.candidates), sorted(self.states.items()), runs)

    def stored(self, store: Database) -> Probe | None:
        """The stored probe, if there is one."""
        rows = store.rows(
            "select task, method, chosen, candidates, train_accuracy, val_accuracy, test_accuracy, n_train, n_val,"
            " n_test, n_classes from probes where probe_id = ?",
            [self.probe_id],
        )
        return replace(Probe(self.model, *rows[0]), is_new=False) if rows else None

    def fit(
        self, store: Database, arrays: Arrays, log: Callable[[str], None], kept: Classifier | None = None
    ) -> FittedProbe:
        """Fit the probe, and store it if it is new.

        Args:
            store: A store open for writing.
            arrays: What computes.
            log: Called with progress messages.
            kept: The classifier that was fitted before; it is used if the probe is stored, whose hyperparameter is not
                searched again in any case.
        """
        log(f"{self.model} on {task_of(self.runs)}: {self.method} probe of kept features")
        data = read_splits(store, self.runs, log)
        known = self.stored(store)
        tried = self._validated(data, arrays) if known is None else known.candidates
        # On a tie max returns the first: the strongest regularisation, the fewest neighbours.
        chosen = max(tried, key=lambda value: tried[value]) if known is None else known.chosen
        whole = data["train"].joined(data["val"])
        if known is not None and kept is not None:
            fitted = Fitted(np.unique(whole.labels).astype(np.int32), kept)
        else:
            fitted = fit(self.method, whole, chosen, arrays=arrays)
        if known is None:
            known = Probe(
                self.model,
                task_of(self.runs),
                self.method,
                chosen,
                tried,
                fitted.accuracy(whole),
                tried[chosen],
                fitted.accuracy(data["test"]),
                len(whole.labels),
                len(data["val"].labels),
                len(data["test"].labels),
                len(np.unique(whole.labels)),
            )
            _store_probe(store, self, known)
        # Without a validation split, its samples are part of the training split.
        of_splits = {"train": data["train"].ids, "val": data["val"].ids} if "val" in self.runs else {"train": whole.ids}
        samples = {split: np.sort(ids) for split, ids in of_splits.items()}
        return FittedProbe(known, self.runs, self.states, samples, fitted)

    def _validated(self, data: Mapping[str, Split], arrays: Arrays) -> dict[float, float]:
        """Each value of the hyperparameter -> accuracy on the validation split, fitted on the training split."""
        tried: dict[float, float] = {}
        fitted = None
        for value in METHODS[self.method].candidates:
            if self.method != "knn" or value <= len(data["train"].labels):
                fitted = fit(self.method, data["train"], value, fitted, arrays)
                tried[value] = fitted.accuracy(data["val"])
        return tried


def _store_probe(store: Database, task: ProbedRuns, made: Probe) -> None:
    runs = task.runs
    row = (
        task.probe_id,
        task.model_id,
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
        check_unchanged(connection, task.states, f"the probe of {made.model}")
        if not exists(connection, "probes", "probe_id", task.probe_id):
            # What an earlier release fitted by another version of the method is replaced.
            connection.execute(
                "delete from probes where method = ? and train_run_id = ? and val_run_id is not distinct from ?"
                " and test_run_id = ?",
                [made.method, *row[4:7]],
            )
            insert(connection, "probes", [row])

    store.write(work)
