"""Known figures of the second study's files: ReaL, ImageNet-X, people; each view against an independent computation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from qubastore.importers.imagenet_x import FACTORS, METACLASSES
from qubastore.importers.people import image_id
from tests.conftest import shared
from tests.importers.second_study import annotation_files, rows_of


@pytest.mark.parametrize(("model", "accuracy"), [("ResNet50", 0.829579), ("ViT", 0.839870)])
def test_known_real_accuracy(known, model, accuracy):
    query = "select n, accuracy from label_set_accuracy where label_set = 'real' and model = ?"
    assert known.rows(query, [model]) == [(46_837, pytest.approx(accuracy, abs=5e-7))]


RATIOS = {
    "pose": 0.695,
    "background": 1.142,
    "pattern": 0.771,
    "color": 1.189,
    "smaller": 1.497,
    "shape": 1.744,
    "partial_view": 1.132,
    "subcategory": 2.105,
    "texture": 2.394,
    "larger": 1.316,
    "darker": 1.715,
    "object_blocking": 1.923,
    "person_blocking": 2.171,
    "style": 1.928,
    "brighter": 1.166,
    "multiple_objects": 1.974,
}


def test_known_error_ratios(known):
    """ResNet50's, top factor, prototypes left out: 46,110 images."""
    query = (
        "select factor, round(error_ratio, 3) from imagenet_x_error_ratio"
        " where model = 'ResNet50' and annotation = 'top' and metaclass = 'all'"
    )
    assert dict(known.rows(query)) == RATIOS
    query = "select distinct n from imagenet_x_accuracy where metaclass = 'all' and factor = 'all'"
    assert known.rows(query) == [(46_110,)]


