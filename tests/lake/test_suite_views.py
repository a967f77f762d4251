"""Views over a whole suite: hand-worked rows of each, and a dimension without all its runs."""

from __future__ import annotations

import math

import pytest

from qubastore.analysis.coverage import dimension_states
from qubastore.metrics.catalogue import METRICS
from qubastore.metrics.dimensions import DIMENSIONS
from tests.lake.hand_worked import ACE, BALANCE, ECE, LABELS, LOGITS, PETS, near, right
from tests.support.runs import add_run

SHARES = {"fgsm": 2 / 3, "pgd": 1 / 3, "art": 1 / 3, "toys": 4 / 3}


WHOLE_CASES = {
    "relative_accuracy": (
        "select role, dataset, accuracy, clean_accuracy, relative_accuracy, matched_accuracy from relative_accuracy"
        " where role in ('corrupted', 'same_background') order by dataset",
        [
            near("corrupted", "pets-c/fog/1", 0.5, 0.75, 2 / 3, 2 / 3),
            near("corrupted", "pets-c/fog/2", 0.0, 0.75, 0.0, 0.0),
            near("same_background", "same", 0.75, 0.75, 1.0, 1.0),
        ],
    ),
    "corruption_accuracy": (
        "select dataset, corruption, severity, accuracy from corruption_accuracy order by severity",
        [near("pets-c/fog/1", "fog", 1, 0.5), near("pets-c/fog/2", "fog", 2, 0.0)],
    ),
    "shape_bias": (
        "select dataset, framing, n_outputs, n, shape_decisions, texture_decisions, shape_bias from shape_bias",
        [near("cues", "whole", 4, 3, 1 / 3, 2 / 3, 1 / 3)],
    ),
    "shape_bias_by_category": (
        "select category, n, shape_decisions, texture_decisions, shape_bias from shape_bias_by_category order by all",
        [near("cat", 2, 0.5, 0.5, 0.5), near("dog", 1, 0.0, 1.0, 0.0)],
    ),
    # cat/dog says cat, cat/dog says dog, dog/cat says cat, dog/dog says dog; the label is the shape.
    "factor_outputs": (
        "select sample_id, factor, value, label, is_right from factor_outputs join named_runs using (run_id)"
        " where dataset = 'cues' order by all",
        [
            near(0, "shape", "cat", 0, True),
            near(0, "texture", "dog", 0, True),
            near(1, "shape", "cat", 0, False),
            near(1, "texture", "dog", 0, False),
            near(2, "shape", "dog", 1, False),
            near(2, "texture", "cat", 1, False),
            near(3, "shape", "dog", 1, True),
            near(3, "texture", "dog", 1, True),
        ],
    ),
    "factor_accuracy": (
        "select factor, value, n, accuracy from factor_accuracy where dataset = 'cues' order by all",
        [
            near("shape", "cat", 2, 0.5),
            near("shape", "dog", 2, 0.5),
            near("texture", "cat", 1, 0.0),
            near("texture", "dog", 3, 2 / 3),
        ],
    ),
    # The shape is the class: cat 1 of 2, dog 1 of 2. By texture, cat 0 of 1 and dog 2 of 3; of dogs with a cat's
    # texture 0 of 1, of cats with a dog's 1 of 2, of dogs with a dog's 1 of 1. Wilson's bounds of 1 of 2, 0 of 1.
    "worst_group": (
        "select factor, grouping, n_groups, value, class_name, n, accuracy, low, high, mean_accuracy, best_accuracy,"
        " gap from worst_group where dataset = 'cues' order by all",
        [
            near("shape", "class and factor", 2, "cat", "cat", 2, 0.5, 0.09453121, 0.90546879, 0.5, 0.5, 0.0),
            near("shape", "factor", 2, "cat", None, 2, 0.5, 0.09453121, 0.90546879, 0.5, 0.5, 0.0),
            near("texture", "class and factor", 3, "cat", "dog", 1, 0.0, 0.0, 0.79345069, 0.5, 1.0, 1.0),
            near("texture", "factor", 2, "cat", None, 1, 0.0, 0.0, 0.79345069, 1 / 3, 2 / 3, 2 / 3),
        ],
    ),
    "trajectory": (
        "select training, step, model, dimension, value from trajectory where suite = 'tiny'"
        " and dimension in ('accuracy', 'parameters') order by all",
        [near("training", 500, "net", "accuracy", 0.75), near("training", 500, "net", "parameters", 2.0)],
    ),
    "measured_dimensions": (
        "select * exclude (model_id) from measured_dimensions",
        [
            near(
                "tiny",
                "net",
                0.75,
                math.sqrt(SHARES["fgsm"] * SHARES["pgd"]),
                1 / 3,
                math.sqrt(SHARES["art"] * SHARES["toys"]),
                math.sqrt(SHARES["art"] * SHARES["toys"]),
                math.sqrt(ECE * ACE),
                BALANCE,
                1 - (0.75 - 0.5) / 0.75,
                1 / 3,
                2.0,
                0.003,
                0.5,
            )
        ],
    ),
}


