"""Probes that are models: a fitted head is kept, and answers wherever the features of its backbone are kept.

The model is called `probe:NAME`. Its runs are derived from the runs of its backbone, and ingest runs backbone and head
together where gradients are needed. What it was fitted on and its weights are its identity. When the features that it
was fitted on change, its head is deleted and its runs are emptied, until it is fitted again.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qubastore.derived.probe_heads import check_probe_name, fitted_images, images_of, kept_classifier, store_head
from qubastore.derived.probe_methods import METHODS, Classifier, NearestNeighbours
from qubastore.derived.probes import FittedProbe, Probe, ProbedRuns
from qubastore.derived.recipe import Recipe, derive
from qubastore.errors import UsageError
from qubastore.lake.database import Database
from qubastore.models.loaders import PROBE
from qubastore.models.model import Model
from qubastore.runs.answers import answer_space, classes_of_probe
from qubastore.runs.lookup import RunName, complete_runs_of
from qubastore.runs.publish import publish_runs
from qubastore.statistics.logistic import LinearClassifier
from qubastore.statistics.scores import HOST, Arrays


@dataclass(frozen=True)
class SavedProbe:
    """A probe that was kept as a model.

    Attributes:
        model: Its name, `probe:NAME`.
        probe: The probe, with its accuracies.
        runs: (place, id) of each run; a place names a dataset, framing and condition.
        skipped: (place, reason) of runs of the backbone with features that it cannot or must not answer for.
    """

    model: str
    probe: Probe
    runs: list[tuple[str, str]]
    skipped: list[tuple[str, str]]


def save_probe(
    store: Database,
    model: str,
    *,
    name: str,
    train: str,
    test: str,
    val: str | None = None,
    method: str = "linear",
    arrays: Arrays = HOST,
    log: Callable[[str], None] = lambda _: None,
) -> SavedProbe:
    """Fit a probe, keep it as the model `probe:NAME`, and derive its runs, without a pass over images.

    It gets a run for every complete run of its backbone that kept features, over a dataset of the same classes without
    any of the images that it was fitted on.

    Args:
        store: A store open for writing.
        model: Name of the backbone.
        name: Name of the probe.
        train: As in `probes.probe`, and so are the rest.
        test: See there.
        val: See there.
        method: See there.
        arrays: See there.
        log: Called with progress messages.

    Raises:
        UsageError: as `probes.probe`; if another probe has the name, or a class has no sample to fit on.
        StoreError: if features change in the meantime.
    """
    check_probe_name(name)
    probed = ProbedRuns.of(store, model, train, val, test, method)
    kept = kept_classifier(store, f"{PROBE}:{name}", probed.model_id, probed.runs)
    found = probed.fit(store, arrays, log, kept)
    runs, measured = found.runs, found.probe
    space, classes = _classes(store, runs["train"].dataset_id)
    _check_classes(found.fitted.classes.tolist(), classes, runs["train"])
    made = _model(store, name, probed.model_id, found, space, classes)
    words = ["qubastore", "probe", "--model", measured.model, "--train", runs["train"].run_id]
    words += ["--val", runs["val"].run_id] if "val" in runs else []
    words += ["--test", runs["test"].run_id, "--method", method, "--save-as", name]
    store_head(store, made, found, shlex.join(words))
    known = {run_id: found.states[run_id] for run_id in (runs[split].run_id for split in found.samples)}
    seen = fitted_images(store, made.model_id)
    derived, skipped = [], []
    with_features = [run for run in complete_runs_of(store, probed.model_id) if "features" in run.kept]
    # Once per dataset: there may be many conditions of one.
    datasets = {run.dataset_id for run in with_features}
    spaces = {dataset: answer_space(made, *_classes(store, dataset)) for dataset in datasets}
    n_seen = {dataset: len(images_of(store, dataset) & seen) for dataset in datasets if spaces[dataset] is not None}
    for run in with_features:
        answers = spaces[run.dataset_id]
        if answers is None:
            skipped.append((run.place, "other classes"))
        elif n := n_seen[run.dataset_id]:
            skipped.append((run.place, f"it was fitted on {n:,} of its images"))
        else:
            log(f"{made.name} on {run.place}: from kept features")
            compute = partial(_logits, found.fitted.classifier)
            recipe = Recipe(PROBE, shlex.join(words), "features", [run.run_id], compute, list(known), known, answers)
            derived.append((run.place, derive(store, made, recipe)))
    publish_runs(store)
    return SavedProbe(made.name, measured, derived, skipped)


def _logits(
    classifier: Classifier, _: NDArray[np.int32], features: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    return classifier.logits(features[0]).astype(np.float32)


def _classes(store: Database, dataset_id: str) -> tuple[str, list[str]]:
    """The label space and the classes of a dataset."""
    ((space, classes),) = store.rows("select label_space, classes from datasets where dataset_id = ?", [dataset_id])
    return space, classes


def _check_classes(fitted: Sequence[int], classes: Sequence[str], train: RunName) -> None:
    missing = sorted(set(range(len(classes))) - set(fitted))
    if missing:
        raise UsageError(
            f"{train.dataset} has no image of the class {classes[missing[0]]!r} to fit on",
            expected=f"at least one of each of the {len(classes)} classes: a model gives a score for every class",
            found=f"{len(missing)} classes without images",
            hint="without --save-as, a probe is fitted on the classes that there are",
        )


def _model(store: Database, name: str, backbone_id: str, found: FittedProbe, space: str, names: Sequence[str]) -> Model:
    """The row of the probe: the backbone's preprocessing, and its size and cost with the head's."""
    measured, runs, classifier = found.probe, found.runs, found.fitted.classifier
    row = store.rows(
        "select preprocessing, input_height, input_width, parameters, feature_width, macs, activations from models"
        " where model_id = ?",
        [backbone_id],
    )[0]
    preprocessing, height, width, parameters, feature_width, macs, activations = row
    made_of = {
        "backbone": backbone_id,
        "method": measured.method,
        "version": METHODS[measured.method].version,
        "chosen": measured.chosen,
        "fitted_on": [runs[split].run_id for split in ("train", "val") if split in runs],
        **classes_of_probe(space, names),
    }
    own_parameters, products, sums = 0, 0, 0
    if isinstance(classifier, LinearClassifier):
        # Of two classes, the first one has no weights.
        rows = 1 if len(names) == 2 else len(names)
        own_parameters, products, sums = rows * (feature_width + 1), rows * feature_width, rows
    elif isinstance(classifier, NearestNeighbours):
        products, sums = classifier.features.size, len(classifier.features)
    return Model(
        f"{PROBE}:{name}",
        PROBE,
        {PROBE: made_of},
        _weights_hash(classifier),
        json.loads(preprocessing),
        (height, width) if height else None,
        len(names),
        None if parameters is None else parameters + own_parameters,
        feature_width,
        output_type=METHODS[measured.method].output_type,
        macs=None if macs is None else macs + products,
        activations=None if activations is None else activations + sums,
    )


def _weights_hash(classifier: Classifier) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(vars(classifier).items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{name}|{array.dtype}|{array.shape}|".encode() + array.tobytes())
    return digest.hexdigest()[:32]