def published_definitions(kind):
    """ImageNet-X's arithmetic on its files, with plain loops: (metaclass, factor) -> accuracy, n for ResNet50."""
    folder = annotation_files()
    names = [row["name"] for row in rows_of(folder / "imagenet_1k_classes_to_100_metaclasses.csv")]
    prototypes = {row["file_name"] for row in rows_of(folder / "prototypical_paths.csv")}
    predictions = {
        row["file_name"]: int(row["predicted_class"]) for row in rows_of(shared("data", "predictions", "ResNet50.csv"))
    }
    hits: dict[tuple[str, str], list[bool]] = {}
    for line in (folder / f"imagenet_x_val_{kind}_factor.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["file_name"] in prototypes:
            continue
        right = predictions[entry["file_name"]] == entry["class"]
        metaclass = names[entry["class"]] if names[entry["class"]] in METACLASSES else "other"
        for factor in ("all", *(f for f in FACTORS if entry[f])):
            for group in ("all", metaclass):
                hits.setdefault((group, factor), []).append(right)
    return {key: (np.mean(values), len(values)) for key, values in hits.items()}


@pytest.mark.parametrize("kind", ["top", "multi"])
def test_imagenet_x_accuracies_are_those_of_its_definitions(known, kind):
    from scipy.stats import binomtest

    want = published_definitions(kind)
    rows = known.rows(
        "select metaclass, factor, accuracy, n, low, high from imagenet_x_accuracy"
        " where model = 'ResNet50' and annotation = ?",
        [kind],
    )
    assert len(rows) == len(want) > 200
    for metaclass, factor, accuracy, n, low, high in rows:
        assert (accuracy, n) == (pytest.approx(want[metaclass, factor][0], abs=1e-12), want[metaclass, factor][1])
        interval = binomtest(round(accuracy * n), n).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    ratios = known.rows(
        "select metaclass, factor, error_ratio, low, high from imagenet_x_error_ratio"
        " where model = 'ResNet50' and annotation = ?",
        [kind],
    )
    assert {row[0] for row in ratios} == {"all", "other", *METACLASSES}
    for metaclass, factor, ratio, low, high in ratios:
        overall = 1 - want[metaclass, "all"][0]
        assert ratio == (pytest.approx((1 - want[metaclass, factor][0]) / overall, abs=1e-9) if overall else None)
        assert ratio is None or low <= ratio <= high


@pytest.mark.parametrize(
    ("subject", "bias"), [("01", 0.96172), ("02", 0.94381), ("03", 0.96731), ("04", 0.91909), ("05", 0.96398)]
)
def test_known_shape_bias_of_people(known, subject, bias):
    query = "select round(shape_bias, 5), observer from shape_bias where model = ?"
    assert known.rows(query, [f"subject-{subject}"]) == [(bias, "person")]


def trials(subject):
    (file,) = shared("data", "human").glob(f"*_subject-{subject}_*.csv")
    return rows_of(file)


def test_people_in_every_view_are_those_of_their_files(known):
    """Accuracy, shape bias per category, and their mean, from the CSV files by hand."""
    answers = {subject: trials(subject) for subject in ("01", "02", "03", "04", "05")}
    accuracies = dict(known.rows("select subject, accuracy from human_accuracy where experiment = 'cue-conflict'"))
    biases = dict(
        known.rows("select model || category, shape_bias from shape_bias_by_category where observer = 'person'")
    )
    means = []
    for subject, rows in answers.items():
        right = [row["object_response"] == row["category"] for row in rows]
        assert accuracies[f"subject-{subject}"] == pytest.approx(np.mean(right), abs=1e-12)
        counts: dict[str, list[int]] = {}
        for row in rows:
            texture = "".join(c for c in Path(row["imagename"]).stem.split("-")[-1] if not c.isdigit())
            if texture != row["category"]:
                shape, total = counts.setdefault(row["category"], [0, 0])
                hit = row["object_response"]
                counts[row["category"]] = [
                    shape + (hit == row["category"]),
                    total + (hit in (texture, row["category"])),
                ]
        for category, (shape, total) in counts.items():
            assert biases[f"subject-{subject}{category}"] == pytest.approx(shape / total, abs=1e-12)
        means.append(sum(s for s, _ in counts.values()) / sum(t for _, t in counts.values()))
    (row,) = known.rows("select shape_bias, n_outputs from shape_bias where observer = 'people'")
    assert row == (pytest.approx(np.mean(means), abs=1e-12), 6400)


def test_error_consistency_of_people_is_cohens_kappa(known):
    """scikit-learn's kappa of being right, over images both saw, for every pair of people."""
    from sklearn.metrics import cohen_kappa_score

    right = {
        f"subject-{subject}": {image_id(r["imagename"]): r["object_response"] == r["category"] for r in trials(subject)}
        for subject in ("01", "02", "03", "04", "05")
    }
    rows = known.rows(
        "select model_a, model_b, n, error_consistency from error_consistency where dataset = 'cue-conflict'"
    )
    assert len(rows) == 10
    for a, b, n, kappa in rows:
        common = sorted(set(right[a]) & set(right[b]))
        assert n == len(common)
        want = cohen_kappa_score([right[a][i] for i in common], [right[b][i] for i in common])
        assert kappa == pytest.approx(want, abs=1e-12)


def test_error_consistency_of_models(known):
    from sklearn.metrics import cohen_kappa_score

    right = []
    for model in ("ResNet50", "ViT"):
        run = known.rows("select run_id from run_details where model = ?", [model])[0][0]
        right.append((known.outputs(run)["prediction"] == known.outputs(run)["label"]).to_numpy())
    (row,) = known.rows("select n, error_consistency from error_consistency where model_a = 'ResNet50'")
    assert row == (50_000, pytest.approx(cohen_kappa_score(*right), abs=1e-12))


def test_calibration_views_of_the_known_predictions(known):
    """ECE, MCE, RMS, over- and underconfidence of ResNet50 from 15 bins (lo, hi], one by one, in float64."""
    run = known.rows("select run_id from run_details where model = 'ResNet50'")[0][0]
    frame = known.outputs(run)
    confidence, right = frame["confidence"].to_numpy(), (frame["prediction"] == frame["label"]).to_numpy()
    found = []
    for low, high in itertools.pairwise(np.linspace(0, 1, 16)):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            found.append((right[inside].mean() - confidence[inside].mean(), inside.mean()))
    gaps, shares = np.array(found).T
    want = (
        (shares * abs(gaps)).sum(),
        abs(gaps).max(),
        np.sqrt((shares * gaps**2).sum()),
        (shares * np.maximum(-gaps, 0)).sum(),
        (shares * np.maximum(gaps, 0)).sum(),
    )
    columns = "ece, mce, rms_calibration_error, overconfidence, underconfidence"
    row = known.rows(f"select {columns} from calibration where run_id = ?", [run])[0]
    assert row == pytest.approx(want, abs=1e-9)
    assert round(row[0], 6) == 0.037308
    assert known.rows("select count(*), sum(n) from confidence_histogram where run_id = ?", [run]) == [(15, 50_000)]
