"""Derived runs whose sources change or are removed, and derivations that are interrupted."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

from qubastore.derived.ensemble import ensemble
from qubastore.derived.recipe import states as derived_states
from qubastore.derived.temperature import calibrate
from qubastore.errors import StoreError, UsageError
from qubastore.lake.rows import insert
from qubastore.runs import removal
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from tests.derived.plain import N, softmax
from tests.support.runs import write_shard


def replace_shard(store, run, number, logits, labels):
    dataset = store.rows("select dataset_id from runs where run_id = ?", [run])[0][0]
    shard = write_shard(store, run, number, number * 100, logits, labels)
    assert commit_shard(store, shard, dataset_id=dataset, replace=True)


def states(store):
    return dict(store.rows("select model || ' ' || dataset, complete from derived_runs"))


def test_a_changed_source_empties_what_came_from_it(store, two, data):
    """Through an ensemble of a calibrated model too; the command that is noted makes it anew, with new numbers."""
    (_, b), labels = data
    calibrate(store, "a", fit_on="pets")
    ensemble(store, ["a,calibrated=pets", "b"], name="both")
    assert states(store) == {"a,calibrated=pets pets": True, "a,calibrated=pets others": True, "both pets": True}
    old = store.rows("select value from metric_values where model = 'both' and metric = 'accuracy'")
    replace_shard(store, two[0], 1, b[100:200], labels[100:200])
    publish_runs(store)
    assert not any(states(store).values())
    assert store.rows("select count(*) from accuracy where model = 'both'") == [(0,)]
    derived = [row[0] for row in store.rows("select run_id from derived_runs")]
    for table in removal.RUN_TABLES:
        if table != "derivations":
            assert store.rows(f"select count(*) from {table} where list_contains(?, run_id)", [derived]) == [(0,)]
    commands = [row[0] for row in store.rows("select command from derived_runs where model = 'both'")]
    words = shlex.split(commands[0])
    assert words[:2] == ["qubastore", "ensemble"]
    assert words[words.index("--name") : words.index("--name") + 2] == ["--name", "both"]
    with pytest.raises(UsageError, match="no dataset has a complete run"):
        ensemble(store, ["a,calibrated=pets", "b"], name="both")
    calibrate(store, "a", fit_on="pets")
    ensemble(store, ["a,calibrated=pets", "b"], name="both")
    assert all(states(store).values())
    assert store.rows("select value from metric_values where model = 'both' and metric = 'accuracy'") != old
    assert store.rows("select count(*) from outputs group by run_id order by 1") == [(90,), (90,), *[(N,)] * 4]


def test_a_removed_source_empties_what_came_from_it(store, two):
    ensemble(store, ["a", "b"], name="both")
    store.write(lambda c: removal.remove_run(c, two[1]))
    assert states(store) == {"both pets": False}
    assert store.rows("select count(*) from outputs where run_id not in (?, ?)", [two[0], two[2]]) == [(0,)]


def test_a_source_that_changes_meanwhile_is_noticed(store, two, data, monkeypatch):
    """Between the read of a shard and its commit: the transaction itself looks."""
    from qubastore.derived import recipe

    (_, b), labels = data
    real = recipe._shard

    def slow(opened, run, number, recipe, space):
        shard = real(opened, run, number, recipe, space)
        if number == 2:
            replace_shard(store, two[0], 0, b[:100], labels[:100])
        return shard

    monkeypatch.setattr(recipe, "_shard", slow)
    with pytest.raises(StoreError, match="changed in the meantime"):
        ensemble(store, ["a", "b"], name="both")
    monkeypatch.undo()
    publish_runs(store)
    ((_, run),) = ensemble(store, ["a", "b"], name="both").runs
    changed = np.concatenate([b[:100], data[0][0][100:]])
    want = (softmax(changed) + softmax(b)) / 2
    np.testing.assert_allclose(store.outputs(run)["confidence"].to_numpy(), want.max(1), atol=1e-6)


def test_half_a_derived_run_is_finished(store, two, monkeypatch):
    """A kill between two shards: the same command goes on, and nothing is there twice."""
    from qubastore.derived import recipe

    real = recipe._shard

    def killed(opened, run, number, recipe, space):
        if number == 2:
            raise KeyboardInterrupt
        return real(opened, run, number, recipe, space)

    monkeypatch.setattr(recipe, "_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        ensemble(store, ["a", "b"])
    monkeypatch.undo()
    assert list(states(store).values()) == [False]
    ((_, run),) = ensemble(store, ["a", "b"]).runs
    assert store.rows("select count(*), count(distinct sample_id) from outputs where run_id = ?", [run]) == [(N, N)]


def test_what_was_read_does_not_depend_on_the_time_zone(store, two):
    store.execute("set timezone = 'America/New_York'")
    one = derived_states(store, list(two))
    store.execute("set timezone = 'Asia/Tokyo'")
    assert derived_states(store, list(two)) == one


def test_a_shard_without_one_decodable_image(store, two):
    """Its samples are failures of what is derived; the others are there."""
    store.write(lambda c: c.execute("delete from logits where run_id = ? and sample_id < 100", [two[0]]))
    store.write(lambda c: c.execute("delete from outputs where run_id = ? and sample_id < 100", [two[0]]))
    failures = [(two[0], i, f"k{i}", "broken") for i in range(100)]
    store.write(lambda c: insert(c, "failures", failures))
    ((_, run),) = ensemble(store, ["a", "b"], datasets=["pets"]).runs
    assert store.rows("select count(*), min(sample_id) from outputs where run_id = ?", [run]) == [(300, 100)]
    assert store.rows("select count(*) from failures where run_id = ?", [run]) == [(100,)]
    assert calibrate(store, "a", fit_on="pets", apply_to=["pets"]).temperature.n == 300
