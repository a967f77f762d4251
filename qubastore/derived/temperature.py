"""Temperature scaling from kept logits (Guo et al., On calibration of modern neural networks, ICML 2017).

The calibrated model is a separate model, `MODEL,calibrated=DATASET`; its runs are derived from the model's. On the
images that the temperature was fitted on, it is cross-fitted: a fold's temperature comes from the other folds.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qubastore.datasets.label_spaces import label_space
from qubastore.derived.recipe import Recipe, check_unchanged, derive, read_vectors, states
from qubastore.errors import UsageError
from qubastore.hashing import part_of
from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.models.model import Model
from qubastore.runs import records
from qubastore.runs.answers import check_has_logits
from qubastore.runs.lookup import RunName, complete_runs_of, named_model, named_run, run_text
from qubastore.runs.publish import publish_runs
from qubastore.statistics.scores import log_sum, project

if TYPE_CHECKING:
    import duckdb


FOLDS = 5
"""Number of folds for cross-fitting, where a temperature is applied to the images that it was fitted on."""


ALL = -1
"""Fold number of the temperature that is fitted on all images."""


_LOWEST, _HIGHEST = 1e-3, 1e3
"""Range of temperatures to search."""


@dataclass(frozen=True)
class Temperature:
    """A temperature and what it was fitted on.

    Attributes:
        fold: `ALL`, or the fold that it applies to, fitted on the others.
        value: The divisor of the logits.
        n: Number of samples that it was fitted on.
        nll_before: Their mean negative log-likelihood at temperature 1, nats.
        nll_after: The same at this temperature.
    """

    fold: int
    value: float
    n: int
    nll_before: float
    nll_after: float


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    Attributes:
        model: Name of the calibrated model.
        temperature: The temperature for images that it was not fitted on.
        folds: The temperatures of the folds, for the images that it was fitted on.
        runs: (place, id of the model's run, id of the calibrated run).
        skipped: Places of runs without kept logits.
    """

    model: str
    temperature: Temperature
    folds: list[Temperature]
    runs: list[tuple[str, str, str]]
    skipped: list[str]


def calibrate(
    store: Database,
    model: str,
    *,
    fit_on: str,
    apply_to: Sequence[str] = (),
    log: Callable[[str], None] = lambda _: None,
) -> Calibrated:
    """Fit a temperature on a run of a model, and derive calibrated runs with it, without inference.

    Args:
        store: A store open for writing.
        model: Name of the model.
        fit_on: A dataset of one of its complete runs, or a prefix of the run's id.
        apply_to: The same for the runs to calibrate; none means all complete runs with kept logits.
        log: Called with progress messages.

    Returns:
        The calibrated model, its temperatures and its runs.

    Raises:
        UsageError: if no run matches, it has no kept logits, or its classes are not outputs of the model.
    """
    name, model_id = named_model(store, model)
    check_has_logits(store, model_id, name, "scale")
    runs = complete_runs_of(store, model_id)
    fitted = named_run(store, name, runs, fit_on)
    fitted.check_has_answers(name)
    if label_space(fitted.label_space).rule not in ("identity", "subset"):
        raise UsageError(
            f"a temperature cannot be fitted on {fitted.place}: each of its classes covers several outputs",
            expected="a dataset whose classes are outputs of the model, such as imagenet-val",
        )
    _check_logits([fitted], name)
    chosen = [named_run(store, name, runs, text) for text in apply_to]
    skipped = []
    if not chosen:
        alike = [run for run in runs if run.decoder == fitted.decoder]
        chosen = [run for run in alike if run.has_logits]
        skipped = [run.place for run in alike if not run.has_logits]
    _check_logits(chosen, name)
    before = states(store, [fitted.run_id])
    logits, labels, folds = _read(store, fitted)
    log(f"{name}: fitting on {len(labels):,} images of {fitted.place}")
    temperatures = [fit_temperature(logits, labels, ALL, where=fitted.place)]
    temperatures += [
        fit_temperature(logits[folds != fold], labels[folds != fold], fold, where=fitted.place)
        for fold in range(FOLDS)
        if (folds == fold).any()
    ]
    calibrated = _calibrated(store, name, model_id, fitted)
    _store_temperatures(store, calibrated, temperatures, before)
    by_fold = {each.fold: each.value for each in temperatures}
    command = shlex.join(["qubastore", "calibrate", "--model", name, "--fit-on", run_text(runs, fitted)])
    fold_by_image = dict(zip(_images(store, fitted.dataset_id), _folds(store, fitted.dataset_id), strict=True))
    made = []
    for run in chosen:
        applied = f"{command} --apply-to {shlex.quote(run_text(runs, run))}"
        # The images fitted on, under whatever name or condition they occur again.
        own = [by_fold[fold_by_image.get(image, ALL)] for image in _images(store, run.dataset_id)]

        def compute(
            ids: NDArray[np.int32], vectors: list[NDArray[np.float32]], own: Sequence[float] = tuple(own)
        ) -> NDArray[np.float32]:
            divisor = np.array([own[i] for i in ids])
            scaled: NDArray[np.float32] = (vectors[0].astype(np.float64) / divisor[:, None]).astype(np.float32)
            return scaled

        log(f"{calibrated.name} on {run.place}: from kept logits")
        recipe = Recipe("temperature", applied, "logits", [run.run_id], compute, [fitted.run_id], before)
        made.append((run.place, run.run_id, derive(store, calibrated, recipe)))
    publish_runs(store)
    return Calibrated(calibrated.name, temperatures[0], temperatures[1:], made, skipped)


