"""The zoo: every identifier exists in the libraries' own registries, offline; what is not exact says what it needs."""

from __future__ import annotations

import re

import pytest

from qubastore.errors import ModelError, UsageError
from qubastore.models import ModelSpec
from qubastore.zoo import expand_models, groups, in_group, read_zoo

EXACT = [entry for entry in read_zoo() if entry.is_exact]


def test_326_of_which_276_resolve():
    """203 listed identifiers and 15 hub addresses, 17 recipes that became timm tags, 5 Hiera, 36 checkpoints."""
    assert len(read_zoo()) == len({entry.name for entry in read_zoo()}) == 326
    assert len(EXACT) == 276
    assert sum("checkpoint=" in entry.spec for entry in EXACT) == 36
    assert all(entry.needs for entry in read_zoo() if not entry.is_exact)
    assert not any(entry.needs for entry in EXACT)


@pytest.fixture(scope="module")
def hub_repositories():
    import open_clip

    pairs = open_clip.list_pretrained()
    return {(open_clip.get_pretrained_cfg(*pair).get("hf_hub") or "").rstrip("/") for pair in pairs}


@pytest.fixture(scope="module")
def timm_names():
    import timm

    return set(timm.list_pretrained())


@pytest.mark.parametrize("entry", EXACT, ids=lambda e: e.name)
def test_identifier_exists(entry, hub_repositories, timm_names):
    spec = ModelSpec.parse(entry.spec)
    if spec.loader == "timm":
        import timm

        if "checkpoint" in spec.options:
            assert timm.is_model(spec.target)
            # As timm's own entries for this release name their files: <model>_<recipe>_0-<hash>.pth
            address = spec.options["checkpoint"]
            assert re.fullmatch(r"https://github\.com/.*/v0\.1-rsb-weights/\w+_a[123]_0-[0-9a-f]{8}\.pth", address)
        else:
            assert spec.target in timm_names
    elif spec.loader == "torchvision":
        from qubastore.evaluators.loaders.torchvision import resolve

        assert resolve(spec).url
    else:
        assert spec.loader == "open_clip"
        from qubastore.evaluators.loaders.open_clip import resolve

        architecture, _ = resolve(spec)
        if architecture.startswith("hf-hub:"):
            assert architecture.removeprefix("hf-hub:") in hub_repositories


@pytest.mark.parametrize("entry", [e for e in EXACT if e.paradigm in ("a1", "a2", "a3")], ids=lambda e: e.name)
def test_recipes_are_the_very_files_of_the_study(entry):
    """Where timm has a tag, its own record of the origin names the file that the study lists."""
    import csv
    from importlib.resources import files

    import timm

    with files("qubastore.published").joinpath("hesse2025.csv").open(encoding="utf-8") as file:
        listed = {row["model"]: row["loader_id"] for row in csv.DictReader(file)}[entry.name]
    spec = ModelSpec.parse(entry.spec)
    if "RSB weights" in listed:
        file = listed.rpartition(" ")[2]
        address = spec.options.get("checkpoint") or timm.get_pretrained_cfg(spec.target).url
        assert address.endswith(f"/{file}")
    else:
        assert spec.target == listed


def test_groups():
    assert groups()[0] == "all"
    assert {"cnn", "transformer", "vision-language", "bcos", "self-supervised", "adversarial"} <= set(groups())
    assert {entry.architecture for entry in in_group("cnn")} == {"cnn"}
    assert len(in_group("all")) == 326


def test_models_expand():
    specs, left_out = expand_models(["zoo:ResNet50-A1", "timm:resnet50.a1_in1k", "zoo:vision-language"])
    assert str(specs[0]) == "timm:resnet50.a1_in1k"
    assert len({str(spec) for spec in specs}) == len(specs)
    assert "mobileclip-s0" in {entry.name for entry in left_out}


def test_a_model_that_cannot_be_loaded_is_never_another():
    with pytest.raises(ModelError, match="needs the package bagnets") as error:
        expand_models(["zoo:BagNet17"])
    assert "nothing like it takes its place" in str(error.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet50-a1", "zoo:ResNet50-A1"), ("cnns", "did you mean cnn"), ("ResNet50-A4", "did you mean ResNet50-A")],
)
def test_unknown_names_suggest_the_nearest(name, hint):
    with pytest.raises(UsageError, match=hint):
        expand_models([f"zoo:{name}"])
