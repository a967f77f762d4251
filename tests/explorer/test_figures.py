"""The explorer's figures against independent computations: confusions, thresholds, slices, neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

import qubastore
from qubastore.errors import UsageError
from qubastore.explorer.confusions import confusions, ordered
from qubastore.explorer.samples import neighbours, sample, unit_features
from qubastore.explorer.selection import Selection
from qubastore.explorer.slices import cluster_slices, clusters, factor_slices, found_slices, with_interval
from qubastore.explorer.thresholds import thresholds
from tests.support.runs import add_run, dataset_of


def matrix_of(cells, at=2):
    made = np.zeros((3, 3), int)
    for cell in cells:
        made[cell[0], cell[1]] = cell[at]
    return made


def test_confusions_are_scikit_learns(explored, opened):
    found = confusions(opened, Selection((explored.runs[0],)))
    expected = confusion_matrix(explored.labels, explored.answers(0)[0])
    assert (matrix_of(found["cells"]) == expected).all()
    assert opened.rows(found["sql"]) == [tuple(cell) for cell in found["cells"]]
    view = opened.rows("select label, prediction, n from confusions where run_id = ? order by all", [explored.runs[0]])
    assert view == [tuple(cell) for cell in found["cells"]]


def test_confusions_of_two_models_over_a_selection(explored, opened):
    found = confusions(opened, Selection(tuple(explored.runs[:2]), low=0.6))
    inside = explored.answers(0)[1] >= 0.6
    for i, at in ((0, 2), (1, 3)):
        expected = confusion_matrix(explored.labels[inside], explored.answers(i)[0][inside], labels=[0, 1, 2])
        assert (matrix_of(found["cells"], at) == expected).all()


def test_classes_that_are_confused_are_side_by_side():
    cells = [(each, each, 10) for each in range(6)] + [(0, 4, 8), (4, 0, 7), (1, 5, 6), (5, 1, 9)]
    order = ordered(cells)
    assert sorted(order) == list(range(6))
    assert abs(order.index(0) - order.index(4)) == 1
    assert abs(order.index(1) - order.index(5)) == 1


def test_thresholds_are_counts(explored, opened):
    found = thresholds(opened, Selection((explored.runs[1],)))
    confidence = opened.arrays("select confidence from outputs where run_id = ? order by sample_id", [explored.runs[1]])
    prediction, *_ = explored.answers(1)
    for step in range(1001):
        kept = confidence["confidence"] >= step / 1000
        assert found["kept"][step] == kept.sum()
        assert found["right"][step] == (kept & (prediction == explored.labels)).sum()
    assert found["n"] == 90


def test_a_threshold_that_is_a_confidence_keeps_it(store):
    """Two classes of equal logits have the confidence 0.5 to the bit: kept at 0.5, left out at 0.501."""
    run = add_run(store, [[0, 0], [3, 0]], [0, 0])
    found = thresholds(store, Selection((run,)))
    assert found["kept"][500:502] == [2, 1]
    assert found["right"][500:502] == [2, 1]


def test_answers_without_labels_have_no_thresholds(explored, opened):
    with pytest.raises(UsageError, match="no answer of this selection has both"):
        thresholds(opened, Selection((explored.runs[0],), low=0.9, below=0.1))


@pytest.mark.parametrize(("right", "n"), [(0, 3), (3, 3), (7, 10), (450, 1000)])
def test_intervals_are_wilsons(right, n):
    found = with_interval(right, n)
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.fixture
def with_factors(tmp_path):
    """200 images: those that are dark and from the side are wrong."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 200)
    data = dataset_of(labels, ["cat", "dog"], "lit")
    dark, side = generator.random(200) < 0.5, generator.random(200) < 0.5
    samples = [
        type(s)(s.key, s.size, s.label, {"light": "dark" if d else "day", "pose": "side" if p else "front"})
        for s, d, p in zip(data.samples, dark, side, strict=True)
    ]
    data = type(data)(data.name, tuple(samples), data.classes, data.label_space, data.root)
    wrong = dark & side
    logits = np.where((np.arange(2) == labels[:, None]) ^ wrong[:, None], 2.0, 0.0)
    with qubastore.init(tmp_path / "store") as made:
        run = add_run(made, logits, labels, data=data, keep=("outputs", "logits", "features"))
        yield made, run, wrong, {"light": dark, "pose": side}


def test_slices_by_factor_are_the_views(with_factors):
    store, run, *_ = with_factors
    found = {
        next(iter(row["factors"].items())): (row["n"], row["accuracy"])
        for row in factor_slices(store, Selection((run,)))
    }
    view = store.rows("select factor, value, n, accuracy from factor_accuracy")
    assert found == {(factor, value): (n, accuracy) for factor, value, n, accuracy in view}
    assert len(found) == 4


