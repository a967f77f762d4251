"""A folder of one's own images, from new-suite to a ranking of probes."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image

import qubastore
from qubastore.cli.main import main
from qubastore.datasets.locating import own_datasets
from qubastore.errors import DatasetError, UsageError
from qubastore.evaluators.planning.configuration import read_configuration
from qubastore.evaluators.probed_ingest import ingest_with_probes, probe_name
from qubastore.metrics.new_suite import new_suite
from tests.derived.digits import NET


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run a command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["qubastore", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


def test_a_suite_says_what_the_images_can_tell(call, digits, tmp_path):
    shutil.copytree(digits, tmp_path / "my digits")
    assert call("new-suite", "my digits", "-o", "suite.toml")[0] == 0
    code, _, error = call("new-suite", "my digits", "-o", "suite.toml")
    assert (code, "suite.toml exists" in error) == (2, True)
    settings = read_configuration("suite.toml")
    assert [data.name for data in settings.datasets] == [f"my-digits/{split}" for split in ("train", "val", "test")]
    assert settings.probe is not None
    assert (settings.probe.task, settings.probe.method) == ("my-digits", "linear")
    assert settings.suite is not None
    roles = [(role.role, role.dataset, role.n_samples) for role in settings.suite.roles]
    assert roles == [
        ("clean", "my-digits/test", 200),
        *[("corrupted", "my-digits/test", 200)] * 15,
        *[("adversarial", "my-digits/test", 200)] * 2,
    ]
    assert (
        "10 classes; 400 to fit on, 100 to choose hyperparameters on, 200 to test on."
        in (tmp_path / "suite.toml").read_text()
    )
    printed = call("new-suite", "my digits")[1]
    assert tomllib.loads(printed)["datasets"]["my-digits"]["path"] == "my digits"


def test_a_folder_without_splits_is_divided(digits, tmp_path):
    text = new_suite(digits / "train", "digits", file=tmp_path / "suite.toml").text
    assert 'layout = "holdout"' in text
    train, test = own_datasets("digits", digits / "train", "holdout")
    assert (train.name, test.name) == ("digits/train", "digits/test")
    keys = [{sample.key for sample in each.samples} for each in (train, test)]
    assert not keys[0] & keys[1]
    assert len(keys[0] | keys[1]) == 400
    assert 90 < len(keys[1]) < 150
    assert {s.label for s in train.samples} == {s.label for s in test.samples} == set(range(10))
    # Images that come or go do not move the others.
    shutil.copytree(digits / "train", tmp_path / "fewer")
    removed = sorted((tmp_path / "fewer" / "3").iterdir())[0]
    removed.unlink()
    again = own_datasets("digits", tmp_path / "fewer", "holdout")[1]
    assert {sample.key for sample in again.samples} == keys[1] - {f"3/{removed.name}"}


def test_each_class_has_an_image_on_either_side(tmp_path):
    for label in range(40):
        for number in range(2):
            path = tmp_path / str(label) / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), 3 * label + number, np.uint8)).save(path)
    for data in own_datasets("pairs", tmp_path, "holdout"):
        assert sorted(sample.labels[0] for sample in data.samples) == list(range(40))
    (tmp_path / "7" / "1.png").unlink()
    with pytest.raises(DatasetError, match="has a single image of the class 7"):
        own_datasets("pairs", tmp_path, "holdout")


def test_splits_that_are_called_otherwise(digits, tmp_path):
    shutil.copytree(digits, tmp_path / "digits")
    (tmp_path / "digits" / "val").rename(tmp_path / "digits" / "valid")
    assert new_suite(tmp_path / "digits").notes == ("not read: valid: only train, val and test are splits",)
    shutil.rmtree(tmp_path / "digits" / "test")
    with pytest.raises(DatasetError, match="has train and valid, and no test"):
        new_suite(tmp_path / "digits")


@pytest.mark.parametrize(
    ("name", "says"), [("quba", "quba is a built-in suite"), ("a/b", "'a/b' cannot be the name of a suite")]
)
def test_names_that_cannot_be(digits, name, says):
    with pytest.raises(UsageError, match=says):
        new_suite(digits, name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[probe]\ntask = "x"', "names the task 'x'"),
        ('[datasets]\nx = "images"\n[probe]\n', "names no task"),
        ('[datasets]\nx = "images"\n[probe]\ntask = "x"\nmethod = "svm"', "unknown method 'svm'"),
        ('[datasets]\nx = "images"\n[probe]\ntask = "x"\nsave = "y"', "unknown key 'save'"),
    ],
)
def test_mistakes_in_a_probe_table(tmp_path, digits, text, says):
    shutil.copytree(digits / "test", tmp_path / "images")
    (tmp_path / "suite.toml").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_configuration(str(tmp_path / "suite.toml"))


@pytest.mark.usefixtures("ray_session")
def test_from_a_folder_to_a_ranking(call, digits, tmp_path):
    """Features, probes, corruptions and attacks of two networks in one command, and again without any work."""
    shutil.copytree(digits, tmp_path / "digits")
    (tmp_path / "net.py").write_text(
        NET + NET[NET.index("def pixels") :].replace("pixels", "other").replace("24", "12")
    )
    text = new_suite("digits", file=tmp_path / "suite.toml").text
    (tmp_path / "suite.toml").write_text(text.replace("corrupt(all, severity=3)", "corrupt(contrast, severity=3)"))
    call("init", "--store", "store")
    words = ["ingest", "--config", "suite.toml", "--model", "python:net.py:pixels", "--model", "python:net.py:other"]
    code, out, error = call(*words, "--store", "store", "--dry-run")
    assert (code, "then a probe is fitted for each model" in out) == (0, True), error
    code, out, error = call(*words, "--store", "store", "--num-gpus", "0")
    assert code == 0, error
    code, out, error = call(*words, "--store", "store", "--num-gpus", "0")
    assert (code, out.count("nothing to do")) == (0, 2), error
    code, out, _ = call("rank", "--suite", "digits", "--store", "store", "--format", "json")
    ranked = json.loads(out)
    assert {row["model"] for row in ranked} == {"probe:digits-net.py-pixels", "probe:digits-net.py-other"}
    for row in ranked:
        assert None not in (row["accuracy"], row["calibration_error"], row["corruption_robustness"])
        assert row["adversarial_robustness"] is not None
    with qubastore.open("store") as store:
        assert store.rows("select count(*) from probes") == [(2,)]
        assert store.rows("select count(*) from accuracy where model not like 'probe:%'") == [(0,)]
        runs = store.rows("select distinct condition, origin from run_details where model like 'probe:%' order by all")
        assert [origin for _, origin in runs] == ["derived", "derived", "measured", "measured"]


def test_what_does_not_fit_a_probe_is_refused_first(digits, tmp_path, empty_store):
    shutil.copytree(empty_store, tmp_path / "store")
    (tmp_path / "suite.toml").write_text(new_suite(digits, "digits", file=tmp_path / "suite.toml").text)
    settings = read_configuration(str(tmp_path / "suite.toml"))
    assert settings.suite is not None
    assert settings.probe is not None
    probe = settings.probe
    with qubastore.open(tmp_path / "store", read_only=False) as store:
        for changed, options, says in (
            ({"method": "knn"}, {}, "k-NN probes have no gradients"),
            ({"task": "other"}, {}, "the task other has no other/test and no other/train"),
            ({}, {"keep": ["outputs"]}, "keep cannot be chosen"),
            ({}, {"limit": 3}, "limit cannot be chosen"),
        ):
            task = type(probe)(**{"task": probe.task, "method": probe.method, **changed})
            with pytest.raises(UsageError, match=says):
                ingest_with_probes(store, ["timm:x"], settings.datasets, suite=settings.suite, probe=task, **options)


def test_names_of_probes():
    assert probe_name("pets", "timm:resnet18.a1_in1k,num_classes=0") == "pets-resnet18.a1_in1k-num_classes-0"
    assert probe_name("pets", "my net") == "pets-my-net"