@pytest.mark.parametrize("view", WHOLE_CASES)
def test_hand_worked_rows_of_a_whole_suite(view, whole_suite):
    query, expected = WHOLE_CASES[view]
    assert whole_suite.rows(query) == expected


def test_every_dimension_of_a_whole_suite_is_picked_up(whole_suite):
    dimensions = [d.name for d in DIMENSIONS]
    found = dict(whole_suite.rows("select dimension, value from quality_dimensions where suite = 'tiny'"))
    assert sorted(found) == sorted(dimensions)
    metrics = dict(whole_suite.rows("select metric, value from metric_values where suite = 'tiny'"))
    assert set(metrics) == {m.name for m in METRICS if m.over == "suite"}
    assert metrics["object_focus"] == found["object_focus"] == pytest.approx(2 / 3)


def drop(store, condition):
    store.write(
        lambda c: c.execute(
            f"delete from run_summary where run_id in (select run_id from run_details where {condition})"
        )
    )


@pytest.mark.parametrize(
    ("gone", "dimension"),
    [
        ("condition like 'fgsm%'", "adversarial_robustness"),
        ("dataset = 'pets-c/fog/2'", "corruption_robustness"),
        ("dataset = 'toys'", "ood_robustness"),
        ("dataset = 'random'", "object_focus"),
        ("dataset = 'cues'", "shape_bias"),
    ],
)
def test_a_missing_run_leaves_its_dimension_null(whole, gone, dimension):
    """Never a mean over what happens to be there; the other dimensions stay."""
    drop(whole, gone)
    names = [d.column for d in DIMENSIONS]
    row = dict(zip(names, whole.rows(f"select {', '.join(names)} from measured_dimensions")[0], strict=True))
    assert [name for name, value in row.items() if value is None] == [dimension]
    states = {s.dimension: s for s in dimension_states(whole, "net", "tiny")}
    assert [name for name, state in states.items() if state.value is None] == [dimension]
    (lack,) = states[dimension].lacks
    assert lack.command.startswith("qubastore ingest --model net --dataset ")
    assert "unfinished: 4 of 4 images" in lack.reason or "not run" in lack.reason


def test_a_clean_accuracy_of_zero_has_no_relative_figures(store):
    """Null with a reason; accuracy itself is 0."""
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow'),"
            " ('t', 'shifted', 'art', 'clean', 'model', 4, '', 'pillow')"
        )
    )
    add_run(store, right(0), LABELS, classes=PETS)
    add_run(store, right(2), LABELS, classes=PETS, dataset="art")
    assert store.rows("select accuracy, ood_robustness from measured_dimensions") == [(0.0, None)]
    states = {s.dimension: s for s in dimension_states(store, "net", "t")}
    assert "clean accuracy is 0" in states["ood_robustness"].lacks[0].reason


def test_a_geometric_mean_with_a_zero_in_it_is_zero(whole):
    add_run(whole, right(0), LABELS, classes=PETS, dataset="art", name="none")
    add_run(whole, right(4), LABELS, classes=PETS, dataset="toys", name="none")
    add_run(whole, right(4), LABELS, classes=PETS, name="none")
    assert whole.rows("select ood_robustness from measured_dimensions where model = 'none'") == [(0.0,)]


def test_matched_robustness_divides_by_clean_accuracy_in_the_same_label_space(store):
    """A subset space: 2 of its 2 clean images are right among its classes, 1 of all 3 among all classes."""
    spaces = {"dataset": "art", "classes": PETS}
    run = add_run(store, right(2), LABELS, classes=PETS)
    add_run(store, right(1), LABELS, **spaces)
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow'),"
            " ('t', 'shifted', 'art', 'clean', 'model', 4, '', 'pillow')"
        )
    )
    store.write(lambda c: c.execute("update datasets set label_space = 'imagenet-r' where name = 'art'"))
    store.write(
        lambda c: c.execute(
            f"update run_metrics set value = 1.0 where metric = 'accuracy_in_imagenet_r' and run_id = '{run}'"
        )
    )
    # clean accuracy 1/2, in the other space 1; the shifted run has 1/4
    assert store.rows("select ood_robustness, ood_robustness_matched from measured_dimensions") == [(0.5, 0.25)]


def test_a_measured_model_of_the_study_has_its_columns(store):
    """Groups of the study are groups of measured models too."""
    store.write(
        lambda c: c.execute("insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow')")
    )
    add_run(store, LOGITS, LABELS, name="timm:resnet50.a1_in1k", classes=PETS)
    query = "select label, architecture, paradigm from rankable where source = 'measured'"
    assert store.rows(query) == [("ResNet50", "cnn", "a1")]


def test_a_dataset_in_another_label_space_plays_no_role(store):
    """The same name and count, but its predictions are among other classes."""
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, 'imagenet-r', 'pillow'),"
            " ('u', 'clean', 'pets', 'clean', 'model', 4, 'own-classes', 'pillow')"
        )
    )
    add_run(store, LOGITS, LABELS, classes=PETS)
    assert store.rows("select suite from dimension_runs") == [("u",)]
