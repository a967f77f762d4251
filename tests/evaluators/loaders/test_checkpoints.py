"""Training checkpoints: which weights are used, which prefixes are stripped, what the error for a mismatch says."""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle

import numpy as np
import pytest
import torch

from qubastore.errors import ModelError, UsageError
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.loaders.state_dicts import load_weights, read_weights
from qubastore.models.spec import ModelSpec


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )


RAW = {name: tensor.clone() for name, tensor in network().state_dict().items()}


EMA = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in RAW.items()}


def load(tmp_path, content, weights=None, name="w.pth"):
    """What a network holds after a checkpoint was loaded, and what was taken."""
    path = tmp_path / name
    torch.save(content, path)
    found = read_weights(path, "net", weights)
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    load_weights(net, found, str(path), "net")
    return net.state_dict(), found


def same(state, expected):
    return all(torch.equal(state[name], expected[name]) for name in expected if "num_batches" not in name)


@pytest.mark.parametrize(
    ("raw", "ema"),
    [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("model_state_dict", "ema_state_dict"),
        ("model", "ema"),
    ],
)
def test_of_raw_and_ema_weights_the_average_is_taken(tmp_path, raw, ema):
    both = {"epoch": 3, raw: RAW, ema: EMA, "optimizer": {"state": {}}}
    state, found = load(tmp_path, both)
    assert same(state, EMA)
    assert (found.taken, found.entry) == ("ema", ema)
    state, found = load(tmp_path, both, "raw")
    assert same(state, RAW)
    assert (found.taken, found.entry) == ("raw", raw)


@pytest.mark.parametrize(
    "content", [RAW, {"state_dict": RAW}, {"model": {"state_dict": RAW}}, {"mine": RAW, "epoch": 1}]
)
def test_where_there_is_nothing_to_choose_nothing_is_said(tmp_path, content):
    state, found = load(tmp_path, content)
    assert same(state, RAW)
    assert found.taken is None
    with pytest.raises(ModelError, match=r"weights"):
        load(tmp_path, content, "ema")


def test_an_average_alone_is_taken(tmp_path):
    state, found = load(tmp_path, {"epoch": 3, "model_ema": EMA})
    assert same(state, EMA)
    assert (found.taken, found.entry) == (None, "model_ema")


def prefixed(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in RAW.items()}


@pytest.mark.parametrize(
    "content",
    [
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        prefixed("model."),
        prefixed("backbone.net."),
        {"state_dict": prefixed("model.")},
        {"n_averaged": torch.tensor(3), **prefixed("module.")},
        # A part of the network was compiled, or is checkpointed.
        {name.replace("0.", "0._orig_mod."): tensor for name, tensor in RAW.items()},
        {name.replace("3.", "3._checkpoint_wrapped_module."): tensor for name, tensor in RAW.items()},
        # Counters that evaluation does not need, missing and to spare.
        {name: tensor for name, tensor in RAW.items() if "num_batches_tracked" not in name},
        {**RAW, "0.total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)},
    ],
)
def test_wrappers_and_counters(tmp_path, content):
    assert same(load(tmp_path, content)[0], RAW)


def test_harmless_objects_beside_the_weights(tmp_path):
    content = {
        "state_dict": RAW,
        "args": argparse.Namespace(model="net", lr=0.1),
        "best": np.float64(0.5),
        "history": np.arange(3),
        "path": pathlib.PurePosixPath("out"),
        "counts": collections.OrderedDict(a=[1]),
    }
    assert same(load(tmp_path, content)[0], RAW)


class Custom:
    pass


def test_what_would_have_to_be_unpickled_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"an object of \S*test_checkpoints\.Custom"):
        load(tmp_path, {"state_dict": RAW, "config": Custom()})
    torch.save(network(), tmp_path / "whole.pth")
    with pytest.raises(ModelError, match="which would have to be unpickled") as caught:
        read_weights(tmp_path / "whole.pth", "net")
    assert "loaded by the code that created it" in str(caught.value)
    (tmp_path / "exec.pth").write_bytes(pickle.dumps({"weight": print}))
    with pytest.raises(ModelError, match="cannot be read as tensors"):
        read_weights(tmp_path / "exec.pth", "net")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        # The classifier alone has another size.
        ({**RAW, "3.weight": torch.zeros(7, 4), "3.bias": torch.zeros(7)}, "num_classes=7"),
        ({**RAW, "0.weight": torch.zeros(4, 1, 3, 3)}, "the architecture that it was trained with: the names"),
        ({name: tensor for name, tensor in RAW.items() if not name.startswith("3.")}, "without a classifier"),
        ({f"layer.{name}x": tensor for name, tensor in RAW.items()}, "no tensor name matches this one"),
        ({"teacher": {"a": torch.zeros(1)}, "student": {"a": torch.zeros(1)}}, "torch.save"),
    ],
)
def test_hints_lead_to_the_cause(tmp_path, content, hint):
    with pytest.raises(ModelError) as caught:
        load(tmp_path, content)
    assert hint in (caught.value.hint or ""), str(caught.value)


def test_timms_own_checkpoint_saver(tmp_path):
    """What timm's train.py writes: argparse.Namespace, raw and EMA weights, an optimiser; the average is taken."""
    import timm
    from timm.utils import CheckpointSaver, ModelEmaV3

    torch.manual_seed(0)
    net = timm.create_model("resnet10t", num_classes=4)
    average = ModelEmaV3(net)
    with torch.no_grad():
        average.module.fc.bias += 1
    CheckpointSaver(
        net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        args=argparse.Namespace(model="resnet10t"),
        model_ema=average,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    ).save_checkpoint(0, metric=1.0)
    spec = f"timm:resnet10t,num_classes=4,checkpoint={tmp_path}/last.pth.tar"
    for more, bias in (("", average.module.fc.bias), (",weights=raw", net.fc.bias)):
        source = ModelSource.of(ModelSpec.parse(spec + more))
        loaded = source.load()
        assert torch.equal(loaded.module.get_parameter("fc.bias"), bias)
        assert "has raw weights and EMA weights" in loaded.notes[0]
    revisions = {
        ModelSource.of(ModelSpec.parse(spec + more)).revision() for more in ("", ",weights=raw", ",weights=ema")
    }
    assert len(revisions) == 3


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(UsageError, match="unknown weights 'best'"):
        ModelSpec.parse("timm:resnet10t,checkpoint=x.pth,weights=best")
    with pytest.raises(UsageError, match="weights is only for a checkpoint"):
        ModelSpec.parse("timm:resnet18.a1_in1k,weights=ema")
    with pytest.raises(UsageError, match="checkpoint is only for timm"):
        ModelSpec.parse("python:nets.py:net,checkpoint=x.pth")
