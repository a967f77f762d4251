"""Predictions made elsewhere: the known answers, and files that do not fit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qubastore.errors import QubastoreError
from qubastore.importers.predictions import import_predictions
from qubastore.runs.records import register_dataset
from tests.conftest import shared
from tests.support.runs import dataset_of


def imagenet_labels() -> Path:
    """Labels by file name, from the PyPI package imagenet-x, which the user installs."""
    package = importlib.util.find_spec("imagenet_x")
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs the annotations of the package imagenet-x (pip install --no-deps imagenet-x)")
    return Path(package.submodule_search_locations[0]) / "annotations" / "filename_label.csv"


@pytest.mark.parametrize(
    ("name", "accuracy", "ece", "spread"),
    [("ResNet50", 0.76130, 0.037308, 0.163690), ("ViT", 0.78006, 0.014125, 0.155992)],
)
def test_known_answers(store, name, accuracy, ece, spread):
    file = shared("data", "predictions", f"{name}.csv")
    run_id = import_predictions(store, file, model=name, dataset="imagenet-val", labels=imagenet_labels())
    values = dict(store.rows("select metric, value from metric_values where run_id = ?", [run_id]))
    assert values["accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert values["ece"] == pytest.approx(ece, abs=5e-7)
    assert values["class_accuracy_std"] == pytest.approx(spread, abs=5e-7)
    # What a prediction and its probability can tell.
    from_bins = {"ece", "mce", "rms_calibration_error", "overconfidence", "underconfidence"}
    assert set(values) == {"accuracy", "class_accuracy_std", *from_bins}
    assert store.rows("select n_outputs, subset from accuracy") == [(50_000, False)]
    again = import_predictions(store, file, model=name, dataset="imagenet-val", labels=imagenet_labels())
    assert again == run_id
    assert store.rows("select count(*) from outputs") == [(50_000,)]


HEADER = "file_name,predicted_class,predicted_probability\n"


@pytest.fixture
def pets(store):
    """A dataset of four images in the store."""
    data = dataset_of([0, 0, 1, 1], ["cat", "dog"])
    store.write(lambda c: register_dataset(c, data))
    return store


def rows(*lines):
    return HEADER + "".join(f"{line}\n" for line in lines)


GOOD = ("00000.png,0,0.9", "00001.png,1,0.6", "00002.png,1,1", "00003.png,1,0.5")


def test_labels_of_the_dataset_in_the_store(pets, tmp_path):
    (tmp_path / "p.csv").write_text(rows(*GOOD))
    run_id = import_predictions(pets, tmp_path / "p.csv", model="other", dataset="pets")
    assert pets.rows("select model, accuracy, n_outputs from accuracy") == [("other", 0.75, 4)]
    # ECE by hand: (8/15, 9/15] holds 0.6 wrong, (7/15, 8/15] 0.5 right, the two others are right at 0.9 and 1.
    assert pets.rows("select ece from calibration") == [(pytest.approx((0.6 + 0.5 + 0.1 + 0) / 4, abs=1e-12),)]
    assert pets.rows("select origin, run_id from run_details") == [("imported", run_id)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'file_name'"),
        ("file_name,predicted_class\n", "no column 'predicted_probability'"),
        (HEADER, "no rows"),
        (rows(*GOOD[:3]), "with 3 images"),
        (rows(*GOOD[:3], "00009.png,1,0.5"), "line 5: 00009.png is not an image of pets"),
        (rows(*GOOD[:3], "00002.png,1,0.5"), "line 5: a second prediction for 00002.png"),
        (rows(*GOOD[:3], "00003.png,2,0.5"), "line 5: '2' is not a class"),
        (rows(*GOOD[:3], "00003.png,-1,0.5"), "line 5: '-1' is not a class"),
        (rows(*GOOD[:3], "00003.png,1.0,0.5"), "line 5: '1.0' is not a class"),
        (rows(*GOOD[:3], "00003.png,1,1.5"), "line 5: '1.5' is not a probability"),
        (rows(*GOOD[:3], "00003.png,1,nan"), "line 5: 'nan' is not a probability"),
        (rows(*GOOD[:3], "00003.png,1,"), "line 5: '' is not a probability"),
        (rows(*GOOD[:3], "00003.png"), "line 5: too few columns"),
    ],
)
def test_files_that_do_not_fit(pets, tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(QubastoreError, match=message):
        import_predictions(pets, tmp_path / "p.csv", model="other", dataset="pets")
    assert pets.rows("select count(*) from runs") == [(0,)]


def test_a_missing_file(pets, tmp_path):
    with pytest.raises(QubastoreError, match="No such file"):
        import_predictions(pets, tmp_path / "none.csv", model="other", dataset="pets")


def test_an_unknown_dataset(store, tmp_path):
    (tmp_path / "p.csv").write_text(rows(*GOOD))
    with pytest.raises(QubastoreError, match="0 datasets named pets"):
        import_predictions(store, tmp_path / "p.csv", model="other", dataset="pets")


def test_corrected_labels_are_another_dataset(store, tmp_path):
    (tmp_path / "p.csv").write_text(rows("a.JPEG,1,0.9", "b.JPEG,2,0.9"))
    found = []
    for labels in ("0,0", "1,2"):
        first, second = labels.split(",")
        (tmp_path / "l.csv").write_text(f"file_name,label\na.JPEG,{first}\nb.JPEG,{second}\n")
        run_id = import_predictions(
            store, tmp_path / "p.csv", model="m", dataset="imagenet-val", labels=tmp_path / "l.csv"
        )
        found += store.rows("select accuracy from accuracy where run_id = ?", [run_id])
    assert found == [(0.0,), (1.0,)]


def test_the_same_predictions_under_another_name(pets, tmp_path):
    (tmp_path / "p.csv").write_text(rows(*GOOD))
    for name in ("one", "two"):
        import_predictions(pets, tmp_path / "p.csv", model=name, dataset="pets")
    assert pets.rows("select model from accuracy order by model") == [("one",), ("two",)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: (HEADER + t).encode("utf-8", "replace"))))
def test_any_bytes_end_in_an_error_of_ours(pets, tmp_path, data):
    (tmp_path / "p.csv").write_bytes(data)
    with pytest.raises(QubastoreError):
        import_predictions(pets, tmp_path / "p.csv", model="other", dataset="pets")
    assert pets.rows("select count(*) from runs") == [(0,)]
