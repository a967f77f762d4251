"""Shard sizes of an ingest: chosen from measured speeds, once, and shared by models that share decoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qubastore.evaluators import ingest
from qubastore.evaluators.planning import shard_sizes
from qubastore.evaluators.planning.shard_sizes import LARGEST, shard_size, with_shard_sizes
from qubastore.runs.removal import invalidate_shard
from tests.conftest import write_images

SIZES = "select datasets.name, shard_size, n_shards from runs join datasets using (dataset_id) order by 1"


@pytest.fixture
def small(monkeypatch):
    """Shards of 32 images up and two for each evaluator, so that a small folder has several."""
    monkeypatch.setattr(shard_sizes, "new_shard_size", lambda n: 32)
    monkeypatch.setattr(shard_sizes, "SHARDS_PER_EVALUATOR", 2)


def measured(store, speed):
    """Pretend that every shard so far ran at some images per second."""
    store.write(lambda c: c.execute(f"update shards set seconds = n_samples / {speed}"))


@given(
    st.integers(1, 100_000),
    st.one_of(st.none(), st.floats(1e-6, 100)),
    st.booleans(),
    st.integers(0, 2 * LARGEST),
    st.one_of(st.none(), st.integers(1, 3000)),
)
def test_a_size_is_within_bounds_and_cuts_no_batch(n_samples, seconds, on_gpu, at_most, batch_size):
    size = shard_size(n_samples, seconds, on_gpu=on_gpu, at_most=at_most, batch_size=batch_size)
    smallest = 1024 if on_gpu or n_samples > 4096 else 128
    assert size >= smallest
    if batch_size is None:
        assert size <= max(smallest, at_most, 1)
        assert size <= LARGEST
        assert size.bit_count() == 1
        if seconds is not None and smallest < size <= min(LARGEST, at_most) // 2:
            assert 0.7 < size * seconds / shard_sizes.SECONDS < 1.42
    else:
        assert size % batch_size == 0
        plain = shard_size(n_samples, seconds, on_gpu=on_gpu, at_most=at_most)
        assert size - batch_size < plain <= size


@pytest.mark.usefixtures("ray_session")
def test_new_runs_follow_the_measured_speed_and_begun_ones_keep_their_size(store, tiny_models, images, tmp_path, small):
    first, second = (f"python:{tiny_models}:{name}" for name in ("first", "second"))
    ingest(store, [first], {"a": images})
    assert store.rows(SIZES) == [("a", 32, 5)]
    outputs = "select * exclude (run_id) from outputs where run_id = ? order by sample_id"
    run_a = store.rows("select run_id from runs")[0][0]
    measured(store, 20)
    # 150 images: at least two shards, so at most 75 images each, though 100 would take five seconds.
    other = write_images(tmp_path / "other", {"ant": 60, "bee": 50, "cow": 40})
    ingest(store, [first], {"b": other})
    assert store.rows(SIZES) == [("a", 32, 5), ("b", 64, 3)]
    run_b = store.rows("select run_id from runs where n_shards = 3")[0][0]
    # The same images, in shards of another size.
    assert store.rows(outputs, [run_a]) == store.rows(outputs, [run_b])
    # A killed ingest is continued with the sizes of its runs, also by models that join it.
    measured(store, 1)
    store.write(lambda c: invalidate_shard(c, run_b, 1, 64, 128))
    ingest(store, [first, second], {"b": other})
    assert store.rows(SIZES) == [("a", 32, 5), ("b", 64, 3), ("b", 64, 3)]
    assert store.rows("select count(*), min(n_outputs) from run_summary") == [(3, 150)]
    # Slow models have the smallest shards.
    measured(store, 1)
    ingest(store, [first], {"c": other})
    assert ("c", 32, 5) in store.rows(SIZES)


def test_what_another_ingest_works_on_is_left_alone(store, tiny_models, images, small):
    from qubastore.datasets.image_folder import image_folder
    from qubastore.evaluators.planning.plan import plan
    from qubastore.evaluators.planning.tasks import tasks_of
    from qubastore.models.spec import ModelSpec

    planned = plan(
        store,
        [ModelSpec.parse(f"python:{tiny_models}:first")],
        tasks_of([image_folder("a", images)], None, [], None),
        precision="fp32",
        keep=None,
        force=False,
        register=True,
        log=lambda _: None,
    )
    (run,) = planned.runs
    row = ["other", "another-host", 1, None, [run.run.run_id], 150]
    store.write(lambda c: c.execute("insert into drivers values (?, ?, ?, ?, ?, ?, now())", row))
    assert with_shard_sizes(store, planned, on_gpu=False, evaluators=1, driver="mine") == planned
    assert store.rows(SIZES) == [("a", 128, 2)]
    (alone,) = with_shard_sizes(store, planned, on_gpu=False, evaluators=1, driver="other").runs
    assert (alone.run.shard_size, alone.missing) == (32, tuple(range(5)))
    assert store.rows(SIZES) == [("a", 32, 5)]
