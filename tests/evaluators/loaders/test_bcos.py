"""`bcos:`: networks of the package bcos give what its own pipeline gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pretrained = pytest.importorskip("bcos.models.pretrained")

from qubastore.errors import ModelError  # noqa: E402
from qubastore.evaluators.loaders.describe import describe  # noqa: E402
from qubastore.evaluators.loaders.source import ModelSource  # noqa: E402
from qubastore.evaluators.pixels.pillow import prepare  # noqa: E402
from qubastore.models.preprocessing import Preprocessing  # noqa: E402
from qubastore.models.spec import ModelSpec  # noqa: E402
from qubastore.models.zoo import read_zoo  # noqa: E402


@pytest.mark.parametrize("name", ["resnet18", "simple_vit_ti_patch16_224", "standard_simple_vit_ti_patch16_224"])
def test_they_see_what_the_package_shows_them(tmp_path, name):
    """Random weights; the package's own transform, with its six channels, on images of several sizes."""
    torch.manual_seed(0)
    network = getattr(pretrained, name)(pretrained=False).eval()
    path = tmp_path / "net.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    loaded = ModelSource.of(ModelSpec.parse(f"bcos:{name},checkpoint={path}")).load()
    assert isinstance(loaded.preprocessing, Preprocessing)
    generator = np.random.default_rng(0)
    sizes = ((300, 400), (431, 277), (256, 256))
    images = [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    with torch.inference_mode():
        expected = network(torch.stack([network.transform(image) for image in images]))
        pixels = torch.stack([torch.from_numpy(np.array(prepare(image, loaded.preprocessing))) for image in images])
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (loaded.preprocessing.mean, loaded.preprocessing.std))
        found = loaded.module((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if name == "resnet18":
        model = describe(loaded)
        assert (model.num_classes, model.input_size) == (1000, (224, 224))
        assert loaded.preprocessing.std == (1.0, 1.0, 1.0)


def test_those_of_the_zoo_are_in_the_package():
    named = [entry.spec.removeprefix("bcos:") for entry in read_zoo() if entry.spec.startswith("bcos:")]
    assert len(named) == 12
    assert {*named} <= {*pretrained.list_available()}


def test_a_network_that_it_does_not_have():
    with pytest.raises(ModelError, match="did you mean resnet18"):
        ModelSource.of(ModelSpec.parse("bcos:resnet81")).load()
