"""Probes of kept features: what scikit-learn reaches on the same features, what validation chooses, what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from qubastore.datasets.locating import own_datasets
from qubastore.derived.probe_data import probe_tasks
from qubastore.derived.probe_methods import METHODS, NearestNeighbours
from qubastore.derived.probes import probe
from qubastore.errors import DatasetError, UsageError
from qubastore.evaluators import ingest
from qubastore.runs import removal
from tests.conftest import write_images
from tests.derived.digits import MODEL


@pytest.fixture
def store(digits_store):
    """The store of the digits' features."""
    return digits_store


def features(store, split):
    (run,) = store.rows("select run_id from run_details where dataset = ?", [f"digits/{split}"])
    blocks = [batch.column("values") for batch in store.features(run[0])]
    values = np.concatenate([block.flatten().to_numpy().reshape(len(block), -1) for block in blocks])
    return values.astype(np.float64), store.outputs(run[0])["label"].to_numpy()


def test_features_alone_are_kept_and_nothing_is_counted_as_wrong(store):
    assert store.rows("select distinct kept from shards") == [(["outputs", "features"],)]
    assert store.rows("select count(prediction), count(confidence), count(label) from outputs") == [(0, 0, 700)]
    assert store.rows("select count(*) from accuracy") == [(0,)]
    assert store.rows("select count(*) from metric_values where suite is null") == [(0,)]
    assert store.rows("select count(*) from class_summary") == [(0,)]
    assert store.rows("select distinct complete from run_details") == [(True,)]
    assert probe_tasks(store, MODEL) == ["digits"]


def reference(store, method):
    """The same choice by hand: scikit-learn's own classes, the grid, the best of validation, all of it once on test."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    (x, y), (xv, yv), (xt, yt) = (features(store, split) for split in ("train", "val", "test"))

    def fitted(value, x, y):
        if method == "linear":
            mean, std = x.mean(0), x.std(0)
            std[std == 0] = 1
            model = LogisticRegression(C=value, max_iter=100_000, tol=1e-9).fit((x - mean) / std, y)
            return lambda z: model.predict((z - mean) / std)
        model = KNeighborsClassifier(int(value), metric="cosine").fit(x, y)
        return model.predict

    scores = {value: (fitted(value, x, y)(xv) == yv).mean() for value in METHODS[method].candidates}
    best = max(scores, key=lambda value: scores[value])
    joined = fitted(best, np.concatenate([x, xv]), np.concatenate([y, yv]))
    return best, scores, (joined(xt) == yt).mean()


@pytest.mark.parametrize("method", METHODS)
def test_a_probe_reaches_what_scikit_learn_reaches(store, method):
    best, scores, accuracy = reference(store, method)
    made = probe(store, MODEL, train="digits/train", val="digits/val", test="digits/test", method=method)
    assert made.chosen == best
    assert made.candidates == pytest.approx(scores, abs=1e-12)
    assert made.test_accuracy == pytest.approx(accuracy, abs=1e-12)
    assert made.test_accuracy > 0.6
    assert (made.task, made.n_train, made.n_val, made.n_test, made.n_classes) == ("digits", 500, 100, 200, 10)
    assert store.rows("select model, task, method, test_accuracy, chosen from probe_accuracy") == [
        (MODEL, "digits", method, made.test_accuracy, best)
    ]


def test_neighbours_are_found_by_hand():
    """By cosine: (2, 2) is nearest (1, 1); of two neighbours of different classes the lower class wins."""
    x, y = np.array([[1.0, 1.0], [0.0, 3.0], [3.0, 0.0]], np.float32), np.array([2, 1, 0])
    asked = np.array([[2.0, 2.0], [0.1, 9.0], [1.0, 2.0]], np.float32)
    assert NearestNeighbours(x, y, 1).logits(asked[:2]).argmax(axis=1).tolist() == [2, 1]
    assert NearestNeighbours(x, y, 2).logits(asked[2:]).argmax(axis=1).tolist() == [1]
    assert NearestNeighbours(x, y, 2).probabilities(asked[2:]).tolist() == [[0, 0.5, 0.5]]


def test_without_a_validation_split_a_fifth_is_held_out(store):
    made = probe(store, MODEL, train="digits/train", test="digits/test")
    assert (made.n_train, made.n_test) == (400, 200)
    assert 60 < made.n_val < 100
    assert probe(store, MODEL, train="digits/train", test="digits/test").is_new is False


def test_the_same_probe_is_not_fitted_again(store, monkeypatch):
    fitted = partial(probe, store, MODEL, train="digits/train", val="digits/val", test="digits/test")
    first = fitted()
    monkeypatch.setitem(METHODS, "linear", replace(METHODS["linear"], fit=None))  # type: ignore[arg-type]
    again = fitted()
    assert (again.is_new, again.test_accuracy, again.candidates) == (False, first.test_accuracy, first.candidates)
    assert store.rows("select count(*) from probes") == [(1,)]


def test_probes_go_with_the_features_that_they_were_fitted_on(store):
    probe(store, MODEL, train="digits/train", val="digits/val", test="digits/test")
    (run,) = store.rows("select run_id from run_details where dataset = 'digits/val'")
    store.write(lambda c: removal.remove_run(c, run[0]))
    assert store.rows("select count(*) from probes") == [(0,)]


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"train": "digits/train", "test": "digits/train"}, "a split is named twice"),
        ({"train": "digits/train", "test": "birds"}, "no complete runs"),
        ({"train": "digits/train", "test": "digits/test", "method": "svm"}, "unknown method 'svm'"),
    ],
)
def test_invalid_probes_are_refused(store, splits, says):
    with pytest.raises(UsageError, match=says):
        probe(store, MODEL, **splits)
    assert store.rows("select count(*) from probes") == [(0,)]


def test_runs_without_features_and_other_classes_are_refused(store, digits, tmp_path, probed):
    net = f"python:{probed[1]}:pixels"
    write_images(tmp_path / "pets/train", {"ant": 4, "bee": 4})
    (tmp_path / "pets/test").mkdir()
    (tmp_path / "pets/train/ant").rename(tmp_path / "pets/test/ant")
    write_images(tmp_path / "more", {"bee": 3})
    (tmp_path / "more/bee").rename(tmp_path / "pets/test/bee")
    with pytest.raises(DatasetError, match="has only one class, bee"):
        own_datasets("pets", tmp_path / "pets", "splits")
    write_images(tmp_path / "again", {"ant": 3})
    (tmp_path / "again/ant").rename(tmp_path / "pets/train/ant")
    ingest(store, [net], own_datasets("pets", tmp_path / "pets", "splits"), keep=["outputs"])
    with pytest.raises(UsageError, match="has no kept features"):
        probe(store, MODEL, train="pets/train", test="pets/test")
    ingest(store, [net], own_datasets("pets", tmp_path / "pets", "splits"))
    with pytest.raises(UsageError, match="have different classes"):
        probe(store, MODEL, train="digits/train", test="pets/test")


def test_features_of_another_model_are_refused(store):
    """A run is meant by the start of its id, of whatever model: only the model's own will do."""
    from tests.support.runs import add_run

    other = add_run(store, np.eye(3), [0, 1, 2], name="other")
    with pytest.raises(UsageError, match=f"run {other} is a run of other"):
        probe(store, MODEL, train="digits/train", test=other[:8])


