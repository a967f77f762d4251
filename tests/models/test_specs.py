"""How a model is named: loader, target, options."""

from __future__ import annotations

import pytest

from qubastore.errors import UsageError
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec


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
        ("timm:", "does not name a model"),
        ("timm:x,colour=red", "unknown option 'colour'"),
        ("timm:x,num_classes=abc", "num_classes is 'abc'"),
        ("torchvision:x/Y,num_classes=0", "num_classes is '0'"),
    ],
)
def test_specs_that_name_no_model(text, message):
    with pytest.raises(UsageError, match=message):
        ModelSpec.parse(text)


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
