"""Stored values come back as they were: any text, any float, each run from its own files."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.errors import (
    QubastoreError,
)
from qubastore.lake.ducklake import connect, quote
from qubastore.lake.location import locate
from qubastore.runs import outputs
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from qubastore.runs.records import register_dataset
from qubastore.runs.run_files import RunFileWriter
from qubastore.runs.shard import Failure
from tests.support.runs import add_run, write_shard


def test_failures_round_trip(store):
    run_id = add_run(store, np.eye(2), [0, 1], complete=False)
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    shard = write_shard(store, run_id, 0, 0, np.eye(1, 2), [0])
    shard = replace(shard, n_samples=2, failures=(Failure(1, "class1/ü'\"\n.png", "no image"),))
    commit_shard(store, shard, dataset_id=dataset_id, replace=True)
    publish_runs(store)
    assert store.rows("from failures") == [(run_id, 1, "class1/ü'\"\n.png", "no image")]
    assert store.rows("select n_outputs, n_failed from accuracy") == [(1, 1)]


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, st.integers(0, 2**40), st.integers(0, 2), st.dictionaries(names, names, max_size=3))))
def test_datasets_round_trip(store, rows):
    samples = tuple(Sample(key, size, label, factors) for key, size, label, factors in rows)
    data = Dataset(f"set {time.monotonic_ns()}/ü'", samples, ("a", "b/c", "d'"), "own-classes", None)
    store.write(lambda c: register_dataset(c, data))
    found = store.rows(
        "select key, bytes, factors from samples where dataset_id = ? order by sample_id", [data.dataset_id]
    )
    assert found == [(s.key, s.size, dict(s.factors)) for s in samples]
    labels = store.rows("select labels from label_sets where dataset_id = ? order by sample_id", [data.dataset_id])
    assert labels == [([s.label],) for s in samples]


@given(names)
def test_quoted_text_comes_back(text):
    assert CONNECTION.execute(f"select {quote(text)}").fetchone() == (text,)


CONNECTION = connect(locate("store"))


def test_vectors_of_any_value_come_back_through_the_store(store):
    values = np.array([[np.inf, -np.inf, np.nan], [0.0, -0.0, 1e-45], [3.4e38, -3.4e38, 1.0]], np.float32)
    run_id = add_run(store, np.eye(3), [0, 1, 2], keep=("outputs",))
    table = outputs.vectors_table(run_id, np.arange(3, dtype=np.int32), values)
    writer = RunFileWriter(store.files, run_id, "features")
    writer.add(table)
    (file,) = writer.finish()
    call = "call ducklake_add_data_files('store', 'features', ?, hive_partitioning => true)"
    store.write(lambda c: c.execute(call, [file.path]))
    back = np.concatenate([b.column("values").flatten().to_numpy(zero_copy_only=False) for b in store.features(run_id)])
    np.testing.assert_array_equal(back.view(np.uint32), values.reshape(-1).view(np.uint32))


def test_one_run_reads_its_own_files_only(store):
    """Partitions prune: a damaged file of another run does not matter."""
    first = add_run(store, np.eye(4), [0, 1, 2, 3], name="one")
    second = add_run(store, np.eye(4), [0, 1, 2, 3], name="two")
    for file in (store.data_path / "main" / "outputs" / f"run_id={second}").iterdir():
        file.write_bytes(b"damaged")
    assert len(store.outputs(first)) == 4
    with pytest.raises(QubastoreError, match=r"(?i)parquet"):
        store.rows("select count(label) from outputs where run_id = ?", [second])


def test_likelihoods_below_what_a_probability_can_hold(store):
    """-ln p = 800 and 0.31326 (= ln(1 + e^-1)): p itself underflows to zero."""
    add_run(store, [[800.0, 0.0], [0.0, 1.0]], [1, 1])
    assert store.rows("select negative_log_likelihood from negative_log_likelihood") == [
        (pytest.approx((800 + np.log1p(np.exp(-1))) / 2, abs=1e-9),)
    ]
