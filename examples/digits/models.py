"""Four small networks for handwritten digits: what a user's own model file looks like.

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
ARCHITECTURES = {
    "resnet": ("resnet10t", {}),
    "mobilenet": ("mobilenetv3_small_100", {}),
    "convnext": ("convnext_atto", {}),
    "vit": ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 128, "num_heads": 4, "depth": 4}),
}


def build(name: str) -> torch.nn.Module:
    """The architecture with fresh weights."""
    architecture, options = ARCHITECTURES[name]
    return timm.create_model(architecture, num_classes=10, **options)


def _trained(name: str) -> tuple[torch.nn.Module, dict[str, object]]:
    module = build(name)
    module.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    return module.eval(), CONFIG


def resnet() -> tuple[torch.nn.Module, dict[str, object]]:
    """A ResNet of ten layers."""
    return _trained("resnet")


def mobilenet() -> tuple[torch.nn.Module, dict[str, object]]:
    """MobileNetV3, small."""
    return _trained("mobilenet")


def convnext() -> tuple[torch.nn.Module, dict[str, object]]:
    """The smallest ConvNeXt."""
    return _trained("convnext")


def vit() -> tuple[torch.nn.Module, dict[str, object]]:
    """A tiny vision transformer: 16 patches of 8 x 8 pixels."""
    return _trained("vit")
