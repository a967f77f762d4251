"""Backbones without a head: what they give is kept as features and probed; answers are refused."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from qubastore.datasets.locating import own_datasets
from qubastore.derived.probes import probe
from qubastore.errors import ModelError, UsageError
from qubastore.evaluators import InMemoryModel, ingest
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.fixed_images import fixed_inputs
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.planning.identify import identify
from qubastore.models.spec import ModelSpec
from qubastore.runs.records import register_model

CONFIG = {"input_size": (3, 16, 16), "crop_pct": 1.0}


def without_head(tmp_path, name):
    """A timm network with random weights, as a checkpoint without a head, and the same network with a head."""
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=10).eval()
    backbone = timm.create_model(name, num_classes=0).eval()
    kept = {key: value for key, value in whole.state_dict().items() if key in backbone.state_dict()}
    backbone.load_state_dict(kept)
    path = tmp_path / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in kept.items()}, path)
    return f"timm:{name},checkpoint={path},num_classes=0", whole


@pytest.mark.parametrize(
    ("name", "width", "pooling"),
    [("resnet10t", 512, "avg"), ("vit_tiny_patch16_224", 192, "token"), ("convnext_atto", 320, "avg")],
)
def test_timms_backbones_give_what_their_head_would_take(tmp_path, name, width, pooling):
    spec, whole = without_head(tmp_path, name)
    loaded = ModelSource.of(ModelSpec.parse(spec)).load()
    inputs = fixed_inputs(loaded.preprocessing)
    with torch.inference_mode():
        expected = whole.forward_head(whole.forward_features(inputs), pre_logits=True)
        torch.testing.assert_close(loaded.module(inputs), expected)
    model = describe(loaded)
    assert (model.num_classes, model.feature_width, model.output_type) == (None, width, "features")
    assert model.architecture["pooling"] == pooling
    assert not model.has_head
    assert model.macs


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 16, 24))

    def forward(self, images):
        return self.body(images)


class Whole(Backbone):
    """The same with a head."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(24, 5)

    def forward(self, images):
        return self.head(self.body(images))


class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 12, 4, 4)

    def forward(self, images):
        return self.body(images).flatten(2).transpose(1, 2)


@pytest.fixture
def task(tmp_path):
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6), ("test", 9)):
        for name, shade in (("ant", 90), ("bee", 150)):
            folder = tmp_path / "task" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.normal(shade, 40, (20, 24, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return own_datasets("task", tmp_path / "task", "splits")


@pytest.mark.usefixtures("ray_session")
def test_features_of_a_backbone_are_those_of_the_network_with_a_head(store, task):
    """The same runs, the same probes; nothing that a head would answer."""
    backbone = InMemoryModel("backbone", Backbone(), CONFIG, "features")
    report = ingest(store, [backbone, InMemoryModel("whole", Whole(), CONFIG)], task)
    assert not report.errors
    assert len(report.completed) == 6
    query = """
        select run.dataset, sample_id, values from features join run_details as run using (run_id)
        where run.model like ? order by all
    """
    one, other = (store.rows(query, [f"%{name}"]) for name in ("backbone", "whole"))
    assert [row[:2] for row in one] == [row[:2] for row in other]
    assert len(one) == 54
    np.testing.assert_array_equal([row[2] for row in one], [row[2] for row in other])
    assert store.rows("select distinct kept from shards") == [(["outputs", "features"],)]
    assert store.rows("select count(prediction), count(label) from outputs") == [(0, 108)]
    assert store.rows("select count(*) from logits") == [(0,)]
    names = [row[0] for row in store.rows("select model from model_names order by model")]
    probes = [probe(store, name, train="task/train", val="task/val", test="task/test") for name in names]
    assert probes[0].test_accuracy == probes[1].test_accuracy
    assert store.rows("select num_classes, feature_width from models order by name") == [(None, 24), (5, 24)]


def test_what_a_head_would_answer_is_refused(store, task, images):
    backbone = InMemoryModel("backbone", Backbone(), CONFIG, "features")
    with pytest.raises(UsageError, match=r"maximises a loss over classes, and .* has no head"):
        ingest(store, [backbone], task, conditions=["fgsm"])
    with pytest.raises(UsageError, match="features to keep and no logits"):
        ingest(store, [backbone], task, keep=["outputs", "logits"])
    with pytest.raises(UsageError, match="features to keep and no logits"):
        ingest(store, [backbone], task, keep=["outputs"])
    assert store.rows("select count(*) from runs") == [(0,)]


def test_a_backbone_gives_one_vector_per_image(tmp_path):
    loaded = InMemoryModel("patches", Patches(), CONFIG, "features").load()
    with pytest.raises(ModelError, match="did not return one vector of features per image"):
        describe(loaded)
    spec, _ = without_head(tmp_path, "resnet10t")
    with pytest.raises(ModelError, match="has no head, so it gives no logits"):
        ModelSource.of(ModelSpec.parse(f"{spec},output_type=logits")).load()


def test_a_python_file_may_hold_a_backbone(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "def backbone():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), {'input_size': (3, 8, 8)}\n"
    )
    as_features, as_logits = (
        describe(ModelSource.of(ModelSpec.parse(f"python:{path}:backbone{option}")).load())
        for option in (",output_type=features", "")
    )
    assert (as_features.num_classes, as_features.feature_width) == (None, 7)
    assert (as_logits.num_classes, as_logits.feature_width) == (7, 192)
    assert as_features.model_id != as_logits.model_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torchvision:alexnet/IMAGENET1K_V1,num_classes=0", "a whole number from 1 up"),
        ("timm:resnet18,num_classes=-1", "a whole number from 0 up; 0 means no head"),
    ],
)
def test_which_loaders_have_networks_without_a_head(text, expected):
    with pytest.raises(UsageError) as raised:
        ModelSpec.parse(text)
    assert raised.value.expected == expected


