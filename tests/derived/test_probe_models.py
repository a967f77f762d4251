"""Probes that are models: scikit-learn's scores from the same weights, runs without images, attacks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import qubastore
from qubastore.datasets.locating import own_datasets
from qubastore.derived.ensemble import ensemble
from qubastore.derived.probe_heads import read_probe_head
from qubastore.derived.probe_methods import METHODS
from qubastore.derived.probe_models import save_probe
from qubastore.derived.temperature import calibrate
from qubastore.errors import ModelError, UsageError
from qubastore.evaluators import InMemoryModel, bench, ingest
from qubastore.maintenance.copy import copy_store
from qubastore.maintenance.doctor import examine
from qubastore.runs import removal
from tests.derived.digits import MODEL

SPLITS: dict[str, Any] = {"train": "digits/train", "val": "digits/val", "test": "digits/test"}


@pytest.fixture(scope="module")
def saved(probed, digits, tmp_path_factory):
    """A store with features of the digits, also under a scale, and two probes; and what saving them returned."""
    path = tmp_path_factory.mktemp("saved") / "store"
    shutil.copytree(probed[0], path)
    test = [data for data in own_datasets("digits", digits, "splits") if data.name == "digits/test"]
    with qubastore.open(path, read_only=False) as store:
        ingest(store, [f"python:{probed[1]}:pixels"], test, conditions=["scale(1.25)"])
        linear = save_probe(store, MODEL, name="digits", **SPLITS)
        near = save_probe(store, MODEL, name="near", method="knn", **SPLITS)
    return path, linear, near


@pytest.fixture
def store(saved, tmp_path):
    """A copy of it to write to."""
    shutil.copytree(saved[0], tmp_path / "copy")
    with qubastore.open(tmp_path / "copy", read_only=False) as made:
        yield made


def vectors(store, kind, where):
    """(n, width) of a kept kind of output, and the labels."""
    (run,) = store.rows(f"select run_id from run_details where {where}")
    rows = store.rows(
        f"select values, label from {kind} join outputs using (run_id, sample_id) where run_id = ? order by sample_id",
        [run[0]],
    )
    return np.array([row[0] for row in rows], np.float64), np.array([row[1] for row in rows])


def test_a_linear_probe_gives_the_scores_of_scikit_learn_with_the_same_weights(store, saved):
    from sklearn.linear_model import LogisticRegression

    _, linear, _ = saved
    assert linear.model == "probe:digits"
    assert [place for place, _ in linear.runs] == ["digits/test", "digits/test under scale(1.25)"]
    head = read_probe_head(store, "probe:digits").classifier
    oracle = LogisticRegression()
    oracle.classes_, oracle.coef_, oracle.intercept_ = np.arange(10), head.weights, head.bias
    for condition in ("clean", "scale(1.25)"):
        x, _ = vectors(
            store, "features", f"model = '{MODEL}' and dataset = 'digits/test' and condition = '{condition}'"
        )
        logits, y = vectors(store, "logits", f"model = 'probe:digits' and condition = '{condition}'")
        expected = oracle.decision_function((x - head.center) / head.scale)
        # Logits are kept at 16 significant bits.
        np.testing.assert_allclose(logits, expected, rtol=2**-16, atol=1e-5)
        (found,) = store.rows(
            "select accuracy from accuracy where model = 'probe:digits' and condition = ?", [condition]
        )
        assert found[0] == (oracle.predict((x - head.center) / head.scale) == y).mean()
    ((accuracy,),) = store.rows("select accuracy from accuracy where model = 'probe:digits' and condition = 'clean'")
    assert accuracy == linear.probe.test_accuracy > 0.6
    assert store.rows("select label_space from run_details where model = 'probe:digits'") == [("own-classes",)] * 2


def test_the_fit_is_that_of_scikit_learn(store, saved):
    """The whole way: the same objective, minimised by scikit-learn, gives the same probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = (
        np.concatenate(parts)
        for parts in zip(
            *(vectors(store, "features", f"dataset = 'digits/{split}'") for split in ("train", "val")), strict=True
        )
    )
    scale = StandardScaler().fit(x)
    oracle = LogisticRegression(C=saved[1].probe.chosen, tol=1e-10, max_iter=100_000).fit(scale.transform(x), y)
    test, _ = vectors(store, "features", f"model = '{MODEL}' and dataset = 'digits/test' and condition = 'clean'")
    logits, _ = vectors(store, "logits", "model = 'probe:digits' and condition = 'clean'")
    ours = np.exp(logits - logits.max(1, keepdims=True))
    ours /= ours.sum(1, keepdims=True)
    np.testing.assert_allclose(ours, oracle.predict_proba(scale.transform(test)), atol=1e-3)


