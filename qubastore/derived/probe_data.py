"""The splits that a probe is fitted and tested on: finding their runs, reading their features, images in two splits."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

import numpy as np

from qubastore.derived.probe_methods import Split
from qubastore.derived.recipe import read_labels, read_vectors
from qubastore.errors import UsageError
from qubastore.hashing import part_of
from qubastore.lake.database import Database
from qubastore.runs.lookup import RunName, complete_runs_of, named_model, named_run

HELD_OUT = 5
"""Without a validation split, one in this many training samples is held out for validation."""


def find_splits(store: Database, model: str, texts: Mapping[str, str]) -> dict[str, RunName]:
    """The runs of the splits of a task.

    Args:
        store: An open store.
        model: Name of the model.
        texts: `train`, `test` and perhaps `val` -> a dataset of one of its complete runs with kept features, or a
            prefix of the run's id.

    Raises:
        UsageError: if a run is missing or has no kept features, classes differ, or the runs differ in precision,
            condition, framing or decoder.
    """
    name, model_id = named_model(store, model)
    complete = complete_runs_of(store, model_id)
    runs = {split: named_run(store, name, complete, text) for split, text in texts.items()}
    _check(store, name, runs)
    return runs


def read_splits(store: Database, runs: Mapping[str, RunName], log: Callable[[str], None]) -> dict[str, Split]:
    """The samples of training, validation and test; without a validation split, a fifth of training is held out.

    An image of the test split is left out of training and validation, and one of validation out of training.

    Raises:
        UsageError: if there is only one class, or splits share more than half of their images.
    """
    data, dropped = _without_test_images(store, runs, {split: _read(store, run) for split, run in runs.items()})
    if dropped:
        log(f"left out of training and validation: {dropped} images that are also in another split")
    if "val" not in data:
        data["train"], data["val"] = _held_out(data["train"])
    if len(np.unique(data["train"].labels)) < 2:
        raise UsageError(
            f"the training split {runs['train'].dataset} has only one class", expected="at least two classes"
        )
    return data


def probe_tasks(store: Database, model: str) -> list[str]:
    """Tasks for which a model has complete runs with features on NAME/train and NAME/test."""
    _, model_id = named_model(store, model)
    kept = {run.dataset for run in complete_runs_of(store, model_id) if "features" in run.kept}
    return sorted(
        name.removesuffix("/train")
        for name in kept
        if name.endswith("/train") and f"{name.removesuffix('/train')}/test" in kept
    )


def task_of(runs: Mapping[str, RunName]) -> str:
    """The name of the task that splits belong to: the common part of their names, if there is one."""
    train, test = runs["train"].dataset, runs["test"].dataset
    stem = train.removesuffix("/train")
    return stem if train.endswith("/train") and test == f"{stem}/test" else f"{train} to {test}"


def _read(store: Database, run: RunName) -> Split:
    n = store.rows("select n_samples from datasets where dataset_id = ?", [run.dataset_id])[0][0]
    ids, (features,) = read_vectors(store, "features", [run.run_id], 0, n)
    keys = store.rows("select key from samples where dataset_id = ? order by sample_id", [run.dataset_id])
    if not len(ids):
        raise UsageError(f"the run on {run.place} has no samples: no image could be decoded")
    labels = read_labels(store, run.dataset_id, 0, n)[ids]
    return Split(features, labels[:, 0], np.array([row[0] for row in keys], object)[ids], ids)


def _held_out(whole: Split) -> tuple[Split, Split]:
    chosen = np.array([part_of("probe", key, HELD_OUT) == 0 for key in whole.keys])
    if chosen.all() or not chosen.any():
        raise UsageError(
            f"{len(chosen)} training samples are too few to hold some out", hint="name a validation split: --val NAME"
        )
    return whole.part(~chosen), whole.part(chosen)


def _check(store: Database, name: str, runs: Mapping[str, RunName]) -> None:
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
    store: Database, runs: Mapping[str, RunName], data: Mapping[str, Split]
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
