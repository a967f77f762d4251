"""MACs against what torchvision publishes for its own networks; activations by hand."""

from __future__ import annotations

import pytest
import torch

from qubastore.evaluators.loaders.cost import forward_cost


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16", "swin_t"])
def test_macs_are_torchvisions(name):
    from torchvision.models import get_model, get_model_weights

    weights = get_model_weights(name).DEFAULT
    size = weights.transforms().crop_size[0]
    _, macs, _ = forward_cost(get_model(name).eval(), torch.zeros(1, 3, size, size))
    assert macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=5e-4)


def test_hand_worked():
    """Convolution: 8 outputs x 4 x 4 places x 3 inputs x 3 x 3; linear: 128 x 10; batch norm and ReLU do not count."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 10),
    ).eval()
    _, macs, activations = forward_cost(net, torch.zeros(1, 3, 4, 4))
    assert macs == 8 * 16 * 27 + 1280
    assert activations == 8 * 16 + 10


def test_attention_is_counted():
    """Query times key and weights times value: 2 heads x 5 x 5 x 4, twice; they put out 2 x 5 x 5 and 2 x 5 x 4."""

    class Attention(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.scaled_dot_product_attention(x, x, x).flatten(1)

    _, macs, activations = forward_cost(Attention(), torch.zeros(1, 2, 5, 4))
    assert macs == 2 * (2 * 5 * 5 * 4)
    assert activations == 2 * 5 * 5 + 2 * 5 * 4
