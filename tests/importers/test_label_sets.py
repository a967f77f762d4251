"""ReaL's labels, and samples with several right classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qubastore.datasets.label_spaces import real_labels
from qubastore.importers.predictions import import_real_labels
from qubastore.statistics.scores import label_matrix, output_columns
from tests.importers.second_study import validation_run


def test_real_labels_are_timms():
    from timm.data.real_labels import RealLabelsImagenet

    names = [f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(50_000)]
    theirs = RealLabelsImagenet(names).real_labels
    assert [list(labels) for labels in real_labels()] == [theirs[name] for name in names]


def test_real_labels_come_with_official_images(store):
    """Image 1 has none in ReaL, image 2 has 970 and 795, image 3 has 230 and 231: of two counted, one is right."""
    assert [list(labels) for labels in real_labels()[:3]] == [[], [970, 795], [230, 231]]
    validation_run(store, [0, 795, 7])
    query = "select label_set, n, accuracy from label_set_accuracy"
    assert store.rows(query) == [("real", 2, 0.5)]
    # For datasets from before: the same by hand.
    store.write(lambda c: c.execute("delete from label_sets where label_set = 'real'"))
    assert store.rows(query) == []
    assert import_real_labels(store) == [("imagenet-val", 2)]
    assert store.rows(query) == [("real", 2, 0.5)]
    assert import_real_labels(store) == [("imagenet-val", 2)]
    assert store.rows("select count(*) from label_sets where label_set = 'real'") == [(3,)]


def test_one_of_several_right_classes_is_enough():
    """Sample 0: classes 1 and 2 are right, 2 has the larger logit and is predicted. Sample 1: 0 is predicted, 1 or 2
    would be right, 1 has the larger logit. Sample 2 has one label."""
    logits = np.array([[0, 1, 2], [3, 2, 1], [0, 0, 0]], np.float32)
    labels = label_matrix([(1, 2), (2, 1), (1,)])
    assert labels.tolist() == [[1, 2], [2, 1], [1, -1]]
    columns = output_columns(logits, labels)
    assert columns["label"].tolist() == [2, 1, 1]
    assert columns["prediction"].tolist() == [2, 0, 0]
    assert columns["label_logit"].tolist() == [2, 2, 0]
    e = math.exp
    assert columns["label_probability"] == pytest.approx([e(2) / (1 + e(1) + e(2)), e(2) / (e(3) + e(2) + e(1)), 1 / 3])


def test_equal_right_classes_give_the_lowest():
    assert output_columns(np.zeros((1, 4), np.float32), label_matrix([(3, 2)]))["label"].tolist() == [2]
