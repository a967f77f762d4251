"""Ensembles from kept logits: the members' mean probabilities as a derived run, without inference."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qubastore.derived.recipe import Recipe, derive
from qubastore.errors import UsageError, check_name
from qubastore.lake.database import Database
from qubastore.models.model import Model
from qubastore.runs.answers import check_has_logits
from qubastore.runs.lookup import complete_runs_of, named_model
from qubastore.runs.publish import publish_runs

MEANS = ("probabilities", "logits")
"""What an ensemble averages: softmax probabilities (Lakshminarayanan et al., arXiv 1612.01474) or logits."""


@dataclass(frozen=True)
class Ensemble:
    """The result of making an ensemble.

    Attributes:
        model: Name of the ensemble.
        runs: (place, id) of each run; a place names a dataset, framing and condition.
        skipped: Places on which not every member has a run with kept logits.
    """

    model: str
    runs: list[tuple[str, str]]
    skipped: list[str]


def ensemble(
    store: Database,
    members: Sequence[str],
    *,
    datasets: Sequence[str] = (),
    mean: str = "probabilities",
    name: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Ensemble:
    """Average models on every dataset for which all have a run with kept logits.

    The runs have the same framing, condition, precision and decoder.

    Args:
        store: A store open for writing.
        members: Names of at least two models.
        datasets: Names of datasets; none means all.
        mean: One of `MEANS`.
        name: Name of the ensemble; None means `ensemble(A, B)`.
        log: Called with progress messages.

    Raises:
        UsageError: on an unknown model, one named twice, models with different numbers of outputs, or without runs in
            common.
    """
    check_name("mean", mean, MEANS)
    named = [named_model(store, member) for member in members]
    ids = [model_id for _, model_id in named]
    if len(named) < 2 or len(set(ids)) < len(ids):
        raise UsageError(
            f"an ensemble needs more than {len(set(ids))} models" if len(named) < 2 else "a model is named twice",
            expected="at least two different models",
        )
    for member, model_id in named if mean == "logits" else ():
        check_has_logits(store, model_id, member, "average")
    model = _model(store, named, mean, name)
    runs = {model_id: {run.task: run for run in complete_runs_of(store, model_id)} for model_id in ids}
    tasks = {task: run for own in runs.values() for task, run in own.items()}
    asked = {task: run for task, run in tasks.items() if not datasets or run.dataset in datasets}
    for dataset in datasets:
        check_name("dataset", dataset, sorted({run.dataset for run in tasks.values()}))
    common = {
        task: run
        for task, run in asked.items()
        if all(task in runs[each] and runs[each][task].has_logits for each in ids)
    }
    if not common:
        raise UsageError(
            f"no dataset has a complete run with kept logits of all {len(ids)} models",
            found=", ".join(sorted({run.place for run in asked.values()})[:6]) or "no run",
            hint="qubastore show runs",
        )
    words = ["qubastore", "ensemble", *(each for each, _ in named), "--mean", mean, *(["--name", name] if name else [])]
    command = shlex.join(words)
    made = []
    for task, run in common.items():
        log(f"{model.name} on {run.place}: from kept logits")
        # In the order of ids, so that the result does not depend on the order on the command line.
        sources = [runs[each][task].run_id for each in sorted(ids)]
        recipe = Recipe(
            "ensemble",
            f"{command} --dataset {shlex.quote(run.dataset)}",
            "logits",
            sources,
            lambda _, vectors: average(vectors, mean),
        )
        made.append((run.place, derive(store, model, recipe)))
    publish_runs(store)
    # The members' ensemble keeps the first name that it was given.
    ((stored,),) = store.rows("select name from models where model_id = ?", [model.model_id])
    return Ensemble(stored, made, sorted({run.place for task, run in asked.items() if task not in common}))


def average(logits: Sequence[NDArray[np.float32]], mean: str) -> NDArray[np.float32]:
    """Return the logits of an ensemble: the mean logits, or the log of the mean probabilities.

    Args:
        logits: One (n, n_outputs) array per member.
        mean: One of `MEANS`.
    """
    wide = [each.astype(np.float64) for each in logits]
    if mean == "logits":
        mean_logits: NDArray[np.float32] = np.mean(wide, axis=0).astype(np.float32)
        return mean_logits
    logs = []
    for each in wide:
        shifted = each - each.max(axis=1, keepdims=True)
        logs.append(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
    # Subtract the largest before exponentiating: a probability may be too small for a float.
    peak = np.max(logs, axis=0)
    summed = np.sum([np.exp(each - peak) for each in logs], axis=0)
    averaged: NDArray[np.float32] = (peak + np.log(summed) - np.log(len(logs))).astype(np.float32)
    return averaged


def _model(store: Database, named: Sequence[tuple[str, str]], mean: str, name: str | None) -> Model:
    """The ensemble as a model: its parameters and operations are the sums of its members'."""
    found = [
        store.rows("select num_classes, parameters, macs, activations from models where model_id = ?", [model_id])[0]
        for _, model_id in named
    ]
    if len({row[0] for row in found}) > 1:
        raise UsageError(
            "the models have different numbers of outputs",
            found=", ".join(f"{member}: {row[0]}" for (member, _), row in zip(named, found, strict=True)),
        )

    def total(column: int) -> int | None:
        values = [row[column] for row in found]
        return None if None in values else sum(values)

    made_of = {"ensemble": {"members": sorted(model_id for _, model_id in named), "mean": mean}}
    made = Model(
        name or f"ensemble({', '.join(member for member, _ in named)})",
        "derived",
        made_of,
        "",
        {"kind": "derived"},
        None,
        found[0][0],
        total(1),
        None,
        macs=total(2),
        activations=total(3),
    )
    if store.rows("select 1 from models where name = ? and model_id <> ?", [made.name, made.model_id]):
        raise UsageError(f"another model is already called {made.name}", hint="choose another --name")
    return made