def test_the_slice_that_is_wrong_is_found_first(with_factors):
    store, run, wrong, _ = with_factors
    first = found_slices(store, Selection((run,)))[0]
    assert first["factors"] == {"light": "dark", "pose": "side"}
    assert (first["n"], first["n_right"]) == (wrong.sum(), 0)


def test_images_without_a_factor_make_no_slice(store):
    """Half the images have no pose, and all of those are wrong: that is nothing one could look for."""
    labels = np.zeros(80, int)
    data = dataset_of(labels, ["cat", "dog"], "half")
    given = [replace(s, factors={"pose": "side"} if i % 2 else {}) for i, s in enumerate(data.samples)]
    given = [replace(s, factors={**s.factors, "number": str(i), "light": "day"}) for i, s in enumerate(given)]
    data = replace(data, samples=tuple(given))
    logits = np.array([[2.0, 0.0] if i % 2 else [0.0, 2.0] for i in range(80)])
    run = add_run(store, logits, labels, data=data)
    assert all("" not in row["factors"].values() for row in found_slices(store, Selection((run,))))


def test_factors_with_a_value_for_each_image_are_left_out(store):
    labels = np.zeros(300, int)
    data = dataset_of(labels, ["cat", "dog"], "captions")
    given = [replace(s, factors={"caption": str(i), "light": "day"}) for i, s in enumerate(data.samples)]
    run = add_run(store, np.tile([1.0, 0.0], (300, 1)), labels, data=replace(data, samples=tuple(given)))
    assert [row["factors"] for row in factor_slices(store, Selection((run,)))] == [{"light": "day"}]


def test_a_selection_by_factor(with_factors):
    store, run, wrong, _ = with_factors
    ((n,),) = store.rows(Selection((run,), factors={"light": "dark", "pose": "side"}).query("count(*)"))
    assert n == wrong.sum()


def test_clusters_are_the_same_each_time_and_cover_all(with_factors):
    store, run, *_ = with_factors
    ids, vectors = unit_features(store, run)
    one, other = clusters(vectors), clusters(vectors)
    assert (one == other).all()
    found = cluster_slices(store, Selection((run,)), ids, one)
    assert sum(row["n"] for row in found) == 200
    assert [row["accuracy"] for row in found] == sorted(row["accuracy"] for row in found)


def test_neighbours_are_those_of_the_largest_cosine(explored, opened):
    ids, vectors = unit_features(opened, explored.runs[0])
    found = neighbours(ids, vectors, 5)
    x = explored.logits[0].astype(np.float64)
    cosine = (x @ x[5]) / (np.linalg.norm(x, axis=1) * np.linalg.norm(x[5]))
    cosine[5] = -2
    assert [near for _, near in found] == pytest.approx(np.sort(cosine)[::-1][:24], abs=1e-4)
    assert 5 not in [each for each, _ in found]
    with pytest.raises(UsageError, match="kept no features"):
        unit_features(opened, "0000")
    with pytest.raises(UsageError, match="has no features"):
        neighbours(ids, vectors, 10_000)


def test_a_sample_has_its_answers_and_labels(explored, opened):
    found = sample(opened, explored.data.dataset_id, 7, [explored.runs[2]], every=False)
    assert found["key"] == explored.data.samples[7].key
    assert [each["class"] for each in found["labels"]["dataset"]] == [explored.labels[7]]
    assert next(answer["run_id"] for answer in found["answers"]) == explored.runs[2]
    assert len(found["answers"]) == 3
    x = explored.logits[2][7].astype(np.float64)
    top = [each["probability"] for each in found["answers"][0]["top5"]]
    assert top == pytest.approx(sorted(np.exp(x) / np.exp(x).sum(), reverse=True), abs=1e-6)


def test_a_sample_has_its_variants(store):
    labels = [0, 1, 0]
    runs = [
        add_run(store, [[2, 0], [0, 2], [0, 2]], labels, dataset=name, classes=["cat", "dog"])
        for name in ("pets", "fog", "snow")
    ]
    ((dataset,),) = store.rows("select dataset_id from datasets where name = 'pets'")
    found = sample(store, dataset, 2, runs[:1], every=False)
    assert [(each["dataset"], each["sample_id"]) for each in found["variants"]] == [("fog", 2), ("snow", 2)]
    assert [[(a["prediction_name"], a["is_right"]) for a in each["answers"]] for each in found["variants"]] == [
        [("dog", False)]
    ] * 2
