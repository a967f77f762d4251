"""The zoo: every identifier exists in the libraries' own registries, offline; what is not exact says what it needs."""

from __future__ import annotations

import csv
import re

import pytest

from qubastore.errors import ModelError, UsageError
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec
from qubastore.models.zoo import expand_models, groups, in_group, read_zoo
from qubastore.runs.lookup import named_model
from tests.conftest import shared
from tests.support.runs import add_run

EXACT = [entry for entry in read_zoo() if entry.is_exact]


def test_326_of_which_294_resolve():
    """203 listed identifiers and 15 hub addresses, 17 recipes that became timm tags, 5 Hiera, 36 checkpoints; 12 of
    the package bcos, 6 entry points of torch.hub."""
    assert len(read_zoo()) == len({entry.name for entry in read_zoo()}) == 326
    assert len(EXACT) == 294
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
    elif spec.loader == "hub":
        assert re.fullmatch(r"facebookresearch/dinov2:dinov2_vit[sbl]14(_reg)?_lc", spec.target)
    elif spec.loader == "bcos":
        assert spec.target in pytest.importorskip("bcos.models.pretrained").list_available()
    else:
        assert spec.loader == "open_clip"
        from qubastore.evaluators.loaders.open_clip import resolve

        architecture, _ = resolve(spec)
        if architecture.startswith("hf-hub:"):
            assert architecture.removeprefix("hf-hub:") in hub_repositories


def test_preprocessing_is_checked_where_the_studys_is_known():
    """The released code applies timm's config of a base model to the recipes, and 224 pixels, bilinear, to Hiera."""
    import timm
    from timm.data import resolve_data_config

    text = shared("facts", "quba_preprocessing.csv").read_text("utf-8")
    known = {row["model"]: row for row in csv.DictReader(text.splitlines())}
    checked = {entry.name: entry for entry in read_zoo() if entry.preprocessing_checked}
    assert {name for name in checked if not name.startswith("Hiera")} == {*known}
    for name, entry in checked.items():
        spec = ModelSpec.parse(entry.reference)
        if "preprocess" in spec.options:
            followed = Preprocessing.pinned(spec.options["preprocess"], name)
        else:
            own = timm.get_pretrained_cfg(spec.target)
            assert own is not None
            followed = Preprocessing.from_timm(resolve_data_config(pretrained_cfg=own.to_dict()), name)
        row = known.get(
            name, {"input_size": "224", "crop_pct": "1", "interpolation": "bilinear", "crop_mode": "center"}
        )
        size, share = int(row["input_size"]), float(row["crop_pct"])
        assert followed.crop == (size, size)
        assert followed.resize[0] == pytest.approx(size / share, abs=1)
        assert (followed.interpolation, row["crop_mode"]) == (row["interpolation"], "center")
    assert {entry.preprocessing for entry in read_zoo() if entry.spec and not entry.preprocessing_checked} == {
        "own; unchecked against the study's"
    }


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
        name = listed.rpartition(" ")[2]
        address = spec.options.get("checkpoint") or timm.get_pretrained_cfg(spec.target).url
        assert address.endswith(f"/{name}")
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
    assert "a similar model is never substituted" in str(error.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet50-a1", "zoo:ResNet50-A1"), ("cnns", "did you mean cnn"), ("ResNet50-A4", "did you mean ResNet50-A")],
)
def test_unknown_names_suggest_the_nearest(name, hint):
    with pytest.raises(UsageError, match=hint):
        expand_models([f"zoo:{name}"])


RECIPES = [entry for entry in read_zoo() if entry.paradigm in ("a1", "a2", "a3")]


def test_47_were_prepared_otherwise_by_the_study():
    """42 of the 57 recipes (14 architectures of 19), and Hiera; 18 of them at another input size."""
    other = {entry.name: entry for entry in read_zoo() if entry.study_preprocess}
    assert len(other) == 47
    assert sum(entry in other.values() for entry in RECIPES) == 42
    assert sum(entry.study_preprocess.partition("/")[0] != "224" for entry in other.values()) == 18
    assert {name for name in other if name.startswith("Hiera")} == {
        f"Hiera-{s}" for s in ("T", "S", "B", "B-Plus", "L")
    }


@pytest.mark.parametrize("entry", [e for e in read_zoo() if e.study_preprocess], ids=lambda e: e.name)
def test_the_studys_preprocessing_is_that_of_its_base_model(entry):
    """As the study's code has it: timm's config of the name that it starts from; for Hiera Resize(224), CenterCrop."""
    import timm

    wanted = Preprocessing.pinned(entry.study_preprocess, entry.name)
    if entry.name.startswith("Hiera"):
        assert wanted == Preprocessing((224, 224), (224, 224), interpolation="bilinear")
        return
    base: dict[str, str | dict[str, str]] = {
        "efficientnet": "tf_efficientnet_{}.in1k",
        "efficientnetv2": {"M": "efficientnetv2_rw_m.agc_in1k", "S": "efficientnetv2_rw_s.ra2_in1k"},
        "regnety": "regnety_{}.pycls_in1k",
        "resnet50d": "resnet50d.gluon_in1k",
        "resnext50": "resnext50_32x4d.gluon_in1k",
        "senet154": "senet154.gluon_in1k",
    }
    family, *size, _ = entry.name.lower().split("-")
    name = base[family]
    if isinstance(name, dict):
        name = name[size[0].upper()]
    assert wanted == Preprocessing.from_timm(timm.get_pretrained_cfg(name.format(*size)).to_dict(), name)