def test_a_knn_probe_gives_the_probabilities_of_scikit_learn(store, saved, probed, digits):
    from sklearn.neighbors import KNeighborsClassifier

    x, y = (
        np.concatenate(parts)
        for parts in zip(
            *(vectors(store, "features", f"dataset = 'digits/{split}'") for split in ("train", "val")), strict=True
        )
    )
    test, labels = vectors(store, "features", f"model = '{MODEL}' and dataset = 'digits/test' and condition = 'clean'")
    oracle = KNeighborsClassifier(int(saved[2].probe.chosen), metric="cosine").fit(x, y)
    logits, _ = vectors(store, "logits", "model = 'probe:near' and condition = 'clean'")
    np.testing.assert_allclose(np.exp(logits), oracle.predict_proba(test), atol=1e-5)
    ((accuracy, kind),) = store.rows(
        "select accuracy, output_type from accuracy join models on name = model"
        " where model = 'probe:near' and condition = 'clean'"
    )
    assert (accuracy, kind) == ((oracle.predict(test) == labels).mean(), "probabilities")
    with pytest.raises(UsageError, match="k-NN probe"):
        ingest(store, [f"python:{probed[1]}:pixels", "probe:near"], {"x": digits / "test"})
    with pytest.raises(UsageError, match="no logits to scale"):
        calibrate(store, "probe:near", fit_on="digits/test")
    with pytest.raises(UsageError, match="no logits to average"):
        ensemble(store, ["probe:near", "probe:digits"], mean="logits")
    assert ensemble(store, ["probe:near", "probe:digits"]).runs


def test_a_probe_costs_what_its_backbone_and_its_head_cost(store):
    rows = store.rows("select parameters, macs, activations from models order by name")
    probe, near, backbone = rows
    assert probe == (backbone[0] + 10 * 25, backbone[1] + 240, backbone[2] + 10)
    assert near == (backbone[0], backbone[1] + 500 * 24, backbone[2] + 500)


def test_what_it_was_fitted_on_is_not_what_it_is_tested_on(store, saved, probed, digits, tmp_path):
    assert saved[1].skipped == [
        ("digits/train", "it was fitted on 400 of its images"),
        ("digits/val", "it was fitted on 100 of its images"),
    ]
    model = f"python:{probed[1]}:pixels"
    # Of the splits of its task, only the test split is run.
    report = ingest(store, [model, "probe:digits"], own_datasets("digits", digits, "splits"), dry_run=True)
    assert [planned.place for planned in report.plan.runs if planned.model.title == "probe:digits"] == ["digits/test"]
    for split in ("train", "test"):
        for label in "01":
            shutil.copytree(digits / split / label, tmp_path / "fewer" / split / label)
    report = ingest(store, [model, "probe:digits"], own_datasets("fewer", tmp_path / "fewer", "splits"), dry_run=True)
    assert {str(error).splitlines()[0] for _, _, error in report.errors} == {
        f"probe:digits does not fit the dataset fewer/{split}" for split in ("train", "test")
    }
    # The same images under another name: known once they have been read.
    again = own_datasets("again", digits, "splits")[:1]
    ingest(store, [model], again)
    report = ingest(store, [model, "probe:digits"], again)
    ((name, _, error),) = report.errors
    assert name == "probe:digits"
    assert "was fitted on 400 of the 400 images of again/" in str(error)


