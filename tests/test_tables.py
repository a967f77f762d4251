"""The tables in code, row by row."""

from __future__ import annotations

import importlib
import json

import pytest

from qubastore.conditions import SIGNIFICANT_BITS
from qubastore.dimensions import DIMENSION_NAMES, DIMENSIONS
from qubastore.labels import imagenet_synsets
from qubastore.metrics import METRICS
from qubastore.models import LOADERS
from qubastore.suites import QUBA, ROLES
from tests.conftest import shared


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_metric(metric, store):
    assert metric.better in ("up", "down")
    assert metric.unit
    assert metric.meaning
    assert bool(metric.view) != bool(metric.transform)
    if metric.view:
        assert metric.name in store.sql(f"from {metric.view}").columns
    else:
        assert callable(importlib.import_module(f"qubastore.transforms.{metric.transform}").compute)


def test_transforms_come_before_views():
    kinds = [bool(metric.transform) for metric in METRICS]
    first_view_after = kinds.index(True) + kinds.count(True)
    assert all(not kind for kind in kinds[first_view_after:])


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda d: d.name)
def test_dimension_agrees_with_the_study(dimension):
    facts = json.loads(shared("facts", "quba_normalisation.json").read_text())["dimensions"][dimension.name]
    assert dimension.published_mean == facts["mean"]
    assert dimension.published_std == facts["std"]
    assert dimension.default_weight == pytest.approx(facts["default_weight"], abs=1e-15)
    assert (dimension.better == "up") == facts["higher_is_better"]
    assert bool(dimension.role) == bool(dimension.metric)
    assert not dimension.role or dimension.role in ROLES
    assert not dimension.metric or dimension.metric in {metric.name for metric in METRICS}


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("acc", ["accuracy"]),
        ("adversarial", ["adversarial_robustness"]),
        ("corruption", ["corruption_robustness"]),
        ("ood", ["ood_robustness"]),
        ("robustness", ["adversarial_robustness", "corruption_robustness", "ood_robustness"]),
        ("calibration", ["calibration_error"]),
        ("balance", ["class_balance"]),
        ("fairness", ["class_balance"]),
        ("focus", ["object_focus"]),
        ("shape", ["shape_bias"]),
        ("params", ["parameters"]),
        ("size", ["parameters"]),
    ],
)
def test_alias(name, means):
    assert list(DIMENSION_NAMES[name]) == means


def test_every_alias_is_tested_above():
    assert len(DIMENSION_NAMES) == len(DIMENSIONS) + 12


@pytest.mark.parametrize("loader", LOADERS)
def test_loader(loader):
    module = importlib.import_module(f"qubastore.evaluators.loaders.{loader}")
    assert callable(module.load)
    assert callable(module.revision)


@pytest.mark.parametrize(("precision", "bits"), [("fp32", 16), ("fp16", 11), ("bf16", 8)])
def test_significant_bits(precision, bits):
    assert SIGNIFICANT_BITS[precision] == bits


def test_quba_suite():
    assert [(role.role, role.dataset, role.n_samples) for role in QUBA.roles] == [("clean", "imagenet-val", 50_000)]


def test_synsets_are_timms():
    from timm.data import ImageNetInfo

    assert list(imagenet_synsets()) == ImageNetInfo("imagenet-1k").label_names()
    assert len(imagenet_synsets()) == 1000
