"""Batch sizes of an ingest: halved when memory runs out, searched for once, remembered."""

from __future__ import annotations

import pytest

from qubastore.evaluators import ingest

pytestmark = pytest.mark.usefixtures("ray_session")


def test_out_of_memory_halves_the_batch(store, tiny_models, images):
    ingest(store, [f"python:{tiny_models}:hungry"], {"noise": images}, batch_size=32)
    assert store.rows("select distinct batch_size from shards") == [(4,)]
    assert store.rows("select n_outputs from accuracy") == [(150,)]


def test_the_largest_batch_is_found_once_and_remembered(store, tiny_models, images):
    spec = f"python:{tiny_models}:hungry"
    ingest(store, [spec], {"noise": images}, conditions=["clean", "fgsm"], batch_size="auto")
    # Five images fit at most, so four in a forward pass and, the same network, four in one with gradients.
    found = store.rows("select work, batch_size, device, precision from batch_sizes order by work")
    assert found == [("forward", 4, "cpu", "fp32"), ("gradients", 4, "cpu", "fp32")]
    assert store.rows("select distinct batch_size from shards") == [(4,)]
    # What is remembered is used, and not found again; where it turns out too large, the smaller one is remembered.
    store.write(lambda c: c.execute("update batch_sizes set batch_size = 2 where work = 'forward'"))
    ingest(store, [spec], {"noise": images}, batch_size="auto", force=True)
    assert store.rows(
        "select distinct batch_size from shards s join runs r using (run_id) where condition = 'clean'"
    ) == [(2,)]
    store.write(lambda c: c.execute("update batch_sizes set batch_size = 32 where work = 'forward'"))
    ingest(store, [spec], {"noise": images}, batch_size="auto", force=True)
    assert store.rows("select batch_size from batch_sizes where work = 'forward'") == [(4,)]


def test_a_batch_size_of_ones_own_is_not_remembered(store, tiny_models, images):
    ingest(store, [f"python:{tiny_models}:hungry"], {"noise": images}, batch_size=32)
    assert store.rows("from batch_sizes") == []
