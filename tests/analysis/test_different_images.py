"""Differences of models that were not run on the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qubastore.analysis.differences import of_models, of_runs
from qubastore.errors import UsageError
from qubastore.lake.rows import insert
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.request import RankRequest
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from qubastore.runs.shard import Failure
from qubastore.statistics.options import BootstrapOptions
from tests.support.runs import add_run, both_runs, write_shard


def test_models_over_different_images_are_not_paired(store):
    """One name, other images: a difference is refused; where some are the same, they alone have one."""
    generator = np.random.default_rng(0)
    rows = [
        ("mine", role, name, "clean", "model", None, "", "pillow")
        for role, name in (("clean", "pets"), ("shifted", "x"))
    ]
    store.write(lambda c: insert(c, "own_suites", rows))
    for name, n, n_shifted in (("a", 30, 20), ("b", 30, 24), ("c", 33, 24)):
        for dataset, size in (("pets", n), ("x", n_shifted)):
            labels = [i % 3 for i in range(size)]
            add_run(
                store,
                generator.normal(size=(size, 3)) + np.eye(3)[labels] * 2,
                labels,
                name=name,
                dataset=dataset,
                complete=False,
            )
    publish_runs(store)
    table = of_models(store, "a", "b", suite="mine", options=BootstrapOptions(resamples=20))
    found = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert found["accuracy"]["difference"] is not None
    assert (found["ood_robustness"]["a"] is None, found["ood_robustness"]["difference"]) == (False, None)
    assert "different images: x" in " ".join(table.notes)
    with pytest.raises(UsageError, match=r"different images: pets"):
        of_models(store, "a", "c", suite="mine", options=BootstrapOptions(resamples=20))
    notes = rank_intervals(store, RankRequest(suite="mine", partial=True), BootstrapOptions(resamples=20))[0].notes
    assert "different images under the same name, not paired there: pets, x" in " ".join(notes)
    runs = [row[0] for row in store.rows("select run_id from run_details where dataset = 'pets' order by model")]
    with pytest.raises(UsageError, match="is over"):
        of_runs(store, *both_runs(store, runs[0], runs[2]))


def test_what_both_could_decode_counts(store):
    """The last image failed in one run: both accuracies are over the others."""
    labels = np.array([i % 3 for i in range(30)], np.int32)
    generator = np.random.default_rng(1)
    a, b = (generator.normal(size=(30, 3)) + np.eye(3)[labels] for _ in range(2))
    a[29] = np.eye(3)[labels[29]] * 9
    store.write(lambda c: insert(c, "own_suites", [("mine", "clean", "pets", "clean", "model", None, "", "pillow")]))
    one = add_run(store, a, labels, name="a", complete=False)
    run_id = _run_with_a_failure(store, b, labels)
    table = of_runs(store, *both_runs(store, one, run_id), options=BootstrapOptions(resamples=20))
    found = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    right = [(each[:29].argmax(axis=1) == labels[:29]).mean() for each in (a, b)]
    assert (found["accuracy"]["a"], found["accuracy"]["b"]) == pytest.approx(tuple(right))
    assert "1 outputs" in " ".join(table.notes)
    models = of_models(store, "a", "b", suite="mine", options=BootstrapOptions(resamples=20))
    assert models.rows[0][1] == pytest.approx(right[0])


def _run_with_a_failure(store, logits, labels):
    run_id = add_run(store, logits, labels, name="b", complete=False)
    dataset_id = store.rows("select dataset_id from runs where run_id = ?", [run_id])[0][0]
    tables = ("shards", "outputs", "logits")
    store.write(lambda c: [c.execute(f"delete from {table} where run_id = ?", [run_id]) for table in tables])
    shard = write_shard(store, run_id, 0, 0, logits[:29], labels[:29])
    failed = (Failure(29, "class2/00029.png", "truncated"),)
    assert commit_shard(store, replace(shard, n_samples=30, failures=failed), dataset_id=dataset_id)
    publish_runs(store)
    return run_id
