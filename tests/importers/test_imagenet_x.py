"""ImageNet-X by hand, and annotation files that do not fit."""

from __future__ import annotations

import importlib.util
import math

import pytest

from qubastore.errors import ImportDataError
from qubastore.importers.imagenet_x import import_imagenet_x
from tests.importers.second_study import validation_run


def test_imagenet_x_by_hand(store, own_annotations):
    """Images 1 (right, pose) and 2 (wrong, style) count, the prototype 3 does not: overall 1/2, so pose has an error
    ratio of 0 / (1/2), style of 1 / (1/2). Wilson for 1 of 1: (1 + z2/2 -+ sqrt(z2 * z2/4)) / (1 + z2) = 1/(1+z2), 1.
    """
    validation_run(store, [0, 7, 7])
    assert import_imagenet_x(store, own_annotations) == {"top": 3, "multi": 3}
    z2 = 1.959963984540054**2
    rows = store.rows(
        "select metaclass, factor, n, accuracy, low, high from imagenet_x_accuracy where annotation = 'top'"
        " order by all"
    )
    low, high = 1 / (1 + z2), z2 / (1 + z2)
    middle = math.sqrt(z2 / 2 * (1 / 4 + z2 / 8))
    both = (
        pytest.approx((1 / 2 + z2 / 4 - middle) / (1 + z2 / 2)),
        pytest.approx((1 / 2 + z2 / 4 + middle) / (1 + z2 / 2)),
    )
    factors = [
        ("all", 2, 0.5, *both),
        ("pose", 1, 1.0, pytest.approx(low), 1.0),
        ("style", 1, 0.0, 0.0, pytest.approx(high)),
    ]
    assert rows == [(group, *row) for group in ("all", "dog") for row in factors]
    query = (
        "select factor, error_ratio from imagenet_x_error_ratio where annotation = ? and metaclass = 'all' order by all"
    )
    assert store.rows(query, ["top"]) == [("pose", 0.0), ("style", 2.0)]
    assert store.rows(query, ["multi"]) == [("color", 1.0), ("pose", 0.0), ("style", 2.0)]


def test_annotations_of_another_dataset_are_refused(store, own_annotations):
    validation_run(store, [0, 7, 7])
    file = own_annotations / "imagenet_x_val_multi_factor.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"class": 1', '"class": 5'))
    with pytest.raises(ImportDataError, match=r"line 3: ILSVRC2012_val_00000003\.JPEG is of class 5") as caught:
        import_imagenet_x(store, own_annotations)
    assert "another dataset" in str(caught.value)
    for bad, says in (
        (
            text.replace("ILSVRC2012_val_00000002", "n01440764_1"),
            r"line 2: 'n01440764_1\.JPEG' is not a validation image",
        ),
        (text.replace('"style": 1', '"style": 3'), "line 2: style is 3"),
        (text.replace('"pose": 0, ', "", 1), "line 2 is not a valid annotation"),
        (text.replace("00000002", "00000001"), "line 2: a second annotation"),
        (text + "\nnot json", "line 4 is not a valid annotation"),
    ):
        file.write_text(bad)
        with pytest.raises(ImportDataError, match=says):
            import_imagenet_x(store, own_annotations)
    assert store.rows("select count(*) from annotations") == [(0,)]


def test_without_the_package_there_is_a_hint(store, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportDataError, match="imagenet-x is not installed") as caught:
        import_imagenet_x(store)
    assert "qubastore[imagenet-x]" in str(caught.value)
