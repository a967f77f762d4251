"""Views over one run: a few hand-worked rows of each, with the arithmetic shown."""

from __future__ import annotations

import math

import numpy as np
import pytest

import qubastore
from qubastore.metrics.catalogue import METRICS
from tests.lake.hand_worked import (
    ACCURACY_STD,
    ACE,
    BALANCE,
    BRIER,
    ECE,
    LABELS,
    LOGITS,
    NLL,
    PROBABILITY_STD,
    RUN,
    SPREAD,
    add_four_samples,
    ask,
    near,
)
from tests.support.runs import add_run

HIERA, ALEXNET = "timm:hiera_base_224.mae_in1k_ft_in1k", "torchvision:alexnet/IMAGENET1K_V1"


CASES = {
    # The margin of a two-class answer is p - (1 - p): 0.9 - 0.1, 0.75 - 0.25.
    "sample_answers": (
        "select sample_id, label, prediction, is_right, confidence, label_probability, loss, margin"
        " from sample_answers order by sample_id",
        [
            near(0, 0, 0, True, 0.9, 0.9, -math.log(0.9), 0.8),
            near(1, 0, 0, True, 0.75, 0.75, -math.log(0.75), 0.5),
            near(2, 0, 1, False, 0.75, 0.25, -math.log(0.25), 0.5),
            near(3, 1, 1, True, 0.9, 0.9, -math.log(0.9), 0.8),
        ],
    ),
    "class_names": ("select class, name from class_names order by class", [near(0, "cat"), near(1, "dog")]),
    "confusions": (
        "select label, label_name, prediction, prediction_name, n, share, confidence from confusions order by 1, 3",
        [
            near(0, "cat", 0, "cat", 2, 2 / 3, (0.9 + 0.75) / 2),
            near(0, "cat", 1, "dog", 1, 1 / 3, 0.75),
            near(1, "dog", 1, "dog", 1, 1.0, 0.9),
        ],
    ),
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
    "complete_runs": (
        "select run_id, model, dataset, condition, framing, precision, n_outputs, n_failed, subset, decoder"
        " from complete_runs",
        [("RUN", *RUN, 4, 0, False, "pillow")],
    ),
    "named_runs": (
        "select run_id, model, dataset, condition, framing, precision, label_space, origin, n_samples, subset, decoder"
        " from named_runs",
        [("RUN", *RUN, "own-classes", "measured", 4, False, "pillow")],
    ),
    "run_details": (
        "select run_id, model, dataset, condition, framing, precision, origin, n_samples, complete, subset"
        " from run_details",
        [("RUN", *RUN, "measured", 4, True, False)],
    ),
    "dimension_runs": (
        "select suite, role, dataset, condition, framing, decoder, label_space, model, run_id, n_candidates"
        " from dimension_runs",
        [("tiny", "clean", "pets", "clean", "model", "pillow", "own-classes", "net", "RUN", 1)],
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
    # 1000 / 250 = 4 ms an image.
    "benchmarks": (
        "select model, device, runtime, precision, height, latency_ms, latency_p99_ms, n_latencies, batch_size,"
        " images_per_second, ms_per_image, peak_memory_mb, energy_j from benchmarks",
        [near("net", "GPU", "torch 2", "bf16", 8, 1.5, 2.5, 100, 32, 250.0, 4.0, 64.0, 0.5)],
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


@pytest.mark.parametrize("view", CASES)
def test_hand_worked_rows(view, answers):
    query, expected = CASES[view]
    assert answers(query) == expected


def test_several_runs_that_could_answer(store):
    """fp32 answers beside bf16; two fp32 runs of equal standing leave the role empty."""
    run_id = add_four_samples(store)
    store.write(
        lambda c: c.execute(
            "insert into runs select 'other', model_id, dataset_id, framing, condition, 'bf16', output_schema, origin,"
            " shard_size, n_shards, versions, created_at, decoder, answer_space from runs"
        )
    )
    store.write(lambda c: c.execute("insert into run_summary select 'other', * exclude (run_id) from run_summary"))
    assert ask(store, run_id, "select run_id, n_candidates from dimension_runs") == [("RUN", 2)]
    store.write(lambda c: c.execute("update runs set precision = 'fp32' where run_id = 'other'"))
    assert ask(store, run_id, "select run_id, n_candidates from dimension_runs") == [(None, 2)]
    query = "select count(*) from quality_dimensions where dimension = 'accuracy' and source = 'measured'"
    assert store.rows(query) == [(0,)]


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