def test_images_of_another_split_are_left_out_and_copies_of_a_split_refused(store, digits, tmp_path, probed):
    import shutil

    shutil.copytree(digits, tmp_path / "leaky")
    image = next((tmp_path / "leaky/train/3").glob("*.png"))
    shutil.copy(image, tmp_path / "leaky/test/3/again.png")
    net = f"python:{probed[1]}:pixels"
    ingest(store, [net], own_datasets("leaky", tmp_path / "leaky", "splits"))
    said: list[str] = []
    made = probe(store, MODEL, train="leaky/train", val="leaky/val", test="leaky/test", log=said.append)
    assert (made.n_train, made.n_test) == (499, 201)
    assert said[-1] == "left out of training and validation: 1 images that are also in another split"
    for copy in (tmp_path / "leaky/train/3").glob("*.png"):
        shutil.copy(copy, tmp_path / "leaky/val/3" / f"again-{copy.name}")
    shutil.rmtree(tmp_path / "leaky/test")
    shutil.copytree(tmp_path / "leaky/train", tmp_path / "leaky/test")
    with_twins = own_datasets("twins", tmp_path / "leaky", "splits")
    ingest(store, [net], with_twins)
    with pytest.raises(UsageError, match="images of twins/train are also in another split"):
        probe(store, MODEL, train="twins/train", test="twins/test")


def test_splits_must_agree_in_classes(tmp_path):
    write_images(tmp_path / "train", {"ant": 2, "bee": 2})
    write_images(tmp_path / "test", {"ant": 2, "cow": 2})
    with pytest.raises(DatasetError, match="has other classes than") as caught:
        own_datasets("pets", tmp_path, "splits")
    assert "bee, cow" in str(caught.value)
