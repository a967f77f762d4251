"""Runs made from logits, through the same outputs, commit and completion as real ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from qubastore.analysis.differences import named_pair
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.lake.rows import insert
from qubastore.models.model import Model
from qubastore.runs import outputs, records
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from qubastore.runs.run import Run
from qubastore.runs.shard import Shard
from qubastore.statistics import scores
from qubastore.store import Store


def dataset_of(labels, classes, name="pets", textures=None, factors=()) -> Dataset:
    """Images with labels; with the class of each one's texture, or with factors that all share, if asked."""
    factors = dict(factors)
    samples = tuple(
        Sample(
            f"{classes[label]}/{i:05d}.png",
            i + 1,
            int(label),
            {"shape": classes[label], "texture": classes[textures[i]]} if textures else factors,
        )
        for i, label in enumerate(labels)
    )
    return Dataset(name, samples, tuple(classes), "own-classes", f"/{name}", factors=factors)


def add_run(
    store: Store,
    logits,
    labels,
    *,
    name="net",
    dataset="pets",
    classes=None,
    keep=("outputs", "logits"),
    shard_size=None,
    parameters=2_000_000,
    bits=24,
    complete=True,
    condition="clean",
    framing="model",
    origin="measured",
    data=None,
    **dataset_options,
) -> str:
    """Store a run of a model called `name`, over `data` or images made up for the labels.

    `bits` are the significant bits of the kept logits.
    """
    logits, labels = np.asarray(logits, np.float32), np.asarray(labels, np.int32)
    classes = classes or [f"class{i}" for i in range(logits.shape[1])]
    data = data or dataset_of(labels, classes, dataset, **dataset_options)
    model = Model(
        name,
        "python",
        {"name": name},
        name,
        {"kind": "x"},
        (8, 8),
        logits.shape[1],
        parameters,
        4,
        "logits",
        3_000_000,
        500_000,
    )
    run = Run(
        model.model_id,
        data.dataset_id,
        len(labels),
        shard_size or len(labels),
        framing=framing,
        condition=condition,
        origin=origin,
    )

    def register(connection):
        records.register_dataset(connection, data)
        records.register_model(connection, model)
        records.register_run(connection, run)

    store.write(register)
    for number in range(run.n_shards):
        first, end = run.shard_range(number)
        shard = write_shard(store, run.run_id, number, first, logits[first:end], labels[first:end], keep, bits)
        assert commit_shard(store, shard, dataset_id=data.dataset_id)
    if complete:
        publish_runs(store)
    return run.run_id


def both_runs(store, a, b):
    """Two runs by the starts of their ids, to compare."""
    pair = named_pair(store, a, b)
    assert pair is not None
    return pair


def write_shard(store, run_id, number, first, logits, labels, keep=("outputs", "logits"), bits=24) -> Shard:
    """The files of a shard, not committed."""
    logits, labels = np.asarray(logits, np.float32), np.asarray(labels, np.int32)
    ids = np.arange(first, first + len(labels), dtype=np.int32)
    tables = {"outputs": outputs.outputs_table(run_id, ids, scores.output_columns(logits, labels))}
    if "logits" in keep:
        tables["logits"] = outputs.vectors_table(run_id, ids, scores.round_significant(logits, bits))
    if "features" in keep:  # the logits, which are what a network without a head would give
        tables["features"] = outputs.vectors_table(run_id, ids, scores.round_significant(logits, bits))
    written = outputs.write_shard(store.files, run_id, number, tables)
    return Shard(
        run_id,
        number,
        first,
        len(labels),
        written.files,
        kept=tuple(keep),
        batch_size=8,
        device="cpu",
        seconds=1.0,
        checksums=written.checksums,
    )


CLASSES = [f"class{i}" for i in range(4)]


SETS = {
    # Dataset -> (role, samples, condition); the corrupted ones have the images of the clean one.
    ("pets", "clean"): ("clean", 80),
    ("pets", "fgsm(eps=1/255)"): ("adversarial", 80),
    ("pets", "pgd(eps=1/255)"): ("adversarial", 80),
    ("fog", "clean"): ("corrupted", 80),
    ("snow", "clean"): ("corrupted", 80),
    ("sketch", "clean"): ("shifted", 60),
    ("drawings", "clean"): ("shifted", 50),
    ("same", "clean"): ("same_background", 70),
    ("random", "clean"): ("random_background", 70),
    ("cues", "clean"): ("cue_conflict", 90),
}


def pretend_schema(patch: pytest.MonkeyPatch, steps: Mapping[int, str]) -> None:
    """Have stores made with these migrations alone, and without views, as a release before did."""
    from qubastore.attachments import attached
    from qubastore.lake import creation, database, migrations

    patch.setattr(migrations, "migrations", lambda: steps)
    for module in (creation, database):
        patch.setattr(module, "refresh_views", lambda connection: None)
    patch.setattr(attached, "noted", lambda connection: ())


SKILL = {"good": 2.0, "fair": 1.9, "poor": 0.6}


def made(name, dataset, condition, n):
    """Labels of a dataset and a model's logits; the labels are the same for all models."""
    labels = np.random.default_rng(n).integers(0, len(CLASSES), n)
    generator = np.random.default_rng([len(name), ord(name[0]), ord(dataset[0]), ord(condition[0])])
    logits = generator.normal(size=(n, len(CLASSES))).astype(np.float32)
    logits[np.arange(n), labels] += SKILL[name] * (0.5 if condition != "clean" else 1)
    return logits, labels


def add_tiny_suite(store, names=None) -> None:
    """A suite `tiny` with every role, and three models that have all its runs; `names` are what they are called."""
    rows = [("tiny", role, ds, condition, "model", n, "", "pillow") for (ds, condition), (role, n) in SETS.items()]
    store.write(lambda c: insert(c, "own_suites", rows))
    for number, skill in enumerate(SKILL):
        for (dataset, condition), (role, n) in SETS.items():
            logits, labels = made(skill, dataset, condition, n)
            textures = [int(label + 1) % len(CLASSES) for label in labels] if role == "cue_conflict" else None
            data = dataset_of(labels, CLASSES, dataset, textures)
            name = names[number] if names else skill
            options = {"name": name, "condition": condition, "parameters": (number + 1) * 1_000_000}
            add_run(store, logits, labels, data=data, complete=False, **options)
    publish_runs(store)
