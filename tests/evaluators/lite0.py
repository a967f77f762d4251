"""EfficientNet-Lite0 on whole images, in plain PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.spec import ModelSpec
from tests.conftest import shared


def lite0() -> str:
    return f"python:{shared('models', 'efficientnet_lite.py')}:lite0"


def whole_images(files: list[Path], size: int = 224) -> torch.Tensor:
    """Whole images as lite0 takes them: bicubic to its input size, mean and std 0.5."""
    images = [Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BICUBIC) for file in files]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2))
    return (pixels.float() / 255 - 0.5) / 0.5


def predicted(files: list[Path]) -> np.ndarray:
    network = ModelSource.of(ModelSpec.parse(lite0())).load().module
    with torch.inference_mode():
        parts = [network(whole_images(files[i : i + 32])).softmax(1) for i in range(0, len(files), 32)]
    return torch.cat(parts).numpy()
