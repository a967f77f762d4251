"""Networks that return probabilities, and say so."""

from __future__ import annotations

import pytest
import torch

from qubastore.errors import OutputError
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.spec import ModelSpec


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
    with pytest.raises(OutputError, match="declared to return probabilities, but does not"):
        describe(loaded)
