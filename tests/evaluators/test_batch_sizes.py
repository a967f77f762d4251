"""Batch sizes of an ingest: halved when memory runs out, searched for once, remembered."""

from __future__ import annotations

import numpy as np
import pytest

from qubastore.evaluators import ingest
from qubastore.evaluators.planning import shard_sizes
from qubastore.runs.removal import remove_run
from qubastore.runs.run import new_shard_size

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


@pytest.mark.parametrize("batch_size", [20, 32])
def test_outputs_do_not_depend_on_the_shard_size(store, tiny_models, images, monkeypatch, batch_size):
    """Of a network whose outputs depend on the batch, with images that cannot be decoded in the first and third."""
    for path in sorted(images.rglob("*.png"))[3:44:20]:
        path.write_bytes(b"broken")
    found = []
    for n_batches in (1, 2, 3, 8):
        monkeypatch.setattr(shard_sizes, "shard_size", lambda *_, times=n_batches, **__: times * batch_size)
        ingest(store, [f"python:{tiny_models}:sociable"], {"noise": images}, batch_size=batch_size)
        ((run, shard_size),) = store.rows("select run_id, shard_size from runs")
        assert shard_size == n_batches * batch_size
        found.append(np.concatenate([batch.column("values").to_pylist() for batch in store.logits(run)]))
        store.write(lambda c, run=run: remove_run(c, run))
    assert len(found[0]) == 147
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_new_shards_are_multiples_of_the_batch_size(store, tiny_models, images):
    """And a run keeps the shard size that it began with."""
    spec = f"python:{tiny_models}:first"
    ingest(store, [spec], {"noise": images}, batch_size=20)
    assert store.rows("select shard_size from runs") == [(140,)]
    ingest(store, [spec], {"noise": images}, batch_size=32, force=True)
    assert store.rows("select shard_size, n_shards from runs") == [(140, 2)]
    assert [new_shard_size(n, b) for n, b in ((150, 32), (150, 500), (50_000, 48))] == [128, 500, 1056]
