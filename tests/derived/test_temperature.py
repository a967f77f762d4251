"""Temperature scaling: fits against torch's optimiser, calibrated runs, cross-fitting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qubastore.derived.temperature import ALL, FOLDS, calibrate, fit_temperature, fold_of
from qubastore.errors import UsageError
from qubastore.runs import removal
from tests.derived.plain import C, N, torch_temperature
from tests.support.runs import add_run


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


def test_sets_of_another_task_are_left_out(store, two, data):
    """Their outputs mean none of the classes."""
    (a, _), labels = data
    add_run(store, a, labels, name="a", dataset="flowers")
    store.write(lambda c: c.execute("update datasets set label_space = 'transfer' where name = 'flowers'"))
    made = calibrate(store, "a", fit_on="pets")
    assert "flowers" in made.skipped
    with pytest.raises(UsageError, match="on flowers: no output is one of its classes"):
        calibrate(store, "a", fit_on="pets", apply_to=["flowers"])
