"""Models by name: every loader, what it refuses, and what tells one model from another."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qubastore.errors import ModelError, OutputError, QubastoreError, UsageError
from qubastore.evaluators.loaders.describe import describe, weights_hash
from qubastore.evaluators.loaders.source import InMemoryModel, ModelSource
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec


def load(text):
    return ModelSource.of(ModelSpec.parse(text)).load()


@pytest.mark.parametrize(
    ("text", "loader", "target", "options"),
    [
        ("timm:resnet50.a1_in1k", "timm", "resnet50.a1_in1k", {}),
        ("torchvision:alexnet/IMAGENET1K_V1", "torchvision", "alexnet/IMAGENET1K_V1", {}),
        ("python:a b/my.py:net", "python", "a b/my.py:net", {}),
        ("timm:x,checkpoint=a,b=.pth,num_classes=7", "timm", "x", None),
        ("timm:x,checkpoint=/w/a,1.pth,num_classes=7", "timm", "x", {"checkpoint": "/w/a,1.pth", "num_classes": "7"}),
    ],
)
def test_specs(text, loader, target, options):
    if options is None:
        with pytest.raises(UsageError, match="unknown option 'b'"):
            ModelSpec.parse(text)
        return
    spec = ModelSpec.parse(text)
    assert (spec.loader, spec.target, dict(spec.options)) == (loader, target, options)
    assert str(spec) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet50", "timm:resnet50"),
        ("tim:resnet50", "did you mean timm"),
        ("timm:", "names no model"),
        ("timm:x,colour=red", "unknown option 'colour'"),
        ("timm:x,num_classes=abc", "num_classes is 'abc'"),
        ("timm:x,num_classes=0", "num_classes is '0'"),
    ],
)
def test_specs_that_name_no_model(text, message):
    with pytest.raises(UsageError, match=message):
        ModelSpec.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm:resnet5O", "did you mean resnet50"),
        ("timm:resnet50.a1_in1", "did you mean resnet50.a1_in1k"),
        ("timm:test_vit5", "timm has no model"),
        ("torchvision:alexnt/IMAGENET1K_V1", "did you mean alexnet"),
        ("torchvision:alexnet/IMAGENET1K_V9", "IMAGENET1K_V1"),
        ("torchvision:alexnet", "torchvision:alexnet/IMAGENET1K_V1"),
        ("python:nowhere.py:net", "cannot be read"),
        ("python:nowhere.py", "names no factory"),
        ("timm:resnet18,checkpoint=/nowhere.pth", "no checkpoint"),
    ],
)
def test_unknown_names(text, message):
    with pytest.raises(QubastoreError, match=message):
        load(text)


def test_an_unreachable_hub_says_what_to_do(monkeypatch):
    # Its client reads the variable when it is imported; without this it tries again and again for a minute.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="could not be fetched") as caught:
        load("timm:resnet18.a1_in1k")
    assert "checkpoint=" in str(caught.value)


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
    assert "of another shape (first: fc.weight is (5, 512), not (1000, 512))" in str(caught.value)
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


def test_python_models(tiny_models):
    first, again, second = (describe(load(f"python:{tiny_models}:{f}")) for f in ("first", "first", "second"))
    assert first.name == "python:tiny_models.py:first"
    assert first.model_id == again.model_id
    assert first.model_id != second.model_id
    assert (first.num_classes, first.feature_width, first.input_size) == (3, 32, (32, 32))


def test_identity_follows_the_function_and_not_the_text(tiny_models):
    before = describe(load(f"python:{tiny_models}:first")).model_id
    tiny_models.write_text(tiny_models.read_text() + "\ndef unrelated():\n    return 1\n")
    assert describe(load(f"python:{tiny_models}:first")).model_id == before
    tiny_models.write_text(tiny_models.read_text().replace("flatten(1))", "flatten(1)) / 10"))
    assert describe(load(f"python:{tiny_models}:first")).model_id != before


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("frist", "did you mean first"),
        ("no_tuple", "returned a Net"),
        ("no_network", "returned no network"),
        ("prepared_without_id", "has no id"),
        ("prepared_as_image", "returns no image tensor"),
        ("wrong_mean", "mean of the preprocessing is 'grey'"),
        ("wrong_filter", "unknown interpolation"),
    ],
)
def test_python_factories_that_do_not_fit(tiny_models, factory, message):
    with pytest.raises(ModelError, match=message):
        describe(load(f"python:{tiny_models}:{factory}"))


def test_a_file_that_fails_names_the_line(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("x = 1\nraise ValueError('no luck')\n")
    with pytest.raises(ModelError, match=r"broken.py, line 2, fails") as caught:
        load(f"python:{path}:net")
    assert "no luck" in str(caught.value)
    path.write_text("def net(:\n")
    with pytest.raises(ModelError, match=r"broken.py, line 1, fails"):
        load(f"python:{path}:net")


def test_files_beside_the_source_can_be_imported(tmp_path):
    (tmp_path / "helper_of_test.py").write_text("SIZE = 8\n")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom helper_of_test import SIZE\n"
        "def net():\n    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2)),"
        " {'input_size': (3, SIZE, SIZE)}\n"
    )
    assert describe(load(f"python:{tmp_path / 'net.py'}:net")).num_classes == 2


def test_in_memory_models_are_told_apart():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
    config = {"input_size": (3, 8, 8)}
    one = describe(InMemoryModel("net", net, config).load())
    net.temperature = 5.0
    warmer = describe(InMemoryModel("net", net, config).load())
    assert warmer.model_id != one.model_id, "a plain attribute that the forward pass may use"
    assert describe(InMemoryModel("other", net, config).load()).model_id != warmer.model_id
    del net.temperature
    with torch.no_grad():
        net[1].bias[0] += 1
    assert describe(InMemoryModel("net", net, config).load()).model_id != one.model_id
    with pytest.raises(ModelError, match="returned no network"):
        InMemoryModel("net", "net", config).load()


def test_a_network_that_fails_on_its_own_input():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(7, 2))
    with pytest.raises(ModelError, match="fails on a blank image of 8 x 8"):
        describe(InMemoryModel("net", net, {"input_size": (3, 8, 8)}).load())


def test_weights_hash_sees_names_shapes_and_values():
    def net(value=0.0, names=("a", "b")):
        module = torch.nn.Module()
        for name in names:
            module.register_buffer(name, torch.full((2,), value))
        return module

    hashes = {weights_hash(net()), weights_hash(net(1.0)), weights_hash(net(names=("a", "c")))}
    assert len(hashes) == 3
    assert weights_hash(net()) in hashes


# What a network returns ---------------------------------------------------------------------------------------
def test_declared_probabilities_are_softmaxed_once(tiny_models):
    """The logits of the same network without its softmax, up to a constant per image, which a softmax does not see."""
    plain = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:first")).load()
    declared = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:no_logits,output_type=probabilities")).load()
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        difference = plain.module(images) - declared.module(images)
        assert torch.allclose(declared.module(images).exp().sum(1), torch.ones(5), atol=1e-6)
    assert torch.allclose(difference, difference[:, :1].expand(5, 3), atol=1e-5)
    assert describe(declared).output_type == "probabilities"
    undeclared = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:no_logits")).load()
    assert describe(declared).model_id != describe(undeclared).model_id


def test_a_probability_of_zero_stays_finite():
    from qubastore.evaluators.loaders.probabilities import LogProbabilities

    class Certain(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    logits = LogProbabilities(Certain(), "certain")(torch.zeros(1, 3, 4, 4))
    assert torch.isfinite(logits).all()
    assert torch.allclose(torch.softmax(logits, 1), torch.tensor([[1.0, 0.0]]), atol=1e-30)


def test_logits_declared_as_probabilities(tiny_models):
    """A wrong declaration is an error when the model is described, before anything is run."""
    loaded = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:first,output_type=probabilities")).load()
    with pytest.raises(OutputError, match="declared to return probabilities and does not"):
        describe(loaded)


def test_unknown_output_type():
    with pytest.raises(UsageError, match="unknown output_type 'softmax'"):
        ModelSpec.parse("timm:resnet18.a1_in1k,output_type=softmax")


@pytest.mark.parametrize(("text", "resize"), [("224/0.95", 235), ("160/1", 160), ("288/.9", 320)])
def test_pinned_preprocessing(text, resize):
    """floor(224 / 0.95) = 235."""
    size = int(text.partition("/")[0])
    assert Preprocessing.pinned(text, "x") == Preprocessing(crop=(size, size), resize=(resize, resize))


@pytest.mark.parametrize("text", ["224", "0/1", "224/0", "224/1.5", "224/", "big/0.9"])
def test_pinned_preprocessing_that_is_none(text):
    with pytest.raises(UsageError, match="SIZE/CROP"):
        Preprocessing.pinned(text, "x")


# Checkpoints by address ---------------------------------------------------------------------------------------
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
    assert source.revision().endswith(f"net-{digest}.pth")
    first = weights_hash(source.load().module)
    cached.unlink()
    assert weights_hash(source.load().module) == first
    (tmp_path / "hub" / "checkpoints" / f"net-{digest}.pth").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="is not the file that its name says"):
        source.load()


def test_an_address_whose_file_is_another(cached):
    cached.write_bytes(b"another")
    spec = ModelSpec.parse("timm:resnet10t,num_classes=3,checkpoint=https://example.org/net-0123abcd.pth")
    with pytest.raises(ModelError, match="could not be fetched") as error:
        ModelSource.of(spec).load()
    assert "invalid hash" in str(error.value)


def test_an_address_without_a_hash():
    spec = ModelSpec.parse("timm:resnet10t,num_classes=3,checkpoint=https://example.org/net.pth")
    with pytest.raises(ModelError, match="does not end in a hash"):
        ModelSource.of(spec).load()
