"""Every view: its header is whole, and a few hand-worked rows come out, with the arithmetic shown."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

import qubastore
from qubastore.analysis.coverage import dimension_states
from qubastore.lake.views import all_views
from qubastore.metrics.catalogue import METRICS
from qubastore.metrics.dimensions import DIMENSIONS
from tests.attachments import test_attachments as attachments
from tests.derived import test_derived as derived
from tests.derived import test_probes as probes
from tests.importers import test_second_study as second_study
from tests.maintenance import test_progress as progress
from tests.support.runs import add_run

# Four samples, two classes. ln 3 makes probabilities of 3/4 and 1/4, ln 9 of 9/10 and 1/10.
#   sample  logits       label  prediction  confidence  p(label)
#   0       (ln 9, 0)    0      0 right     0.9         0.9
#   1       (ln 3, 0)    0      0 right     0.75        0.75
#   2       (0, ln 3)    0      1 wrong     0.75        0.25
#   3       (0, ln 9)    1      1 right     0.9         0.9
LN3, LN9 = math.log(3), math.log(9)


LOGITS = [[LN9, 0], [LN3, 0], [0, LN3], [0, LN9]]


LABELS = [0, 0, 0, 1]


RUN = ("net", "pets", "clean", "model", "fp32")


@pytest.fixture
def answers(store):
    """view -> its rows, after a run over the four samples in a suite that it fills."""
    run_id = add_run(store, LOGITS, LABELS, classes=["cat", "dog"])
    store.write(lambda c: c.execute("insert into own_suites values ('tiny', 'clean', 'pets', 'clean', 'model', 4, '')"))

    def ask(query):
        return [tuple("RUN" if value == run_id else value for value in row) for row in store.rows(query)]

    return ask


def near(*values):
    """Floats within 1e-7: the logits are float32."""
    return tuple(pytest.approx(v, abs=1e-7) if isinstance(v, float) else v for v in values)


SPREAD = math.sqrt(((0.9 - 1.9 / 3) ** 2 + (0.75 - 1.9 / 3) ** 2 + (0.25 - 1.9 / 3) ** 2) / 3)


# 15 bins: 0.75 lies in (11/15, 12/15], 0.9 in (13/15, 14/15].
# ECE = 2/4 * |1/2 - 0.75| + 2/4 * |1 - 0.9| = 0.125 + 0.05
ECE = 0.175


# ACE with n = 4: edges at round(i * 4/15), i = 1..14: 0 0 1 1 1 2 2 2 2 3 3 3 3 4->3; distinct lower edges: every
# value above the smallest, so each distinct probability is a bin of its own; ties share the upper one.
# class 0: p = 0.1 (miss), 0.25 (hit), 0.75 (hit), 0.9 (hit): (0.1 + 0.75 + 0.25 + 0.1) / 4 = 0.3
# class 1: p = 0.1 (miss), 0.25 (miss), 0.75 (miss), 0.9 (hit): (0.1 + 0.25 + 0.75 + 0.1) / 4 = 0.3
ACE = 0.3


# class accuracies 2/3 and 1: sample std = |1 - 2/3| / sqrt(2)
ACCURACY_STD = (1 / 3) / math.sqrt(2)


# p(label) of class 0: 0.9, 0.75, 0.25 -> population std SPREAD; of class 1: 0.9 -> 0
PROBABILITY_STD = SPREAD / 2


BALANCE = math.sqrt((1 - ACCURACY_STD) * (1 - PROBABILITY_STD))


# -(2 ln 0.9 + ln 0.75 + ln 0.25) / 4
NLL = -(2 * math.log(0.9) + math.log(0.75) + math.log(0.25)) / 4


# per sample (1 - p)^2 + p_other^2 = 2 (1 - p)^2: 2 * (0.01 + 0.0625 + 0.5625 + 0.01) / 4
BRIER = 2 * (0.01 + 0.0625 + 0.5625 + 0.01) / 4


HIERA, ALEXNET = "timm:hiera_base_224.mae_in1k_ft_in1k", "torchvision:alexnet/IMAGENET1K_V1"


CASES = {
    "accuracy": (
        "select model, dataset, n_outputs, n_failed, accuracy from accuracy",
        [near("net", "pets", 4, 0, 0.75)],
    ),
    "top5_accuracy": ("select top5_accuracy from top5_accuracy", [near(1.0)]),
    "negative_log_likelihood": ("select negative_log_likelihood from negative_log_likelihood", [near(NLL)]),
    "brier_score": ("select brier_score from brier_score", [near(BRIER)]),
    "reliability_bins": (
        "select bin, low, high, n, accuracy, confidence from reliability_bins order by bin",
        [near(12, 11 / 15, 12 / 15, 2, 0.5, 0.75), near(14, 13 / 15, 14 / 15, 2, 1.0, 0.9)],
    ),
    "calibration": ("select ece, ace, calibration_error from calibration", [near(ECE, ACE, math.sqrt(ECE * ACE))]),
    # Four samples in two bins: (11/15, 12/15] has both of 0.75, one right; (13/15, 14/15] both of 0.9, both right.
    "confidence_histogram": (
        "select bin, low, n, n_correct, share from confidence_histogram where n > 0 or bin in (1, 15) order by bin",
        [
            near(1, 0.0, 0, 0, 0.0),
            near(12, 11 / 15, 2, 1, 0.5),
            near(14, 13 / 15, 2, 2, 0.5),
            near(15, 14 / 15, 0, 0, 0.0),
        ],
    ),
    "class_accuracy": (
        "select class, class_name, n, accuracy, mean_label_probability, std_label_probability"
        " from class_accuracy order by class",
        [near(0, "cat", 3, 2 / 3, 1.9 / 3, SPREAD), near(1, "dog", 1, 1.0, 0.9, 0.0)],
    ),
    "class_balance": (
        "select class_accuracy_std, class_probability_std, class_balance from class_balance",
        [near(ACCURACY_STD, PROBABILITY_STD, BALANCE)],
    ),
    "metric_values": (
        "select metric, value from metric_values order by metric",
        [
            near("accuracy", 0.75),
            near("ace", ACE),
            near("brier_score", BRIER),
            near("calibration_error", math.sqrt(ECE * ACE)),
            near("class_accuracy_std", ACCURACY_STD),
            near("class_balance", BALANCE),
            near("class_probability_std", PROBABILITY_STD),
            near("ece", ECE),
            # |1/2 - 0.75| = 0.25 is the larger of 0.25 and 0.1; the first is over-, the second underconfident.
            near("mce", 0.25),
            near("negative_log_likelihood", NLL),
            near("overconfidence", 0.125),
            near("rms_calibration_error", math.sqrt((0.25**2 + 0.1**2) / 2)),
            near("top5_accuracy", 1.0),
            near("true_class_probability", 0.7),
            near("underconfidence", 0.05),
        ],
    ),
    # (0.9 + 0.75 + 0.25 + 0.9) / 4
    "true_class_probability": ("select true_class_probability from true_class_probability", [near(0.7)]),
    "model_names": (
        "select model, name, identity from model_names",
        [("net", "net", "")],
    ),
    "run_details": (
        "select run_id, model, dataset, condition, framing, precision, origin, n_samples, complete, subset"
        " from run_details",
        [("RUN", *RUN, "measured", 4, True, False)],
    ),
    "dimension_runs": (
        "select suite, role, dataset, condition, framing, label_space, model, run_id, n_candidates from dimension_runs",
        [("tiny", "clean", "pets", "clean", "model", "own-classes", "net", "RUN", 1)],
    ),
    "suites": (
        "select suite, count(*), sum(n_samples) from suites where suite = 'tiny' group by all",
        [("tiny", 1, 4)],
    ),
    # 3 million MACs, half a million activations of 4 bytes, 4 images in the 1 second of its shard.
    "costs": (
        "select model, input_height, parameters_m, macs_g, activations_m, activation_mb, device, precision,"
        " images_per_second from costs",
        [near("net", 8, 2.0, 0.003, 0.5, 2.0, "cpu", "fp32", 4.0)],
    ),
    "quality_dimensions": (
        "select suite, model, source, dimension, value from quality_dimensions"
        " where source = 'measured' order by dimension",
        [
            near("tiny", "net", "measured", "accuracy", 0.75),
            near("tiny", "net", "measured", "calibration_error", math.sqrt(ECE * ACE)),
            near("tiny", "net", "measured", "class_balance", BALANCE),
            near("tiny", "net", "measured", "parameters", 2.0),
        ],
    ),
    "rankable": (
        "select model, accuracy, shape_bias, class_balance, parameters_m, architecture"
        " from rankable where suite = 'tiny'",
        [near("net", 0.75, None, BALANCE, 2.0, None)],
    ),
    # One published model by hand: AlexNet's accuracy alone is (0.5652 - mean) / std.
    "quba_ranking": (
        "select model, quba from quba_ranking(map {'adversarial': 0, 'corruption': 0, 'ood': 0, 'calibration': 0,"
        " 'balance': 0, 'focus': 0, 'shape': 0, 'size': 0}) where model = 'AlexNet'",
        [near("AlexNet", (0.5652 - 0.7990557251908397) / 0.034685710545946026)],
    ),
    # The same model by accuracy and size alone, weights 1 and 1: half of each standard score, size counting down.
    "quba_contributions": (
        "select dimension, direction, weight, contribution from quba_contributions(map {'robustness': 0,"
        " 'calibration': 0, 'balance': 0, 'focus': 0, 'shape': 0}) where model = 'AlexNet' and weight > 0 order by all",
        [
            near("accuracy", 1, 1.0, (0.5652 - 0.7990557251908397) / 0.034685710545946026 / 2),
            near("parameters", -1, 1.0, -(61.1 - 55.28778625954198) / 42.8890536095964 / 2),
        ],
    ),
    "zoo": (
        "select stored_as, stored_as_reference, status, tuning from zoo"
        " where model in ('Hiera-B', 'AlexNet') order by all",
        [
            (HIERA, f"{HIERA},preprocess=224/1/bilinear", "exact", "fine-tuned"),
            (ALEXNET, ALEXNET, "exact", "supervised"),
        ],
    ),
    "study_pairs": (
        "select model_a, model_b, backbone from study_pairs where comparison = 'b-cos' and model_a = 'ViT-b-16'",
        [("ViT-b-16", "bcos-simple-vit-b-patch16-224", "ViT-B/16")],
    ),
    "study_suites": ("from study_suites order by all", [("quba",), ("quba-reference",)]),
    "studied_models": (
        "select stored_as, preprocessing from studied_models where model in ('ResNet50-A1', 'AlexNet') order by all",
        [("timm:resnet50.a1_in1k", "own"), ("torchvision:alexnet/IMAGENET1K_V1", "own")],
    ),
    "difference_causes": (
        "select what, kind, divisor from difference_causes where what in ('train-mode', 'framing') order by all",
        [("framing", "protocol", False), ("train-mode", "fault", True)],
    ),
    "known_differences": (
        "select dimension, what, certainty, reproduced_in from known_differences where model = 'AlexNet' order by all",
        [
            ("adversarial_robustness", "attack-space", "shown", ""),
            ("corruption_robustness", "framing", "shown", "quba-reference"),
            ("ood_robustness", "framing", "shown", "quba-reference"),
            ("shape_bias", "framing", "shown", "quba-reference"),
        ],
    ),
    # What is relative is divided by clean accuracy: off in train mode too. Calibration is not relative.
    "published_differences": (
        "select source, dimension, what, kind, certainty, divisor from published_differences where model = 'ResNet50d'"
        " and dimension in ('corruption_robustness', 'calibration_error') order by all",
        [
            ("hesse2025", "calibration_error", "train-mode", "fault", "shown", False),
            ("hesse2025", "corruption_robustness", "framing", "protocol", "shown", False),
            ("hesse2025", "corruption_robustness", "train-mode", "fault", "shown", True),
        ],
    ),
    "without_known_faults": (
        "select model, accuracy, class_balance, calibration_error, shape_bias from without_known_faults()"
        " where model in ('AlexNet', 'Hiera-T') order by all",
        [near("AlexNet", 0.5652, 0.7319, 0.0017, 0.2636), near("Hiera-T", 0.8253, None, None, 0.2702)],
    ),
    "metrics": (f"select count(*) from metrics where metric in {tuple(m.name for m in METRICS)}", [(len(METRICS),)]),
    "dimensions": (
        "select dimension, better, default_weight from dimensions where dimension = 'shape_bias'",
        [near("shape_bias", "up", 0.5)],
    ),
    "dimension_names": (
        "select dimension from dimension_names where name = 'fairness'",
        [("class_balance",)],
    ),
}


# A whole suite. Clean accuracy is 3/4, and with n right of 4 a run's accuracy relative to it is n/3:
#   fgsm 2 right, pgd 1 right       adversarial: sqrt(2/3 * 1/3)
#   fog/1 2 right, fog/2 none       corruption: (2/3 + 0) / 2
#   art 1 right, toys 4 right       shifted: sqrt(1/3 * 4/3), of one label space, so matched is the same
#   same 3 right, random 2 right    object focus: 1 - (3/4 - 2/4) / (3/4)
#   cue-conflict, classes shape/texture: cat/dog says cat, cat/dog says dog, dog/cat says cat, dog/dog is left out
#                                   shape bias: 1 / (1 + 2)
def right(n):
    """Logits of which the first n of four are right."""
    return [[LN3, 0] if (label == 0) == (i < n) else [0, LN3] for i, label in enumerate(LABELS)]


SUITE = [
    ("adversarial", "pets", "fgsm(eps=8/255)", 2),
    ("adversarial", "pets", "pgd(eps=8/255,alpha=2/255,steps=10,start=random)", 1),
    ("corrupted", "pets-c/fog/1", "clean", 2),
    ("corrupted", "pets-c/fog/2", "clean", 0),
    ("shifted", "art", "clean", 1),
    ("shifted", "toys", "clean", 4),
    ("same_background", "same", "clean", 3),
    ("random_background", "random", "clean", 2),
]


PETS = ["cat", "dog"]


SHARES = {"fgsm": 2 / 3, "pgd": 1 / 3, "art": 1 / 3, "toys": 4 / 3}


@pytest.fixture(scope="module")
def whole_store(empty_store, tmp_path_factory):
    """A store with a run in every role of the suite `tiny`, to copy: it takes seconds to make."""
    path = tmp_path_factory.mktemp("whole") / "store"
    shutil.copytree(empty_store, path)
    rows = [f"('tiny', '{role}', '{data}', '{condition}', 'model', 4, '')" for role, data, condition, _ in SUITE]
    rows += [
        "('tiny', 'cue_conflict', 'cues', 'clean', 'whole', 4, '')",
        "('tiny', 'clean', 'pets', 'clean', 'model', 4, '')",
    ]
    with qubastore.open(path, read_only=False) as made:
        made.write(lambda c: c.execute(f"insert into own_suites values {', '.join(rows)}"))
        add_run(made, LOGITS, LABELS, classes=PETS)
        for _, data, condition, n in SUITE:
            parts = data.split("/")
            factors = {"corruption": parts[1], "severity": parts[2]} if len(parts) == 3 else {}
            add_run(made, right(n), LABELS, dataset=data, classes=PETS, condition=condition, factors=factors)
        cues = {"dataset": "cues", "classes": PETS, "framing": "whole", "textures": [1, 1, 0, 1]}
        add_run(made, [[1, 0], [0, 1], [1, 0], [0, 1]], [0, 0, 1, 1], **cues)
    return path


@pytest.fixture
def whole(whole_store, tmp_path):
    """A copy of it, open for writing."""
    shutil.copytree(whole_store, tmp_path / "whole")
    with qubastore.open(tmp_path / "whole", read_only=False) as made:
        yield made


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
    "factor_accuracy": (
        "select factor, value, n, accuracy from factor_accuracy where dataset = 'cues' order by all",
        [
            near("shape", "cat", 2, 0.5),
            near("shape", "dog", 2, 0.5),
            near("texture", "cat", 1, 0.0),
            near("texture", "dog", 3, 2 / 3),
        ],
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
def test_hand_worked_rows_of_a_whole_suite(view, whole):
    query, expected = WHOLE_CASES[view]
    assert whole.rows(query) == expected


def test_every_dimension_of_a_whole_suite_is_picked_up(whole):
    dimensions = [d.name for d in DIMENSIONS]
    found = dict(whole.rows("select dimension, value from quality_dimensions where suite = 'tiny'"))
    assert sorted(found) == sorted(dimensions)
    metrics = dict(whole.rows("select metric, value from metric_values where suite = 'tiny'"))
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
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, ''),"
            " ('t', 'shifted', 'art', 'clean', 'model', 4, '')"
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
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, ''),"
            " ('t', 'shifted', 'art', 'clean', 'model', 4, '')"
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
    store.write(lambda c: c.execute("insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, '')"))
    add_run(store, LOGITS, LABELS, name="timm:resnet50.a1_in1k", classes=PETS)
    query = "select label, architecture, paradigm from rankable where source = 'measured'"
    assert store.rows(query) == [("ResNet50", "cnn", "a1")]


def test_a_dataset_in_another_label_space_plays_no_role(store):
    """The same name and count, but its predictions are among other classes."""
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, 'imagenet-r'),"
            " ('u', 'clean', 'pets', 'clean', 'model', 4, 'own-classes')"
        )
    )
    add_run(store, LOGITS, LABELS, classes=PETS)
    assert store.rows("select suite from dimension_runs") == [("u",)]


@pytest.mark.parametrize("view", CASES)
def test_hand_worked_rows(view, answers):
    query, expected = CASES[view]
    assert answers(query) == expected


ELSEWHERE = {
    "agreement": second_study.test_models_meet_people_over_the_same_images,
    "attached_dimensions": attachments.test_figures_of_tables_arrive_as_they_are,
    "derived_runs": derived.test_a_changed_source_empties_what_came_from_it,
    "effective_robustness": second_study.test_models_on_a_line_have_no_effective_robustness,
    "error_consistency": second_study.test_models_meet_people_over_the_same_images,
    "human_accuracy": second_study.test_models_meet_people_over_the_same_images,
    "observer_trials": second_study.test_networks_decisions_stand_beside_people,
    "human_cues": second_study.test_people_in_every_view_are_those_of_their_files,
    "imagenet_x_accuracy": second_study.test_imagenet_x_by_hand,
    "imagenet_x_error_ratio": second_study.test_imagenet_x_by_hand,
    "invariance": second_study.test_invariance_by_hand,
    "label_set_accuracy": second_study.test_real_labels_come_with_official_images,
    "run_progress": progress.test_progress_by_hand,
    "probe_accuracy": probes.test_a_probe_reaches_what_scikit_learn_reaches,
}
"""Views whose hand-worked rows need more than a run, and the test that has them."""


def test_every_view_has_a_case():
    assert {view.name for view in all_views()} == {*CASES, *WHOLE_CASES, *ELSEWHERE}
    assert all(map(callable, ELSEWHERE.values()))


@pytest.mark.parametrize("view", all_views(), ids=lambda view: view.name)
def test_header_is_whole(view, store):
    assert view.summary
    assert "Grain: One row per " in view.comment
    required = [each for each in view.parameters or () if ":=" not in each]
    call = view.name if view.parameters is None else f"{view.name}({'map {}' if required else ''})"
    assert list(view.columns) == store.sql(f"from {call} limit 0").columns
    assert all(meaning.strip() for meaning in view.columns.values())


def test_headers_are_comments_in_the_store(store):
    stored = dict(store.rows("select view_name, comment from duckdb_views() where database_name = 'store'"))
    assert stored == {view.name: view.comment for view in all_views() if view.parameters is None}


def test_views_come_after_what_they_read():
    order = [view.name for view in all_views()]
    assert order.index("run_details") < order.index("accuracy") < order.index("quality_dimensions") + 1
    assert order.index("reliability_bins") < order.index("calibration")
    assert order.index("rankable") < order.index("quba_ranking")


def test_several_runs_that_could_answer(store, answers):
    """fp32 answers beside bf16; two fp32 runs of equal standing leave the role empty."""
    store.write(
        lambda c: c.execute(
            "insert into runs select 'other', model_id, dataset_id, framing, condition, 'bf16', output_schema, origin,"
            " shard_size, n_shards, versions, created_at from runs"
        )
    )
    store.write(lambda c: c.execute("insert into run_summary select 'other', * exclude (run_id) from run_summary"))
    assert answers("select run_id, n_candidates from dimension_runs") == [("RUN", 2)]
    store.write(lambda c: c.execute("update runs set precision = 'fp32' where run_id = 'other'"))
    assert answers("select run_id, n_candidates from dimension_runs") == [(None, 2)]
    assert answers("select count(*) from quality_dimensions where dimension = 'accuracy' and source = 'measured'") == [
        (0,)
    ]


def test_models_that_share_a_name_are_told_apart(store):
    add_run(store, LOGITS, LABELS, name="net", classes=["cat", "dog"])
    store.write(lambda c: c.execute("insert into models select 'ff00ff00', * exclude (model_id) from models"))
    store.write(
        lambda c: c.execute("insert into runs select 'r2', 'ff00ff00', * exclude (run_id, model_id) from runs limit 1")
    )
    names = [row[0] for row in store.rows("select model from run_details order by model")]
    assert len(set(names)) == 2
    assert "net@ff00ff" in names


def test_runs_that_failed_everywhere_divide_nothing_by_zero(store):
    run_id = add_run(store, LOGITS, LABELS, classes=["cat", "dog"])
    store.write(lambda c: c.execute("update run_summary set n_outputs = 0, n_correct = 0"))
    assert store.rows("select accuracy from accuracy where run_id = ?", [run_id]) == [(None,)]


def test_a_single_class_has_no_spread(store):
    add_run(store, [[1.0, 0.0], [2.0, 0.0]], [0, 0], classes=["cat", "dog"])
    assert store.rows("select class_accuracy_std, class_balance from class_balance") == [(None, None)]


def test_summaries_do_not_depend_on_the_shards(tmp_path):
    """The same samples in one shard and in many: equal to the last bit."""
    generator = np.random.default_rng(3)
    logits, labels = generator.normal(0, 3, (500, 7)), generator.integers(0, 7, 500)
    found = []
    for size in (500, 37):
        with qubastore.init(tmp_path / f"store{size}") as store:
            add_run(store, logits, labels, shard_size=size)
            found.append(store.rows("select metric, value from run_metrics order by metric"))
            found.append(store.rows("select * exclude (run_id, computed_at) from run_summary"))
    assert found[0] == found[2]
    assert found[1] == found[3]
