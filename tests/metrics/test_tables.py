"""The tables in code, row by row."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from qubastore.conditions import FRAMINGS, SIGNIFICANT_BITS
from qubastore.datasets.catalogue import KNOWN_DATASETS
from qubastore.datasets.label_spaces import LABEL_SPACES, imagenet_synsets, label_space
from qubastore.metrics.catalogue import METRICS
from qubastore.metrics.dimensions import DIMENSION_NAMES, DIMENSIONS
from qubastore.metrics.suites import QUBA, QUBA_REFERENCE, ROLES
from qubastore.models.loaders import LOADERS, PROBE, loader_module
from tests.conftest import shared


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_metric(metric, store):
    neither = metric.name in ("shape_bias", "error_consistency", "human_accuracy")
    assert metric.better in (("",) if neither else ("up", "down"))
    assert metric.unit
    assert metric.meaning
    assert bool(metric.view) != bool(metric.transform)
    if metric.view:
        columns = store.sql(f"from {metric.view} limit 0").columns
        assert (metric.column or metric.name) in columns
        assert metric.over in ("run", "suite", "view")
        assert {"run": "run_id", "suite": "suite"}.get(metric.over, columns[0]) in columns
    else:
        assert callable(importlib.import_module(f"qubastore.metrics.transforms.{metric.transform}").compute)


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
    assert set(dimension.roles) <= set(ROLES)
    assert bool(dimension.roles) == (dimension.name != "parameters")
    assert dimension.name == "parameters" or dimension.name in {metric.name for metric in METRICS}


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda d: d.name)
def test_dimension_is_a_column(dimension, store):
    for view in ("measured_dimensions", "rankable"):
        assert dimension.column in store.sql(f"from {view}").columns


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
    if loader == PROBE:
        pytest.skip("a probe is read from the store: evaluators/planning/probes.py")
    module = loader_module(loader)
    assert callable(module.load)
    assert callable(module.revision)


@pytest.mark.parametrize(("precision", "bits"), [("fp32", 16), ("fp16", 11), ("bf16", 8)])
def test_significant_bits(precision, bits):
    assert SIGNIFICANT_BITS[precision] == bits


QUBA_ROLES = [
    ("clean", "imagenet-val", 1, 50_000, "clean", "model"),
    ("adversarial", "imagenet-val", 1, 50_000, "fgsm(eps=8/255)", "model"),
    ("adversarial", "imagenet-val", 1, 50_000, "pgd(eps=8/255,alpha=2/255,steps=10,start=random)", "model"),
    ("corrupted", "imagenet-c", 75, 50_000, "clean", "whole"),
    ("shifted", "imagenet-r", 1, 30_000, "clean", "model"),
    ("shifted", "sketch", 1, 800, "clean", "whole"),
    ("shifted", "stylized", 1, 800, "clean", "whole"),
    ("shifted", "edge", 1, 160, "clean", "whole"),
    ("shifted", "silhouette", 1, 160, "clean", "whole"),
    ("same_background", "mixed_same", 1, 4_050, "clean", "model"),
    ("random_background", "mixed_rand", 1, 4_050, "clean", "model"),
    ("cue_conflict", "cue-conflict", 1, 1_280, "clean", "whole"),
]


@pytest.mark.parametrize("row", QUBA_ROLES, ids=lambda row: f"{row[0]} {row[1]} {row[4]}")
def test_quba_role(row):
    role, dataset, count, n_samples, condition, framing = row
    found = [r for r in QUBA.roles if (r.role, r.dataset.split("/")[0], r.condition) == (role, dataset, condition)]
    assert len(found) == count
    assert {(r.n_samples, r.framing) for r in found} == {(n_samples, framing)}
    assert sum(each[2] for each in QUBA_ROLES) == len(QUBA.roles)


def test_the_reference_suite_differs_in_framing_alone():
    assert {role.framing for role in QUBA_REFERENCE.roles} == {"model"}
    assert [replace(role, framing="model") for role in QUBA.roles] == list(QUBA_REFERENCE.roles)


def test_corruption_cells():
    """15 corruptions at 5 severities, by the names of the authors' folders; none of the extra four."""
    cells = {
        (known.factors["corruption"], known.factors["severity"]) for known in KNOWN_DATASETS.values() if known.factors
    }
    assert all(known.parts for name, known in KNOWN_DATASETS.items() if "/" in name)
    assert len(cells) == 75
    assert not {c for c, _ in cells} & {"gaussian_blur", "saturate", "spatter", "speckle_noise"}


@pytest.mark.parametrize("name", KNOWN_DATASETS)
def test_layout(name):
    known = KNOWN_DATASETS[name]
    assert known.label_space in LABEL_SPACES
    assert known.framing in FRAMINGS
    assert known.folders
    assert all([known.about, known.get, known.size, known.licence])


@pytest.mark.parametrize("space", LABEL_SPACES.values(), ids=lambda s: s.name)
def test_label_space(space):
    assert space.rule in ("identity", "subset", "mean", "argmax", "none")
    assert space.meaning
    assert bool(space.source) == (space.name not in ("own-classes", "unlabelled"))
    if space.name not in ("own-classes", "transfer", "unlabelled"):
        assert len(space.classes) == len(space.members) == len(set(space.classes))
        outputs = [index for members in space.members for index in members]
        assert len(outputs) == len(set(outputs))
        assert set(outputs) <= set(range(1000))


@pytest.mark.parametrize("name", ["imagenet-r", "imagenet-a"])
def test_subset_is_timms(name):
    import timm

    # timm lists the synsets of a subset beside their indices: two files that must agree.
    listing = Path(timm.__file__).parent / "data" / "_info" / f"{name.replace('-', '_')}_synsets.txt"
    space = label_space(name)
    assert len(space.classes) == 200
    assert list(space.classes) == listing.read_text().split()
    assert [imagenet_synsets()[index] for (index,) in space.members] == list(space.classes)


def test_categories_are_the_facts():
    facts = json.loads(shared("facts", "imagenet_to_16_categories.json").read_text())
    space = label_space("16-categories")
    assert list(space.classes) == sorted(facts)
    assert {c: sorted(m) for c, m in zip(space.classes, space.members, strict=True)} == {
        c: sorted(m) for c, m in facts.items()
    }
    assert sum(map(len, space.members)) == 207


def test_in9_is_the_facts():
    facts = json.loads(shared("facts", "imagenet_to_in9.json").read_text())
    space = label_space("in9")
    assert {str(i): sorted(m) for i, m in enumerate(space.members)} == {
        k: sorted(v) for k, v in facts.items() if k != "-1"
    }
    # The first member of each, in the order of the challenge's folders 00_dog to 08_fish.
    assert space.classes[0] == "dog"
    assert space.classes[8] == "fish"


def test_pug_is_the_facts():
    """The label is the place in the sorted names. Class 841 stands for two of them; as in the second study's code, the
    later one has it."""
    facts = json.loads(shared("facts", "pug_imagenet_classes.json").read_text())
    space = label_space("pug")
    assert list(space.classes) == sorted(facts)
    assert len(space.classes) == 151
    owner = {index: position for position, name in enumerate(sorted(facts)) for index in facts[name]}
    assert {index: label for label, members in enumerate(space.members) for index in members} == owner


def test_synsets_are_timms():
    from timm.data import ImageNetInfo

    assert list(imagenet_synsets()) == ImageNetInfo("imagenet-1k").label_names()
    assert len(imagenet_synsets()) == 1000
