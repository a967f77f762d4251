"""Ensembles against NumPy, and derivations that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from qubastore.derived.ensemble import average, ensemble
from qubastore.derived.temperature import calibrate
from qubastore.errors import UsageError
from tests.derived.plain import N, softmax
from tests.support.runs import add_run


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


def test_mean_logits_are_another_ensemble(store, two, data):
    (a, b), _ = data
    ((_, run),) = ensemble(store, ["a", "b"], mean="logits", name="both").runs
    want = softmax((a.astype(np.float64) + b) / 2)
    np.testing.assert_allclose(store.outputs(run)["confidence"].to_numpy(), want.max(1), atol=1e-6)
    assert store.rows("select distinct model from accuracy where run_id = ?", [run]) == [("both",)]


def test_probabilities_too_small_for_a_float_count_as_nothing():
    got = average([np.array([[0, -5000.0]], np.float32), np.array([[0, -4000.0]], np.float32)], "probabilities")
    np.testing.assert_allclose(got, [[0, -4000 - np.log(2)]], rtol=1e-6)


def test_the_name_of_an_ensemble_is_the_one_it_was_given_first(store, two):
    assert ensemble(store, ["a", "b"], name="both").model == "both"
    assert ensemble(store, ["b", "a"]).model == "both"
    with pytest.raises(UsageError, match="another model is already called a"):
        ensemble(store, ["a", "b"], mean="logits", name="a")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: ensemble(s, ["a"]), "an ensemble needs more than 1 models"),
        (lambda s: ensemble(s, ["a", "a"]), "a model is named twice"),
        (lambda s: ensemble(s, ["a", "c"]), "there is no measured model 'c'"),
        (lambda s: ensemble(s, ["a", "b"], datasets=["pet"]), "unknown dataset 'pet'"),
        (lambda s: ensemble(s, ["a", "wide"]), "different numbers of outputs"),
        (lambda s: calibrate(s, "a", fit_on="birds"), "no complete runs of a are on birds"),
        (lambda s: calibrate(s, "bare", fit_on="pets"), "has no kept logits"),
    ],
)
def test_invalid_ensembles_are_refused(store, two, data, call, says):
    (a, _), labels = data
    add_run(store, a, labels, name="bare", keep=("outputs",))
    add_run(store, np.ones((4, 7)), [0, 1, 2, 3], name="wide", dataset="wide")
    with pytest.raises(UsageError, match=says):
        call(store)
    assert store.rows("select count(*) from derivations") == [(0,)]
