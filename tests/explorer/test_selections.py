"""Which images a selection has: its SQL against the same filters in NumPy, and addresses that are not valid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qubastore.errors import UsageError
from qubastore.explorer.samples import samples
from qubastore.explorer.selection import AGREE, RIGHT, SORTS, Selection, read_selection
from tests.support.runs import add_run

CHOICES = {
    "n": st.integers(1, 3),
    "right": st.tuples(*[st.sampled_from(RIGHT)] * 3),
    "agree": st.sampled_from(AGREE),
    "label": st.sampled_from([None, 0, 1, 2]),
    "prediction": st.sampled_from([None, 0, 1, 2]),
    "low": st.sampled_from([None, 0.0, 0.5, 0.75]),
    "high": st.sampled_from([None, 0.6, 1.0]),
    "below": st.sampled_from([None, 0.5, 0.9]),
    "sort": st.sampled_from(sorted(SORTS)),
    "descending": st.booleans(),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.fixed_dictionaries(CHOICES))
def test_a_selection_is_what_numpy_selects(explored, opened, chosen):
    n, right = chosen.pop("n"), chosen.pop("right")
    if n == 1 and chosen["sort"] == "disagreement":
        chosen["sort"] = "loss"
    selection = Selection(tuple(explored.runs[:n]), right[:n], **chosen)
    answers = [explored.answers(i) for i in range(n)]
    keep = np.ones(len(explored.labels), bool)
    for (prediction, *_), wanted in zip(answers, right, strict=False):
        if wanted != "any":
            keep &= (prediction == explored.labels) == (wanted == "right")
    predictions = np.array([prediction for prediction, *_ in answers])
    if n > 1 and chosen["agree"] != "any":
        keep &= (predictions == predictions[0]).all(axis=0) == (chosen["agree"] == "same")
    first, confidence, _ = answers[0]
    if chosen["label"] is not None:
        keep &= explored.labels == chosen["label"]
    if chosen["prediction"] is not None:
        keep &= first == chosen["prediction"]
    if chosen["low"] is not None:
        keep &= confidence >= chosen["low"]
    if chosen["high"] is not None:
        keep &= confidence <= chosen["high"]
    if chosen["below"] is not None:
        keep &= confidence < chosen["below"]
    found = samples(opened, selection, limit=500, offset=0)
    assert found["n"] == keep.sum()
    assert {row["sample_id"] for row in found["rows"]} == set(np.flatnonzero(keep))
    ordered = np.sort(np.stack([_probabilities(x) for x in explored.logits[:n]]), axis=2)
    truth = np.array([p for _, _, p in answers])
    by = {
        "sample": np.arange(len(keep)),
        "confidence": confidence,
        "loss": -np.log(truth[0]),
        "margin": ordered[0, :, -1] - ordered[0, :, -2],
        "disagreement": truth.max(axis=0) - truth.min(axis=0),
    }[chosen["sort"]]
    values = [by[row["sample_id"]] for row in found["rows"]]
    assert values == pytest.approx(sorted(values, reverse=chosen["descending"]), abs=1e-6)


def _probabilities(logits):
    x = logits.astype(np.float64)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_pages_of_a_selection_are_its_rows_in_order(explored, opened):
    selection = Selection(tuple(explored.runs[:2]), sort="loss", descending=True)
    whole = samples(opened, selection, limit=500, offset=0)
    parts = [samples(opened, selection, limit=40, offset=offset) for offset in (0, 40, 80, 120)]
    assert [row for part in parts for row in part["rows"]] == whole["rows"]
    assert {part["n"] for part in parts} == {90}
    assert [len(row["answers"]) for row in whole["rows"]] == [2] * 90
    assert [row["key"] for row in whole["rows"]] == [
        explored.data.samples[row["sample_id"]].key for row in whole["rows"]
    ]


def test_the_query_shown_gives_the_same_rows(explored, opened):
    selection = Selection(
        tuple(explored.runs[:2]), ("wrong", "right"), search="IT'S", sort="confidence", descending=True
    )
    found = samples(opened, selection, limit=500, offset=0)
    shown = opened.records(found["sql"])
    assert [(row["sample_id"], row["key"]) for row in shown] == [
        (row["sample_id"], row["key"]) for row in found["rows"]
    ]


def test_runs_over_different_images_have_none_in_common(store):
    runs = [add_run(store, [[1, 0], [0, 1]], [0, 0], dataset=name) for name in ("pets", "fog")]
    assert samples(store, Selection(tuple(runs)), limit=10, offset=0)["n"] == 0


def test_a_text_to_search_for_is_a_text(explored, opened):
    for text in ("' or true --", "%", "_", "<IMG", "bee's/it"):
        found = samples(opened, Selection((explored.runs[0],), search=text), limit=500, offset=0)
        keys = [sample.key for sample in explored.data.samples if text.lower() in sample.key.lower()]
        assert [row["key"] for row in found["rows"]] == keys


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ([], "no run is chosen"),
        ([("b", "abc")], "no run is chosen"),
        ([("a", "x' or 1=1")], "not the id of a run"),
        ([("a", "1"), ("a_is", "nice")], "unknown choice 'nice'"),
        ([("a", "1"), ("agree", "no")], "unknown choice 'no'"),
        ([("a", "1"), ("label", "-1")], "label='-1' is not a class"),
        ([("a", "1"), ("label", "²")], "is not a class"),
        ([("a", "1"), ("low", "nan")], "low='nan' is not a confidence"),
        ([("a", "1"), ("high", "2")], "high='2' is not a confidence"),
        ([("a", "1"), ("sort", "beauty")], "unknown sort order 'beauty'"),
        ([("a", "1"), ("sort", "disagreement")], "one model cannot disagree"),
        ([("a", "1"), ("factor", "pose")], "has no value"),
    ],
)
def test_addresses_that_are_not_valid(address, message):
    with pytest.raises(UsageError, match=message):
        read_selection(address)


def test_a_and_c_without_b_keep_their_own_choices():
    words = [("a", "1"), ("c", "3"), ("a_is", "wrong"), ("b_is", "right"), ("c_is", "wrong")]
    assert read_selection(words) == Selection(("1", "3"), ("wrong", "wrong"))


def test_what_one_model_does_not_say_has_no_disagreement(store):
    runs = [add_run(store, [[1, 0], [0, 1]], [0, 0], name=name) for name in ("net", "other")]
    store.write(
        lambda c: c.execute("update outputs set label_probability = null where run_id = ? and sample_id = 0", runs[1:])
    )
    found = samples(store, Selection(tuple(runs), sort="disagreement"), limit=10, offset=0)
    assert [row["sample_id"] for row in found["rows"]] == [1, 0]


def test_an_address_is_a_selection():
    words = [("a", "1"), ("b", "2"), ("a_is", "wrong"), ("low", "0.5"), ("factor", "pose=a=b"), ("sort", "loss")]
    assert read_selection([*words, ("order", "desc"), ("theme", "dark")]) == Selection(
        ("1", "2"), ("wrong", "any"), low=0.5, factors={"pose": "a=b"}, sort="loss", descending=True
    )
