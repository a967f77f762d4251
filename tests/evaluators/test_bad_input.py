"""Ingest of bad images, bad models and wrong requests: each is reported, and the rest runs."""

from __future__ import annotations

import pytest

from qubastore.errors import DatasetError, IngestError, ModelError, OutputError, UsageError
from qubastore.evaluators import ingest
from tests.conftest import TINY_MODELS, write_images

pytestmark = pytest.mark.usefixtures("ray_session")


def test_corrupt_images_are_recorded(store, tiny_models, images):
    (images / "ant" / "001.png").write_bytes(b"no image")
    (images / "cow" / "zz.png").write_bytes((images / "cow" / "000.png").read_bytes()[:100])
    report = ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
    assert report.failures == 2
    assert store.rows("select n_outputs, n_failed from accuracy") == [(149, 2)]
    assert store.rows("select key from failures order by key") == [("ant/001.png",), ("cow/zz.png",)]


def test_strict_makes_them_errors(store, tiny_models, images):
    (images / "ant" / "001.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"ant/001.png cannot be decoded"):
        ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, strict=True)
    assert store.rows("select count(*) from run_summary") == [(0,)]
    assert list((store.data_path / "staged").glob("*-00000-*.parquet")) == []


def test_a_shard_without_any_good_image(store, tiny_models, tmp_path):
    root = write_images(tmp_path / "few", {"a": 1, "b": 1, "c": 1})
    for path in root.glob("*/*.png"):
        path.write_bytes(b"no image")
    report = ingest(store, [f"python:{tiny_models}:first"], {"few": root})
    assert report.failures == 3
    assert store.rows("select n_outputs, n_failed, accuracy from accuracy") == [(0, 3, None)]


def test_an_image_that_changed_is_an_error(store, tiny_models, images):
    ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
    path = images / "ant" / "001.png"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1  # the same size, another content
    path.write_bytes(bytes(data))
    with pytest.raises(DatasetError, match=r"ant/001.png has changed"):
        ingest(store, [f"python:{tiny_models}:second"], {"noise": images})
    assert store.rows("select count(*) from accuracy") == [(1,)]


def test_nan_logits_end_one_run_and_not_the_others(store, tiny_models, images):
    report = ingest(store, [f"python:{tiny_models}:{f}" for f in ("nan_logits", "first")], {"noise": images})
    ((model, dataset, error),) = report.errors
    assert (model, dataset) == ("python:tiny_models.py:nan_logits", "noise")
    assert isinstance(error, OutputError)
    assert "returned nan" in str(error)
    assert store.rows("select model from accuracy") == [("python:tiny_models.py:first",)]
    assert store.rows("select complete from run_details where model like '%nan%'") == [(False,)]


def test_probabilities_are_no_logits(store, tiny_models, images):
    report = ingest(store, [f"python:{tiny_models}:no_logits"], {"noise": images})
    assert "returned probabilities" in str(report.errors[0][2])
    assert store.rows("select count(*) from outputs") == [(0,)]


def test_a_network_that_goes_back_to_train_mode(store, tmp_path, images):
    """A part of it is enough: batch statistics would change the outputs."""
    source = f"""{TINY_MODELS}

class Restless(Net):
    def forward(self, x):
        self.body[1].train(len(x) > 1)
        return self.head(x.flatten(1)[:, :32])


def restless():
    return Restless(1), CONFIG
"""
    (tmp_path / "restless.py").write_text(source)
    report = ingest(store, [f"python:{tmp_path / 'restless.py'}:restless"], {"noise": images}, batch_size=8, limit=24)
    assert "BatchNorm2d is in train mode" in str(report.errors[0][2])


def test_the_wrong_number_of_classes(store, tiny_models, images):
    with pytest.raises(ModelError, match="does not fit the dataset noise") as caught:
        ingest(store, [f"python:{tiny_models}:four_classes"], {"noise": images})
    assert "expected: 3 classes" in str(caught.value)
    assert "found: 4 classes" in str(caught.value)
    assert store.rows("select count(*) from models") == [(0,)]


def test_a_model_that_cannot_be_loaded_leaves_the_others_alone(store, tiny_models, images):
    specs = [f"python:{tiny_models}:{name}" for name in ("no_tuple", "four_classes", "first")]
    report = ingest(store, specs, {"noise": images}, limit=10)
    assert report.images == 10
    assert [name.rpartition(":")[2] for name, _, _ in report.errors] == ["no_tuple", "four_classes"]


def test_a_model_that_is_another_each_time(store, tiny_models, images):
    report = ingest(store, [f"python:{tiny_models}:{f}" for f in ("unseeded", "first")], {"noise": images}, limit=20)
    assert "is not the model that was planned" in str(report.errors[0][2])
    assert store.rows("select model from accuracy") == [("python:tiny_models.py:first",)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "unknown precision"),
        ({"keep": ["logit"]}, "did you mean logits"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"batch_size": "large"}, "batch size is large"),
        ({"models": []}, "nothing to ingest"),
    ],
)
def test_wrong_requests(store, tiny_models, images, options, message):
    asked = {"models": [f"python:{tiny_models}:first"], "datasets": {"noise": images}, **options}
    with pytest.raises(UsageError, match=message):
        ingest(store, **asked)


def test_more_gpus_than_there_are(store, tiny_models, images):
    with pytest.raises(IngestError, match="4 GPUs were requested"):
        ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, num_gpus=4)
