"""Four small networks for coloured digits, trained differently: an example of a user's own model file.

Each function returns (module, timm data config); the weights come from `prepare.py`.
"""

from pathlib import Path

import timm
import torch
from safetensors.torch import load_file

WEIGHTS = Path(__file__).parent / "weights"
CONFIG = {
    "input_size": (3, 32, 32),
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


def build(name: str) -> torch.nn.Module:
    """The architecture with new random weights."""
    if name == "vit":
        small = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "num_heads": 4, "depth": 4}
        return timm.create_model("vit_tiny_patch16_224", num_classes=10, **small)
    layers: list[torch.nn.Module] = []
    for before, after, stride in ((3, 24, 1), (24, 48, 2), (48, 64, 2), (64, 96, 2)):
        convolution = torch.nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        layers += [convolution, torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(96 * 16, 10))


def _trained(name: str) -> tuple[torch.nn.Module, dict[str, object]]:
    module = build(name)
    module.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    return module.eval(), CONFIG


def plain() -> tuple[torch.nn.Module, dict[str, object]]:
    """A convolutional network of five layers, trained on unaltered digits."""
    return _trained("plain")


def augmented() -> tuple[torch.nn.Module, dict[str, object]]:
    """The same network, trained on digits in any colour, with noise and reduced contrast."""
    return _trained("augmented")


def robust() -> tuple[torch.nn.Module, dict[str, object]]:
    """The same network, trained adversarially (PGD with two steps, eps 8/255)."""
    return _trained("robust")


def vit() -> tuple[torch.nn.Module, dict[str, object]]:
    """A tiny vision transformer with 16 patches, trained on unaltered digits."""
    return _trained("vit")
