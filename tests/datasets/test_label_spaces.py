"""Predictions and probabilities in a dataset's label space: hand-worked, and against plain loops over softmax."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from qubastore.datasets.label_spaces import LabelSpace, label_space
from qubastore.metrics.transforms.matched_accuracy import compute
from qubastore.statistics.scores import output_columns, project


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(0).normal(0, 4, (400, 1000)).astype(np.float32)


def columns(logits, space, n):
    labels = np.random.default_rng(1).integers(0, n, len(logits)).astype(np.int32)
    return labels, output_columns(logits, labels, label_space(space))


@pytest.mark.parametrize("space", ["imagenet-r", "imagenet-a"])
def test_subset_is_the_softmax_of_its_classes_alone(logits, space):
    members = [index for (index,) in label_space(space).members]
    labels, found = columns(logits, space, 200)
    probabilities = softmax(logits[:, members].astype(float), axis=1)
    assert (found["prediction"] == probabilities.argmax(axis=1)).all()
    assert np.abs(found["confidence"] - probabilities.max(axis=1)).max() < 1e-12
    assert np.abs(found["label_probability"] - probabilities[np.arange(400), labels]).max() < 1e-12
    assert (found["top5_class"] == np.argsort(-probabilities, axis=1, kind="stable")[:, :5]).all()


def test_categories_are_mean_probabilities(logits):
    """As Geirhos et al. decide: the category with the largest mean softmax probability of its ImageNet classes."""
    probabilities = softmax(logits.astype(float), axis=1)
    means = np.array([[row[list(m)].mean() for m in label_space("16-categories").members] for row in probabilities])
    labels, found = columns(logits, "16-categories", 16)
    assert (found["prediction"] == means.argmax(axis=1)).all()
    shares = means / means.sum(axis=1, keepdims=True)
    assert np.abs(found["confidence"] - shares.max(axis=1)).max() < 1e-12
    assert np.abs(found["label_probability"] - shares[np.arange(400), labels]).max() < 1e-12
    assert np.abs(found["sum_squared_probability"] - (shares**2).sum(axis=1)).max() < 1e-12


def test_backgrounds_challenge_maps_the_argmax(logits):
    """The class that the largest of all 1,000 belongs to; -1 where it belongs to none."""
    space = label_space("in9")
    owner = {index: label for label, members in enumerate(space.members) for index in members}
    labels, found = columns(logits, "in9", 9)
    best = logits.argmax(axis=1)
    assert found["prediction"].tolist() == [owner.get(int(index), -1) for index in best]
    assert (found["prediction"] == -1).any()
    assert (found["prediction"] >= 0).any()
    probabilities = softmax(logits.astype(float), axis=1)
    none = [index for index in range(1000) if index not in owner]
    for row in range(0, 400, 7):
        prediction = found["prediction"][row]
        members = list(space.members[prediction]) if prediction >= 0 else none
        assert found["confidence"][row] == pytest.approx(probabilities[row, members].sum(), abs=1e-12)
        of_label = probabilities[row, list(space.members[labels[row]])].sum()
        assert found["label_probability"][row] == pytest.approx(of_label, abs=1e-12)


@pytest.mark.parametrize(
    ("space", "n"), [("imagenet-1k", 1000), ("imagenet-r", 200), ("16-categories", 16), ("in9", 9)]
)
def test_log_probability_of_the_label(logits, space, n):
    """logsumexp - label_logit is -ln(probability of the label), to the precision of float32."""
    _, found = columns(logits, space, n)
    nll = found["logsumexp"] - found["label_logit"].astype(float)
    assert np.abs(nll + np.log(found["label_probability"])).max() < 1e-5


def test_imagenet_is_as_before(logits):
    labels = np.zeros(400, np.int32)
    plain, named = output_columns(logits, labels), output_columns(logits, labels, label_space("imagenet-1k"))
    assert all((plain[name] == named[name]).all() for name in plain)


def test_hand_worked_categories(monkeypatch):
    """Four outputs in two classes of two: softmax is (.4 .1 .25 .25), the means are .25 and .25: the lower class."""
    monkeypatch.setattr(LabelSpace, "members", property(lambda self: ((0, 1), (2, 3))))
    space = LabelSpace("two", "mean", "")
    values = np.log(np.array([[0.4, 0.1, 0.25, 0.25], [0.1, 0.1, 0.2, 0.6]])).astype(np.float32)
    scores = project(values, space)
    assert np.exp(scores) == pytest.approx(np.array([[0.25, 0.25], [0.1, 0.4]]), abs=1e-7)
    found = output_columns(values, np.array([1, 1], np.int32), space)
    assert found["label_probability"] == pytest.approx([0.5, 0.8], abs=1e-7)


def test_matched_accuracy_against_a_loop(logits):
    """Only images of the space's classes count, and only its classes compete."""
    labels = np.random.default_rng(2).integers(0, 1000, 400).astype(np.int32)
    labels[:200] = logits[:200].argmax(axis=1)
    for name in ("imagenet-r", "16-categories"):
        space = label_space(name)
        owner = {index: label for label, members in enumerate(space.members) for index in members}
        right = total = 0
        for row, label in zip(log_softmax(logits.astype(float), axis=1), labels, strict=True):
            if int(label) in owner:
                scores = [np.exp(row[list(members)]).mean() for members in space.members]
                right, total = right + (int(np.argmax(scores)) == owner[int(label)]), total + 1
        assert compute(logits, labels, space) == right / total
        assert 0 < total < 400
    assert np.isnan(compute(logits[:1], np.array([999], np.int32), label_space("imagenet-a")))
