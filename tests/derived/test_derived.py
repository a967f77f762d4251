"""Derived runs: temperatures against torch's optimiser, ensembles against NumPy, sources that change."""

from __future__ import annotations

import shlex
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qubastore
from qubastore.derived.ensemble import average, ensemble
from qubastore.derived.recipe import states as derived_states
from qubastore.derived.temperature import ALL, FOLDS, calibrate, fit_temperature, fold_of
from qubastore.errors import StoreError, UsageError
from qubastore.lake.rows import insert
from qubastore.runs import removal
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import complete_runs
from tests.support.runs import add_run, write_shard

N, C = 400, 5


@pytest.fixture(scope="module")
def data():
    """Overconfident logits of two classifiers over the same labels."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, C, N).astype(np.int32)
    logits = generator.normal(0, 3, (2, N, C)).astype(np.float32)
    logits[:, np.arange(N), labels] += 3
    return logits, labels


@pytest.fixture(scope="module")
def made(empty_store, tmp_path_factory, data):
    """A store with runs of two models over 400 samples in four shards, and of the first over others; their ids."""
    path = tmp_path_factory.mktemp("derived") / "store"
    shutil.copytree(empty_store, path)
    (first, second), labels = data
    with qubastore.open(path, read_only=False) as store:
        a = add_run(store, first, labels, name="a", shard_size=100)
        b = add_run(store, second, labels, name="b", shard_size=100)
        other = add_run(store, second[:90], labels[:90], name="a", dataset="others")
    return path, (a, b, other)


@pytest.fixture
def store(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made[0], tmp_path / "copy")
    with qubastore.open(tmp_path / "copy", read_only=False) as copy:
        yield copy


@pytest.fixture
def two(made):
    """The ids of its runs."""
    return made[1]


def torch_temperature(logits, labels):
    """Guo et al.'s way: L-BFGS on the cross-entropy, here in float64 and until nothing moves."""
    scores, right = torch.from_numpy(np.asarray(logits, np.float64)), torch.from_numpy(labels).long()
    log_t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=500, tolerance_grad=1e-14, tolerance_change=1e-16)

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores / log_t.exp(), right)
        loss.backward()
        return loss

    optimiser.step(closure)
    value = log_t.exp().detach()
    return float(value), float(torch.nn.functional.cross_entropy(scores / value, right))


def test_temperature_is_that_of_torchs_optimiser(data):
    (logits, _), labels = data
    found = fit_temperature(logits.astype(np.float64), labels)
    value, loss = torch_temperature(logits, labels)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.nll_after == pytest.approx(loss, abs=1e-12)
    before = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels).long())
    assert found.nll_before == pytest.approx(float(before), abs=1e-12)
    assert found.value > 1.5


def test_temperature_by_hand():
    """Logits (x, 0) with 3 of 4 right: the best probability is 3/4, so x / T = ln 3."""
    found = fit_temperature(np.array([[5.0, 0.0]] * 4), np.array([0, 0, 0, 1], np.int32))
    assert found.value == pytest.approx(5 / np.log(3), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20))
def test_the_temperature_of_scaled_logits_is_scaled(seed, factor):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(0, 2, (60, 4)), generator.integers(0, 4, 60).astype(np.int32)
    logits[np.arange(60), labels] += 1.5
    one, other = fit_temperature(logits, labels), fit_temperature(logits * factor, labels)
    assert other.value == pytest.approx(one.value * factor, rel=1e-7)
    assert other.nll_after == pytest.approx(one.nll_after, abs=1e-10)
    assert one.nll_after <= one.nll_before + 1e-12


@pytest.mark.parametrize(
    "logits", [[[9.0, 0.0], [0.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]]], ids=["all right", "nothing said"]
)
def test_no_temperature_fits(logits):
    with pytest.raises(UsageError, match="no temperature fits"):
        fit_temperature(np.array(logits), np.array([0, 1], np.int32))


