"""Invariance to transformations, by hand."""

from __future__ import annotations

import math

import pytest

from qubastore.runs.publish import publish_runs
from tests.support.runs import add_run


def test_invariance_by_hand(store):
    """Unaltered, right on samples 0, 1 and 2 of 4; twice as large, right on 0 and 3. The two predictions are the same
    for sample 0 alone (of two classes, a changed answer is a changed right). With logits of ln 3, each right class has
    3/4 or 1/4."""
    x = math.log(3)
    clean = [[x, 0], [x, 0], [x, 0], [0, x]]
    larger = [[x, 0], [0, x], [0, x], [x, 0]]
    add_run(store, clean, [0] * 4, classes=["cat", "dog"])
    add_run(store, larger, [0] * 4, classes=["cat", "dog"], condition="scale(2)")
    columns = "condition, transformation, amount, accuracy, true_class_probability, consistency, clean_accuracy"
    assert store.rows(f"select {columns}, clean_true_class_probability from invariance order by amount") == [
        ("clean", "scale", 1.0, 0.75, pytest.approx(0.625), 1.0, 0.75, pytest.approx(0.625)),
        ("scale(2)", "scale", 2.0, 0.5, pytest.approx(0.5), 0.25, 0.75, pytest.approx(0.625)),
    ]


def test_a_variant_stands_beside_what_is_usual(store):
    """A shift by 0 is the clean run, except where the crop comes first: then it is a run of its own."""
    names = {
        "clean": [[1, 0], [0, 1]],
        "shift(5)": [[1, 0], [1, 0]],
        "shift(0,order=crop-first,interpolation=bilinear)": [[1, 0], [0, 1]],
        "shift(5,direction=down,order=crop-first)": [[0, 1], [0, 1]],
    }
    for condition, logits in names.items():
        add_run(store, logits, [0, 1], classes=["cat", "dog"], condition=condition, complete=False)
    publish_runs(store)
    query = (
        "select condition, amount, direction, variant, accuracy, consistency from invariance order by variant, amount"
    )
    assert store.rows(query) == [
        ("clean", 0.0, "longer", "", 1.0, 1.0),
        ("shift(5)", 5.0, "longer", "", 0.5, 0.5),
        ("shift(5,direction=down,order=crop-first)", 5.0, "down", "order=crop-first", 0.5, 0.5),
        (
            "shift(0,order=crop-first,interpolation=bilinear)",
            0.0,
            "longer",
            "order=crop-first,interpolation=bilinear",
            1.0,
            1.0,
        ),
    ]