def test_attacks_run_backbone_and_head_together(store, probed, digits):
    head = read_probe_head(store, "probe:digits").classifier
    test = [data for data in own_datasets("digits", digits, "splits") if data.name == "digits/test"]
    with pytest.raises(ModelError, match=r"the backbone of probe:digits cannot be loaded by its name"):
        ingest(store, ["probe:digits"], test, conditions=["fgsm"])
    report = ingest(
        store, [f"python:{probed[1]}:pixels", "probe:digits"], test, conditions=["fgsm", "clean"], keep=None
    )
    # Of the backbone, the clean run is complete, and it has no answers that could be attacked.
    assert (report.errors, len(report.completed)) == ([], 2)
    logits, labels = vectors(store, "logits", "model = 'probe:digits' and condition like 'fgsm%'")
    # By hand: the sign of the gradient of the cross-entropy, in pixels.
    namespace: dict = {}
    exec(probed[1].read_text(), namespace)
    network = namespace["pixels"]()[0].eval()
    weights, bias, center, scale = (
        torch.from_numpy(value) for value in (head.weights, head.bias, head.center, head.scale)
    )

    def scores(pixels):
        return ((network[:3](pixels).double() - center) / scale) @ weights.T + bias

    from PIL import Image

    images = [np.asarray(Image.open(digits / "test" / sample.key)) for sample in test[0].samples]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div(255).requires_grad_(True)
    torch.nn.functional.cross_entropy(scores(pixels), torch.from_numpy(labels).long(), reduction="sum").backward()
    assert pixels.grad is not None
    altered = (pixels + 8 / 255 * pixels.grad.sign()).clamp(0, 1)
    with torch.no_grad():
        expected = scores(altered.detach()).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-3)
    # The clean run over images agrees with the one from kept features, which are rounded to 16 bits.
    measured, _ = vectors(store, "logits", "model = 'probe:digits' and condition = 'clean' and origin = 'measured'")
    derived, _ = vectors(store, "logits", "model = 'probe:digits' and condition = 'clean' and origin = 'derived'")
    np.testing.assert_allclose(measured, derived, atol=2e-3)
    # Only what was computed without images is a derived run; but what is measured goes with the features as well.
    assert {row[0] for row in store.rows("select kind from derived_runs")} == {"probe"}
    assert store.rows("select count(*) from derived_runs") == [(4,)]
    (train,) = store.rows("select run_id from run_details where dataset = 'digits/train'")
    store.write(lambda connection: removal.empty_derived(connection, train[0]))
    assert store.rows("select count(*) from outputs join run_details using (run_id) where model = 'probe:digits'") == [
        (0,)
    ]


def test_a_probe_whose_features_change_is_fitted_again(store, saved, digits):
    assert list(examine(store, deep=True)) == []
    (train,) = store.rows("select run_id from run_details where dataset = 'digits/train'")

    def touch(connection):
        removal.empty_derived(connection, train[0])
        connection.execute("update shards set committed_at = now() where run_id = ?", [train[0]])

    store.write(touch)
    assert store.rows("select count(*) from probe_heads") == store.rows("select count(*) from probe_weights") == [(0,)]
    assert store.rows("select bool_or(complete) from run_details where model = 'probe:digits'") == [(False,)]
    with pytest.raises(UsageError, match="has no head: the features that it was fitted on have changed"):
        ingest(store, ["probe:digits"], {"x": digits / "test"})
    again = save_probe(store, MODEL, name="digits", **SPLITS)
    assert again.runs == saved[1].runs
    assert store.rows("select bool_and(complete) from run_details where model = 'probe:digits'") == [(True,)]


def test_a_probe_that_is_kept_is_not_fitted_again(store, saved, monkeypatch):
    """Another processor would give other last digits, and so another model."""
    monkeypatch.setitem(METHODS, "linear", replace(METHODS["linear"], fit=None))  # type: ignore[arg-type]
    again = save_probe(store, MODEL, name="digits", **SPLITS)
    assert (again.runs, again.probe.is_new) == (saved[1].runs, False)


