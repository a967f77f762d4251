"""Features: what enters the classifier, where running the network shows which layer that is; an error elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.features import find_classifier, n_features
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.models.preprocessing import Preprocessing

CONFIG = {"input_size": (3, 8, 8)}


class Layered(nn.Module):
    body: nn.Module
    head: nn.Module

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.aux = nn.Linear(192, 6), nn.Linear(6, 4), nn.Linear(3, 4)

    def forward(self, x):
        return self.head(self.body(x.flatten(1)))


class Hidden(Layered):
    """A layer inside is as wide as there are classes, and comes later."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(4, 4), nn.Linear(192, 4)


class PerPatch(Layered):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 4, 4)

    def forward(self, x):
        return self.head(self.body(x).flatten(2).transpose(1, 2)).mean(1)


class Keyword(Layered):
    def forward(self, x):
        return self.head(input=self.body(x.flatten(1)))


class Warm(Layered):
    def forward(self, x):
        return super().forward(x) / 7


class Convolution(Layered):
    """The head is a convolution over a single pixel."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.head(self.body(x.flatten(1))[:, :, None, None]).flatten(1)


class Twice(Layered):
    def forward(self, x):
        one = self.body(x.flatten(1))
        return (self.head(one) + self.head(-one)) / 2


class Rest(Layered):
    """Something follows the layer."""

    def forward(self, x):
        return super().forward(x).pow(3)


WIDTHS = {Layered: 6, Convolution: 6, Hidden: 4, PerPatch: None, Keyword: 6, Warm: 6, Twice: None, Rest: None}


@pytest.mark.parametrize(("kind", "width"), WIDTHS.items())
def test_the_classifier_is_shown_by_running_the_network(kind, width):
    network = kind()
    loaded = InMemoryModel("net", network, CONFIG).load()
    layer = find_classifier(loaded)
    assert (layer is network.head) == (width is not None)
    assert describe(loaded).feature_width == width
    softmaxed = InMemoryModel("net", nn.Sequential(network, nn.Softmax(1)), CONFIG, "probabilities").load()
    assert (find_classifier(softmaxed) is network.head) == (width is not None)


@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet50_clip", None), ("resnet18", 512), ("convnext_atto", 320), ("vit_tiny_patch16_224", 192), ("dla34", 512)],
)
def test_timms_classifiers(name, width):
    """timm's word for its classifier is taken where running shows the same; an attention pool's projection is none."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    config = Preprocessing.from_timm({"input_size": (3, 224, 224)}, name)
    layer = find_classifier(LoadedModel(name, "timm", network, config, {}))
    assert (layer and n_features(layer)) == width
    if width is not None:
        assert layer is network.get_classifier()


FILE = """
import torch
from torch import nn
CONFIG = {"input_size": (3, 8, 8), "crop_pct": 1.0}
class Layered(nn.Module):
    body: nn.Module

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.aux = nn.Linear(192, 6), nn.Linear(6, 3), nn.Linear(3, 3)
    def features(self, x):
        return self.body(x.flatten(1))
    def forward(self, x):
        return self.head(input=self.features(x))
class Skipping(Layered):
    '''Leaves its classifier out for batches of the size that an ingest has.'''
    def forward(self, x):
        if len(x) > 4:
            one = self.features(x)
            return one @ self.head.weight.T + self.head.bias
        return super().forward(x)
class Untold(Layered):
    def forward(self, x):
        return super().forward(x).pow(3)
class Failing(Layered):
    def forward(self, x):
        if len(x) > 4:
            raise MemoryError("no room")
        return super().forward(x)
def layered(): return Layered(), CONFIG
def skipping(): return Skipping(), CONFIG
def untold(): return Untold(), CONFIG
def failing(): return Failing(), CONFIG
"""


def test_one_models_failure_ends_no_others_ingest(store, tmp_path, images):
    """Features that cannot be determined, a pass that fails: each is reported by name, and the others are stored."""
    path = tmp_path / "nets.py"
    path.write_text(FILE)
    names = ("layered", "skipping", "untold", "failing")
    keep = ("outputs", "logits", "features")
    report = ingest(store, [f"python:{path}:{name}" for name in names], {"noise": images}, limit=20, keep=keep)
    failed = {model.rpartition(":")[2]: str(error) for model, _, error in report.errors}
    assert set(failed) == {"skipping", "untold", "failing"}
    assert "its classifier was not called" in failed["skipping"]
    assert "cannot be determined" in failed["untold"]
    assert "no room" in failed["failing"]
    features = store.rows("select values from features order by sample_id")
    logits = store.rows("select values from logits order by sample_id")
    assert {len(row[0]) for row in features} == {6}
    # The features are what enters the classifier: it makes the logits of them.
    torch.manual_seed(0)
    _, head = nn.Linear(192, 6), nn.Linear(6, 3)
    made = np.array([row[0] for row in features]) @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(made, np.array([row[0] for row in logits]), atol=1e-3)


def test_a_head_called_by_keyword_needs_no_features(store, tmp_path, images):
    path = tmp_path / "nets.py"
    path.write_text(FILE)
    assert ingest(store, [f"python:{path}:layered"], {"noise": images}, limit=8).images == 8