def fit_temperature(
    logits: NDArray[np.float64], labels: NDArray[np.int32], fold: int = ALL, *, where: str = "the samples"
) -> Temperature:
    """Fit the temperature with the smallest mean negative log-likelihood.

    The mean is convex in the inverse temperature b; its slope, mean(E_p(b)[z] - z_label), increases with b, and its
    root is found by Brent's method to 1e-13 of b.

    Args:
        logits: (n, n_classes).
        labels: (n,).
        fold: The fold that the temperature applies to.
        where: Name of the samples, for messages.

    Raises:
        UsageError: if no temperature from 0.001 to 1,000 is best: all predictions are right, or the logits carry no
            information about the labels.
    """
    from scipy.optimize import brentq

    def slope(inverse: float) -> float:
        total = 0.0
        for first in range(0, len(logits), 4096):
            block, right = logits[first : first + 4096], labels[first : first + 4096]
            weights = np.exp((block - block.max(axis=1, keepdims=True)) * inverse)
            expected = (weights * block).sum(axis=1) / weights.sum(axis=1)
            total += float((expected - block[np.arange(len(block)), right]).sum())
        return total / len(logits)

    if not len(logits) or slope(1 / _HIGHEST) >= 0 or slope(1 / _LOWEST) <= 0:
        raise UsageError(
            f"no temperature fits {where}",
            expected=f"an optimum between {_LOWEST:g} and {_HIGHEST:,.0f}",
            found="all predictions are right, or the logits do not separate right from wrong"
            if len(logits)
            else "no samples",
        )
    value = 1 / brentq(slope, 1 / _HIGHEST, 1 / _LOWEST, xtol=1e-13, rtol=1e-13)
    return Temperature(fold, value, len(logits), _likelihood(logits, labels, 1.0), _likelihood(logits, labels, value))


def fold_of(key: str) -> int:
    """The fold of a sample, determined by its key alone."""
    return part_of("temperature", key, FOLDS)


def _likelihood(logits: NDArray[np.float64], labels: NDArray[np.int32], temperature: float) -> float:
    """Mean negative log-likelihood, nats."""
    total = 0.0
    for first in range(0, len(logits), 4096):
        block, right = logits[first : first + 4096] / temperature, labels[first : first + 4096]
        total += float((log_sum(block) - block[np.arange(len(block)), right]).sum())
    return total / len(logits)


def _read(store: Database, run: RunName) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int64]]:
    """For each sample: the scores of the run's classes, the right class for the likelihood, and the fold."""
    n = store.rows("select n_samples from datasets where dataset_id = ?", [run.dataset_id])[0][0]
    ids, (logits,) = read_vectors(store, "logits", [run.run_id], 0, n)
    if not len(ids):
        raise UsageError(f"the run on {run.place} has no samples: no image could be decoded")
    labels = store.arrays("select label from outputs where run_id = ? order by sample_id", [run.run_id])
    folds = np.array(_folds(store, run.dataset_id))[ids]
    return project(logits, label_space(run.label_space)), np.asarray(labels["label"], np.int32), folds


def _folds(store: Database, dataset_id: str) -> list[int]:
    rows = store.rows("select key from samples where dataset_id = ? order by sample_id", [dataset_id])
    return [fold_of(key) for (key,) in rows]


def _images(store: Database, dataset_id: str) -> list[str]:
    """An identifier of each image of a dataset: its content hash, or its name if the hash is unknown."""
    rows = store.rows(
        """
        select coalesce(content_hash, datasets.name || '/' || key)
        from samples
        join datasets using (dataset_id)
        left join sample_contents using (dataset_id, sample_id)
        where dataset_id = ? order by sample_id
        """,
        [dataset_id],
    )
    return [row[0] for row in rows]


def _check_logits(runs: Sequence[RunName], name: str) -> None:
    for run in runs:
        run.check_has_answers(name)
        if "logits" not in run.kept:
            raise UsageError(
                f"the run of {name} on {run.place} has no kept logits",
                hint=f"qubastore ingest --model {shlex.quote(name)} --dataset {shlex.quote(run.dataset)}=PATH"
                " --keep outputs,logits",
            )


def _calibrated(store: Database, name: str, model_id: str, fitted: RunName) -> Model:
    """The calibrated model; its identity is the run that its temperatures were fitted on, whatever their values."""
    row = store.rows(
        "select input_height, input_width, num_classes, parameters, macs, activations from models where model_id = ?",
        [model_id],
    )[0]
    height, width, classes, parameters, macs, activations = row
    made_of = {"temperature": {"model": model_id, "fit_on": fitted.run_id, "folds": FOLDS}}
    size = (height, width) if height else None
    return Model(
        f"{name},calibrated={fitted.dataset}",
        "derived",
        made_of,
        "",
        {"kind": "derived"},
        size,
        classes,
        parameters,
        None,
        macs=macs,
        activations=activations,
    )


def _store_temperatures(
    store: Database, model: Model, temperatures: Sequence[Temperature], before: dict[str, str]
) -> None:
    rows = [(model.model_id, t.fold, t.value, t.n, t.nll_before, t.nll_after) for t in temperatures]

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        check_unchanged(connection, before, model.name)
        records.register_model(connection, model)
        connection.execute("delete from temperatures where model_id = ?", [model.model_id])
        insert(connection, "temperatures", rows)

    store.write(work)
