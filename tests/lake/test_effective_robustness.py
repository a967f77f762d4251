"""Effective robustness: SciPy's line over the logits of accuracies, and what lies on it."""

from __future__ import annotations

import math

import pytest

from qubastore.derived.temperature import calibrate
from qubastore.runs.publish import publish_runs
from tests.support.runs import add_run


def test_effective_robustness_is_scipys_line(store):
    """On logit axes; a model that lies on the line of the others by construction has none."""
    from scipy.stats import linregress

    rights = {"a": (40, 20), "b": (60, 30), "c": (80, 60), "d": (50, 45)}
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 100, '', 'pillow'),"
            " ('t', 'robustness', 'art', 'clean', 'model', 100, '', 'pillow')"
        )
    )
    for name, counts in rights.items():
        for dataset, n in zip(("pets", "art"), counts, strict=True):
            logits = [[1, 0] if i < n else [0, 1] for i in range(100)]
            add_run(store, logits, [0] * 100, name=name, dataset=dataset, classes=["cat", "dog"], complete=False)
    publish_runs(store)

    def logit(share):
        return math.log(share / (1 - share))

    line = linregress([logit(n / 100) for n, _ in rights.values()], [logit(m / 100) for _, m in rights.values()])
    rows = store.rows(
        "select model, accuracy, clean_accuracy, predicted_accuracy, effective_robustness, n_models"
        " from effective_robustness order by model"
    )
    assert len(rows) == 4
    for model, accuracy, clean, predicted, effective, n in rows:
        assert (clean, accuracy) == (rights[model][0] / 100, rights[model][1] / 100)
        want = 1 / (1 + math.exp(-(line.intercept + line.slope * logit(clean))))
        assert predicted == pytest.approx(want, abs=1e-12)
        assert effective == pytest.approx(accuracy - want, abs=1e-12)
        assert n == 4
    # Copies of a model do not draw the line to themselves.
    before = store.rows("select model, effective_robustness from effective_robustness order by model")
    calibrate(store, "c", fit_on="pets")
    after = store.rows("select model, effective_robustness from effective_robustness order by model")
    kept = [row for row in after if row[0] != "c,calibrated=pets"]
    assert [row[0] for row in kept] == [row[0] for row in before]
    assert [row[1] for row in kept] == pytest.approx([row[1] for row in before], abs=1e-12)
    assert len(after) == 5
    # Two models make no line, and right everywhere has no logit.
    store.write(
        lambda c: c.execute(
            "delete from run_metrics where run_id in (select run_id from run_details where model[1] in ('c', 'd'))"
        )
    )
    assert store.rows("select predicted_accuracy, n_models from effective_robustness") == [(None, 2), (None, 2)]


def test_models_on_a_line_have_no_effective_robustness(store):
    """Clean accuracies of 1/4, 1/2 and 3/4 have logits of -ln 3, 0 and ln 3; the same on the other set is a line of
    slope 1 through 0, which predicts each accuracy exactly."""
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow'),"
            " ('t', 'robustness', 'art', 'clean', 'model', 4, '', 'pillow')"
        )
    )
    for n in (1, 2, 3):
        for dataset in ("pets", "art"):
            logits = [[1, 0] if i < n else [0, 1] for i in range(4)]
            add_run(store, logits, [0] * 4, name=f"net{n}", dataset=dataset, classes=["cat", "dog"], complete=False)
    publish_runs(store)
    rows = store.rows("select model, predicted_accuracy, effective_robustness from effective_robustness order by model")
    assert rows == [(f"net{n}", pytest.approx(n / 4, abs=1e-12), pytest.approx(0, abs=1e-12)) for n in (1, 2, 3)]
