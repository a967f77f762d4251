"""Models by name, from Python files and from memory: what loads, what is refused, what tells them apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from qubastore.errors import ModelError, QubastoreError
from qubastore.evaluators.loaders.describe import describe, weights_hash
from qubastore.evaluators.loaders.source import InMemoryModel, ModelSource
from qubastore.models.spec import ModelSpec


def load(text):
    return ModelSource.of(ModelSpec.parse(text)).load()


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
        ("python:nowhere.py", "does not name a factory"),
        ("timm:resnet18,checkpoint=/nowhere.pth", "no checkpoint"),
    ],
)
def test_unknown_names(text, message):
    with pytest.raises(QubastoreError, match=message):
        load(text)


def test_an_unreachable_hub_says_what_to_do(monkeypatch):
    # Its client reads the variable when it is imported; without this it tries again and again for a minute.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="could not be built") as caught:
        load("timm:resnet18.a1_in1k")
    assert "checkpoint=" in str(caught.value)


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
        ("no_network", "did not return a network"),
        ("prepared_without_id", "has no id"),
        ("prepared_as_image", "does not return an image tensor"),
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


class Tempered(torch.nn.Sequential):
    temperature: float


def test_in_memory_models_are_told_apart():
    torch.manual_seed(0)
    linear = torch.nn.Linear(3 * 64, 2)
    net = Tempered(torch.nn.Flatten(), linear)
    config = {"input_size": (3, 8, 8)}
    one = describe(InMemoryModel("net", net, config).load())
    net.temperature = 5.0
    warmer = describe(InMemoryModel("net", net, config).load())
    assert warmer.model_id != one.model_id, "a plain attribute that the forward pass may use"
    assert describe(InMemoryModel("other", net, config).load()).model_id != warmer.model_id
    del net.temperature
    with torch.no_grad():
        linear.bias[0] += 1
    assert describe(InMemoryModel("net", net, config).load()).model_id != one.model_id
    not_a_network: Any = "net"
    with pytest.raises(ModelError, match="did not return a network"):
        InMemoryModel("net", not_a_network, config).load()


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
