"""Runs made from logits, through the same outputs, commit and completion as real ones."""

from __future__ import annotations

import numpy as np

from qubastore import outputs, registry
from qubastore.commit import Shard, commit_shard
from qubastore.completion import complete_runs
from qubastore.datasets import Dataset, Sample
from qubastore.models import Model
from qubastore.runs import Run
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
        registry.register_dataset(connection, data)
        registry.register_model(connection, model)
        registry.register_run(connection, run)

    store.write(register)
    for number in range(run.n_shards):
        first, end = run.shard_range(number)
        shard = write_shard(store, run.run_id, number, first, logits[first:end], labels[first:end], keep, bits)
        assert commit_shard(store, shard, dataset_id=data.dataset_id)
    if complete:
        complete_runs(store)
    return run.run_id


def write_shard(store, run_id, number, first, logits, labels, keep=("outputs", "logits"), bits=24) -> Shard:
    """The files of a shard, not committed."""
    logits, labels = np.asarray(logits, np.float32), np.asarray(labels, np.int32)
    ids = np.arange(first, first + len(labels), dtype=np.int32)
    tables = {"outputs": outputs.outputs_table(run_id, ids, outputs.output_columns(logits, labels))}
    if "logits" in keep:
        tables["logits"] = outputs.vectors_table(run_id, ids, outputs.round_significant(logits, bits))
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