def test_a_reference_suite_takes_the_studys_preprocessing():
    name = "timm:hiera_base_224.mae_in1k_ft_in1k"
    for suite, text in (
        (None, name),
        ("quba", name),
        ("beyond-imagenet-reference", name),
        ("quba-reference", f"{name},preprocess=224/1/bilinear"),
    ):
        assert str(expand_models(["zoo:Hiera-B"], suite)[0][0]) == text
    (before,), (after,) = (expand_models(["zoo:RegNety-040-A1"], suite)[0] for suite in ("quba", "quba-reference"))
    assert before.options["preprocess"] == "224/0.95"
    assert after.options == {**before.options, "preprocess": "224/0.875/bicubic"}
    # The study used the model's own.
    assert len({str(expand_models(["zoo:ResNet50-A1"], suite)[0][0]) for suite in ("quba", "quba-reference")}) == 1
    assert str(expand_models(["timm:hiera_base_224.mae_in1k_ft_in1k"], "quba-reference")[0][0]) == name


def test_the_second_studys_suite_has_its_own():
    specs, _ = expand_models(["zoo:beyond-imagenet"], "beyond-imagenet-reference")
    assert [spec.options.get("preprocess") for spec in specs] == ["224/0.875/bilinear"] * 2 + [None] * 2
    assert not any(spec.options for spec in expand_models(["zoo:beyond-imagenet"], "beyond-imagenet")[0])


@pytest.mark.parametrize(
    ("text", "crop", "resize", "interpolation"),
    [
        ("224/0.95", 224, 235, "bicubic"),
        ("224/0.95/bicubic", 224, 235, "bicubic"),
        ("224/0.875/bilinear", 224, 256, "bilinear"),
        ("260/0.89/bicubic", 260, 292, "bicubic"),
        ("224/1/lanczos", 224, 224, "lanczos"),
    ],
)
def test_preprocessing_can_be_said(text, crop, resize, interpolation):
    got = Preprocessing.pinned(text, "model")
    assert got == Preprocessing((crop, crop), (resize, resize), "shorter", interpolation)
    own = Preprocessing((32, 32), (32, 32), mean=(0.5,) * 3, std=(0.2,) * 3)
    assert Preprocessing.pinned(text, "model", own).mean == (0.5,) * 3
    assert Preprocessing.pinned(text, "model", own).std == (0.2,) * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm:resnet18,preprocess=224", "SIZE/CROP"),
        ("timm:resnet18,preprocess=224/1.5", "SIZE/CROP"),
        ("timm:resnet18,preprocess=0/1", "SIZE/CROP"),
        ("timm:resnet18,preprocess=224/0.9/bilinaer", "did you mean bilinear"),
        ("timm:resnet18,preprocess=224/0.9/random", "unknown interpolation"),
        ("python:a.py:net,preprocess=224/0.9", "do it in the function in the file"),
    ],
)
def test_preprocessing_that_makes_no_sense(text, message):
    with pytest.raises(UsageError, match=message):
        ModelSpec.parse(text)


@pytest.mark.parametrize(
    "spec", ["torchvision:googlenet/IMAGENET1K_V1", "torchvision:inception_v3/IMAGENET1K_V1"], ids=lambda s: s
)
def test_heads_that_only_training_uses_are_no_parameters(spec, tmp_path):
    """GoogLeNet has 6.6 M as published, 13.0 M with its auxiliary heads; Inception v3 23.8 M, 27.2 M with its own."""
    import torch
    import torchvision

    from qubastore.evaluators.loaders.describe import describe
    from qubastore.evaluators.loaders.torchvision import load

    name = spec.split(":")[1].partition("/")[0]
    net = torchvision.models.get_model(name, weights=None, init_weights=False)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    loaded = load(ModelSpec.parse(f"{spec},checkpoint={tmp_path / 'weights.pth'},preprocess=75/1/bilinear"))
    model = describe(loaded, thorough=False)
    assert model.parameters is not None
    assert round(model.parameters / 1e6, 1) == {"googlenet": 6.6, "inception_v3": 23.8}[name]
    assert model.input_size == (75, 75)
    assert model.preprocessing["interpolation"] == "bilinear"


def test_a_name_of_the_zoo_means_the_model_that_is_there(store):
    """Prepared in its own way or in the study's: by the suite, else whichever is there; with both, it is asked."""
    (entry,) = in_group("Hiera-B")
    add_run(store, [[1, 0], [0, 1]], [0, 1], name=entry.stored_as)
    for suite in (None, "quba", "quba-reference"):
        assert named_model(store, "zoo:Hiera-B", suite)[0] == entry.stored_as
    add_run(store, [[1, 0], [0, 1]], [0, 1], name=entry.stored_as_reference)
    assert named_model(store, "zoo:Hiera-B", "quba")[0] == entry.stored_as
    assert named_model(store, "zoo:Hiera-B", "quba-reference")[0] == entry.stored_as_reference
    with pytest.raises(UsageError, match="zoo:Hiera-B means 2 models of the store") as error:
        named_model(store, "zoo:Hiera-B")
    assert entry.stored_as_reference in str(error.value)
    # Both are the published row's.
    matched = store.rows("select model, label from rankable where source = 'measured' order by model")
    assert [row[1] for row in matched] in ([], ["Hiera-B"] * 2)


@pytest.mark.parametrize("suite", [None, "quba", "quba-reference"])
def test_ingest_says_for_which_suite(store, monkeypatch, suite):
    """From the command line as from Python: what comes with a suite's preprocessing is decided in one place."""
    from qubastore.evaluators import driver

    asked = []

    def expand(texts, suite=None):
        asked.append((texts, suite))
        raise UsageError("asked")

    monkeypatch.setattr(driver, "expand_models", expand)
    with pytest.raises(UsageError, match="asked"):
        driver.ingest(store, ["zoo:Hiera-B"], suite=suite)
    assert asked == [(["zoo:Hiera-B"], suite)]