def test_a_name_belongs_to_one_probe(store):
    assert len(save_probe(store, MODEL, name="digits", **SPLITS).runs) == 2
    with pytest.raises(UsageError, match="probe:digits is already in the store, and was fitted differently"):
        save_probe(store, MODEL, name="digits", method="knn", **SPLITS)
    for name in ("", "a,b", "a:b", "a=b", "a@b", "a\0b"):
        with pytest.raises(UsageError, match="name of a probe"):
            save_probe(store, MODEL, name=name, **SPLITS)
    # One whose head is gone gives its name to the next.
    (val,) = store.rows("select run_id from run_details where dataset = 'digits/val'")
    store.write(lambda connection: removal.empty_derived(connection, val[0]))
    with pytest.raises(UsageError, match="this probe is already in the store, as probe:near"):
        save_probe(store, MODEL, name="digits", method="knn", **SPLITS)
    save_probe(store, MODEL, name="digits", method="knn", train="digits/train", test="digits/test")
    assert store.rows("select count(*) from models where loader = 'probe'") == [(2,)]


def test_a_class_without_training_images_has_no_score(store, tmp_path, probed, digits):
    shutil.copytree(digits, tmp_path / "digits")
    for split in ("train", "val"):
        for path in (tmp_path / "digits" / split / "7").iterdir():
            path.write_bytes(b"no image")
    data = own_datasets("fewer", tmp_path / "digits", "splits")
    ingest(store, [f"python:{probed[1]}:pixels"], data)
    with pytest.raises(UsageError, match="fewer/train has no image of the class '7' to fit on"):
        save_probe(store, MODEL, name="x", train="fewer/train", val="fewer/val", test="fewer/test")


def test_a_backbone_runs_on_classes_and_its_probe_answers_there(store, digits, probed):
    """Class folders, not splits of a task: the backbone has no answers, and its probe has them."""

    class Backbone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            namespace: dict = {}
            exec(probed[1].read_text(), namespace)
            self.network = namespace["pixels"]()[0][:3]

        def forward(self, pixels):
            return self.network(pixels)

    config = {"input_size": (3, 8, 8), "crop_pct": 1.0, "interpolation": "nearest", "mean": (0, 0, 0), "std": (1, 1, 1)}
    backbone = InMemoryModel("backbone", Backbone(), config, "features")
    report = ingest(store, [backbone], {"seen": digits / "train", "new": digits / "test"})
    assert not report.errors
    assert store.rows("select distinct label_space, complete from run_details where dataset in ('seen', 'new')") == [
        ("transfer", True)
    ]
    assert store.rows("select count(*) from accuracy where dataset = 'new'") == [(0,)]
    made = save_probe(store, "memory:backbone", name="folders", train="seen", test="new")
    assert [place for place, _ in made.runs] == ["new"]
    assert store.rows(
        "select run.dataset, accuracy, label_space from accuracy join run_details as run using (run_id)"
        " where run.dataset = 'new'"
    ) == [("new", made.probe.test_accuracy, "own-classes")]
    assert store.rows("select model from calibration where dataset = 'new'") == [("probe:folders",)]
    data = {"new": digits / "test"}
    with pytest.raises(UsageError, match=r"has no head"):
        ingest(store, [backbone], data, conditions=["fgsm"])
    report = ingest(store, [backbone, "probe:folders"], data, conditions=["fgsm"])
    assert (report.errors, len(report.completed)) == ([], 1)


def test_probes_are_copied_with_their_heads(store, tmp_path):
    with qubastore.init(tmp_path / "other") as target:
        copy_store(store, target)
        mine, theirs = (read_probe_head(each, "probe:digits") for each in (store, target))
        assert json.dumps(mine.fitted_on) == json.dumps(theirs.fitted_on)
        np.testing.assert_array_equal(mine.classifier.weights, theirs.classifier.weights)
        ((model_id,),) = store.rows("select model_id from models where name = 'probe:digits'")
        store.write(lambda connection: removal.remove_model(connection, model_id))
        assert store.rows("select count(*) from probe_heads") == [(1,)]
        assert store.rows("select count(*) from probe_weights") == [(0,)]


def test_a_probe_can_be_measured_on_a_device(store, probed):
    report = bench(store, ["probe:digits"], device="cpu", seconds=0.01)
    assert [str(error) for _, error in report.errors if "the backbone of probe:digits" not in str(error)] == []