def test_calibration_of_other_images_divides_by_one_temperature(store, two, data):
    (logits, others), labels = data
    made = calibrate(store, "a", fit_on="pets", apply_to=["others"])
    assert made.model == "a,calibrated=pets"
    ((_, source, run),) = made.runs
    assert source == two[2]
    want = others[:90].astype(np.float64) / fit_temperature(logits.astype(np.float64), labels).value
    frame = store.outputs(run)
    probabilities = torch.softmax(torch.from_numpy(want), 1).numpy()
    np.testing.assert_allclose(frame["confidence"].to_numpy(), probabilities.max(1), atol=1e-6)
    assert frame["prediction"].to_list() == others[:90].argmax(1).tolist()
    # Every metric of it, without inference; accuracy stays.
    metrics = dict(store.rows("select metric, value from metric_values where run_id = ?", [run]))
    before = dict(store.rows("select metric, value from metric_values where run_id = ?", [source]))
    assert set(metrics) == set(before)
    assert metrics["accuracy"] == before["accuracy"]
    assert metrics["negative_log_likelihood"] < before["negative_log_likelihood"]


def test_calibration_of_the_images_fitted_on_is_cross_fitted(store, two, data):
    """Each fold, told by the samples' keys, has the temperature that the other folds' samples give."""
    (logits, _), labels = data
    made = calibrate(store, "a", fit_on="pets", apply_to=["pets"])
    keys = [
        row[0]
        for row in store.rows(
            "select key from samples join datasets using (dataset_id) where name = 'pets' order by sample_id"
        )
    ]
    folds = np.array([fold_of(key) for key in keys])
    assert sorted(set(folds)) == list(range(FOLDS))
    want = np.empty((N, C))
    for fold in range(FOLDS):
        temperature, _ = torch_temperature(logits[folds != fold], labels[folds != fold])
        want[folds == fold] = logits[folds == fold] / temperature
    frame = store.outputs(made.runs[0][2])
    np.testing.assert_allclose(
        frame["label_probability"].to_numpy(),
        torch.softmax(torch.from_numpy(want), 1).numpy()[np.arange(N), labels],
        atol=1e-6,
    )
    stored = dict(store.rows("select fold, n_fitted from temperatures"))
    assert stored == {ALL: N} | {fold: int((folds != fold).sum()) for fold in range(FOLDS)}


def test_calibrated_again_nothing_is_done(store, two):
    first = calibrate(store, "a", fit_on="pets")
    assert [place for place, *_ in first.runs] == ["others", "pets"]
    before = store.rows("select run_id, shard, committed_at from shards order by all")
    assert calibrate(store, "a", fit_on="pets").runs == first.runs
    assert store.rows("select run_id, shard, committed_at from shards order by all") == before


def test_ensembles_are_mean_probabilities(store, two, data):
    (a, b), labels = data
    made = ensemble(store, ["b", "a"])
    assert made.model == "ensemble(b, a)"
    assert made.skipped == ["others"]
    ((place, run),) = made.runs
    assert place == "pets"
    want = (softmax(a) + softmax(b)) / 2
    frame = store.outputs(run)
    np.testing.assert_allclose(frame["confidence"].to_numpy(), want.max(1), atol=1e-6)
    np.testing.assert_allclose(frame["label_probability"].to_numpy(), want[np.arange(N), labels], atol=1e-6)
    assert frame["prediction"].to_list() == want.argmax(1).tolist()
    accuracy = store.rows("select accuracy from accuracy where run_id = ?", [run])[0][0]
    assert accuracy == pytest.approx((want.argmax(1) == labels).mean())
    assert store.rows("select parameters from models where name = 'ensemble(b, a)'") == [(4_000_000,)]
    # The order on the command line is no other ensemble.
    assert ensemble(store, ["a", "b"]).runs == made.runs


def softmax(logits):
    return torch.softmax(torch.from_numpy(np.asarray(logits, np.float64)), 1).numpy()