def test_a_checkpoint_with_a_head_serves_a_backbone(tmp_path):
    """As timm does with its own weights: the tensors of the head are left out."""
    spec, whole = without_head(tmp_path, "resnet10t")
    path = tmp_path / "whole.safetensors"
    save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, path)
    one, other = (
        describe(ModelSource.of(ModelSpec.parse(text)).load())
        for text in (spec, f"timm:resnet10t,checkpoint={path},num_classes=0")
    )
    assert one.model_id == other.model_id


def test_a_network_with_a_head_gives_no_features_by_itself(tmp_path):
    spec, _ = without_head(tmp_path, "resnet10t")
    headed = spec.replace("num_classes=0", "num_classes=10,output_type=features").replace(
        ".safetensors", "-10.safetensors"
    )
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=10)
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "resnet10t-10.safetensors"
    )
    with pytest.raises(ModelError, match="has a head, so it gives no features by itself"):
        ModelSource.of(ModelSpec.parse(headed)).load()


class Shares(Backbone):
    def forward(self, images):
        return super().forward(images).softmax(1)


class Broken(Backbone):
    def forward(self, images):
        features = super().forward(images)
        return torch.where(features > 1e-4, torch.nan, features) if len(images) > 4 else features


@pytest.mark.usefixtures("ray_session")
def test_features_are_checked_as_features(store, task):
    """Features may sum to 1; they must be finite."""
    shares, broken = (InMemoryModel(kind.__name__, kind(), CONFIG, "features") for kind in (Shares, Broken))
    report = ingest(store, [shares, broken], task[:1])
    assert [(model, "features that are not finite" in str(error)) for model, _, error in report.errors] == [
        ("memory:Broken", True)
    ]
    assert store.rows("select count(*) from features") == [(24,)]


def test_what_an_earlier_release_recorded_is_found_out_again(store, tmp_path):
    """A classifier that is a convolution was not found then: its width comes with the next ingest."""
    torch.manual_seed(0)
    network = timm.create_model("dla46_c", num_classes=10)
    path = tmp_path / "dla.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    spec = ModelSpec.parse(f"timm:dla46_c,checkpoint={path},num_classes=10")
    planned, revision = identify(store, spec, log=lambda _: None)
    assert planned.model.feature_width == 256
    assert revision is not None

    earlier = f"2|{revision.partition('|')[2]}"

    def as_before(connection):
        register_model(connection, planned.model, earlier)
        connection.execute("update models set feature_width = null")

    store.write(as_before)
    again, revision = identify(store, spec, log=lambda _: None)
    assert (again.model_id, again.model.feature_width) == (planned.model_id, 256)
    store.write(lambda connection: register_model(connection, again.model, revision))
    assert store.rows("select feature_width from models") == [(256,)]
