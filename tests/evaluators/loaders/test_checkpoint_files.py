"""Checkpoints as files and by address: loaded, checked, never unpickled."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qubastore.errors import ModelError
from qubastore.evaluators.loaders.describe import describe, weights_hash
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.spec import ModelSpec
from tests.evaluators.loaders.test_loaders import load


@pytest.fixture
def resnet_weights(tmp_path):
    import timm

    torch.manual_seed(0)
    path = tmp_path / "resnet10t.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=5).state_dict(), path)
    return path


def test_timm_from_a_checkpoint(resnet_weights):
    text = f"timm:resnet10t.c3_in1k,checkpoint={resnet_weights},num_classes=5"
    loaded = load(text)
    model = describe(loaded)
    assert model.name == "timm:resnet10t.c3_in1k,checkpoint=resnet10t.safetensors,num_classes=5"
    assert (model.num_classes, model.feature_width, model.input_size) == (5, 512, (176, 176))
    assert model.parameters == sum(p.numel() for p in loaded.module.parameters())
    assert not loaded.module.training
    assert ModelSource.of(ModelSpec.parse(text)).revision() is not None


def test_torchvision_from_a_checkpoint(tmp_path):
    from torchvision.models import squeezenet1_1

    path = tmp_path / "squeeze.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in squeezenet1_1().state_dict().items()}}, path)
    model = describe(load(f"torchvision:squeezenet1_1/IMAGENET1K_V1,checkpoint={path},name=squeeze"))
    assert (model.name, model.num_classes, model.input_size) == ("squeeze", 1000, (224, 224))
    assert model.preprocessing["resize"] == (256, 256)


def test_a_checkpoint_that_does_not_fit(resnet_weights):
    with pytest.raises(ModelError, match="does not fit the architecture") as caught:
        load(f"timm:resnet10t.c3_in1k,checkpoint={resnet_weights}")
    assert "of a different shape (first: fc.weight is (5, 512), not (1000, 512))" in str(caught.value)
    with pytest.raises(ModelError, match="missing"):
        load(f"timm:resnet14t.c3_in1k,checkpoint={resnet_weights},num_classes=5")


class Bomb:
    def __reduce__(self):
        return (exec, ("open('exploded', 'w')",))


def test_checkpoints_are_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps({"weight": Bomb()}))
    torch.save({"weight": Bomb()}, tmp_path / "bomb2.pth")
    for name in ("bomb.pth", "bomb2.pth"):
        with pytest.raises(ModelError, match="cannot be read as tensors"):
            load(f"timm:resnet10t.c3_in1k,checkpoint={tmp_path / name}")
    assert not (tmp_path / "exploded").exists()


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """torch's cache in a folder of the test; what would be fetched is copied from `served`."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    served = tmp_path / "served.pth"

    def fetch(url, path, hash_prefix, progress):
        data = served.read_bytes()
        if not hashlib.sha256(data).hexdigest().startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}")')
        Path(path).write_bytes(data)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    return served


def test_a_checkpoint_by_address(cached, tmp_path):
    """Fetched once, its hash checked, and again when it comes from the cache."""
    import timm

    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t", num_classes=3).state_dict(), cached)
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()[:8]
    text = f"timm:resnet10t,num_classes=3,checkpoint=https://example.org/weights/net-{digest}.pth"
    source = ModelSource.of(ModelSpec.parse(text))
    revision = source.revision()
    assert revision is not None
    assert revision.endswith(f"net-{digest}.pth")
    first = weights_hash(source.load().module)
    cached.unlink()
    assert weights_hash(source.load().module) == first
    (tmp_path / "hub" / "checkpoints" / f"net-{digest}.pth").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="does not have the hash in its name"):
        source.load()


def test_an_address_whose_file_is_another(cached):
    cached.write_bytes(b"another")
    spec = ModelSpec.parse("timm:resnet10t,num_classes=3,checkpoint=https://example.org/net-0123abcd.pth")
    with pytest.raises(ModelError, match="could not be built") as error:
        ModelSource.of(spec).load()
    assert "invalid hash" in str(error.value)


def test_an_address_without_a_hash():
    spec = ModelSpec.parse("timm:resnet10t,num_classes=3,checkpoint=https://example.org/net.pth")
    with pytest.raises(ModelError, match="does not end in a hash"):
        ModelSource.of(spec).load()