def test_mean_logits_are_another_ensemble(store, two, data):
    (a, b), _ = data
    ((_, run),) = ensemble(store, ["a", "b"], mean="logits", name="both").runs
    want = softmax((a.astype(np.float64) + b) / 2)
    np.testing.assert_allclose(store.outputs(run)["confidence"].to_numpy(), want.max(1), atol=1e-6)
    assert store.rows("select distinct model from accuracy where run_id = ?", [run]) == [("both",)]


def test_probabilities_too_small_for_a_float_count_as_nothing():
    got = average([np.array([[0, -5000.0]], np.float32), np.array([[0, -4000.0]], np.float32)], "probabilities")
    np.testing.assert_allclose(got, [[0, -4000 - np.log(2)]], rtol=1e-6)


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
    complete_runs(store)
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
    with pytest.raises(StoreError, match="changed meanwhile"):
        ensemble(store, ["a", "b"], name="both")
    monkeypatch.undo()
    complete_runs(store)
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


def test_temperatures_go_with_what_they_were_fitted_on(store, two):
    calibrate(store, "a", fit_on="pets")
    store.write(lambda c: removal.remove_run(c, two[1]))
    assert store.rows("select count(*) from temperatures") == [(FOLDS + 1,)]
    store.write(lambda c: removal.remove_run(c, two[0]))
    assert store.rows("select count(*) from temperatures") == [(0,)]


def test_the_same_images_under_another_name_are_cross_fitted_too(store, two, data):
    (logits, _), labels = data
    add_run(store, logits, labels, name="a", dataset="twins")
    # Ingest notes what is in each file.
    hashes = "insert into sample_contents select dataset_id, sample_id, 'h' || sample_id from samples join datasets"
    store.write(lambda c: c.execute(f"{hashes} using (dataset_id) where name in ('pets', 'twins')"))
    made = {place: run for place, _, run in calibrate(store, "a", fit_on="pets").runs}
    query = "select sample_id, confidence from outputs where run_id = ? order by sample_id"
    assert store.rows(query, [made["twins"]]) == store.rows(query, [made["pets"]])


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


def test_sets_of_another_task_are_left_out(store, two, data):
    """Their outputs mean none of the classes."""
    (a, _), labels = data
    add_run(store, a, labels, name="a", dataset="flowers")
    store.write(lambda c: c.execute("update datasets set label_space = 'transfer' where name = 'flowers'"))
    made = calibrate(store, "a", fit_on="pets")
    assert "flowers" in made.skipped
    with pytest.raises(UsageError, match="mean none of the classes of flowers"):
        calibrate(store, "a", fit_on="pets", apply_to=["flowers"])


def test_the_name_of_an_ensemble_is_the_one_it_was_given_first(store, two):
    assert ensemble(store, ["a", "b"], name="both").model == "both"
    assert ensemble(store, ["b", "a"]).model == "both"
    with pytest.raises(UsageError, match="another model is called a"):
        ensemble(store, ["a", "b"], mean="logits", name="a")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: ensemble(s, ["a"]), "1 models make no ensemble"),
        (lambda s: ensemble(s, ["a", "a"]), "a model is named twice"),
        (lambda s: ensemble(s, ["a", "c"]), "there is no measured model 'c'"),
        (lambda s: ensemble(s, ["a", "b"], datasets=["pet"]), "unknown dataset 'pet'"),
        (lambda s: ensemble(s, ["a", "wide"]), "unlike numbers of outputs"),
        (lambda s: calibrate(s, "a", fit_on="birds"), "no complete runs of a are on birds"),
        (lambda s: calibrate(s, "bare", fit_on="pets"), "kept no logits"),
    ],
)
def test_what_cannot_be_made(store, two, data, call, says):
    (a, _), labels = data
    add_run(store, a, labels, name="bare", keep=("outputs",))
    add_run(store, np.ones((4, 7)), [0, 1, 2, 3], name="wide", dataset="wide")
    with pytest.raises(UsageError, match=says):
        call(store)
    assert store.rows("select count(*) from derivations") == [(0,)]
