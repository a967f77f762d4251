"""Write the digits as class folders of PNG files, and train the networks of `models.py` on half of them.

`python prepare.py images` stops after the images. What is there already is left alone: delete `data/` or `weights/` to
make it anew.
"""

import sys
import time
from pathlib import Path

import models
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
EPOCHS = {"resnet": 5, "mobilenet": 12, "convnext": 10, "vit": 40}
PEAK_RATE = {"resnet": 2e-3, "mobilenet": 3e-3, "convnext": 2e-3, "vit": 1.5e-3}


def write_images() -> None:
    """Every second digit goes to data/test, the others to data/train, each 32 x 32 pixels."""
    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = HERE / "data" / ("test" if index % 2 else "train") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = Image.fromarray((image * 255 / 16).astype(np.uint8))
        pixels.resize((32, 32), Image.Resampling.BILINEAR).save(folder / f"{index:04d}.png")


def training_set() -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised images (n, 3, 32, 32) and labels (n,)."""
    files = sorted((HERE / "data" / "train").glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (pixels - 0.5) / 0.5, torch.tensor([int(file.parent.name) for file in files])


def train(name: str, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Train one network from a fixed seed and save it."""
    torch.manual_seed(0)
    module = models.build(name).train()
    steps = EPOCHS[name] * (len(images) // 64)
    optimiser = torch.optim.AdamW(module.parameters(), lr=PEAK_RATE[name], weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=PEAK_RATE[name], total_steps=steps)
    for _ in range(EPOCHS[name]):
        order = torch.randperm(len(images))
        for batch in order[: len(order) // 64 * 64].split(64):
            loss = torch.nn.functional.cross_entropy(module(images[batch]), labels[batch], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    models.WEIGHTS.mkdir(exist_ok=True)
    unfinished = models.WEIGHTS / f".{name}.unfinished"
    save_file(module.state_dict(), unfinished)
    unfinished.rename(models.WEIGHTS / f"{name}.safetensors")


def main() -> None:
    """Make what is missing."""
    if not (HERE / "data" / "test" / "9").exists():
        write_images()
    for name in EPOCHS if sys.argv[1:] != ["images"] else ():
        if not (models.WEIGHTS / f"{name}.safetensors").exists():
            started = time.monotonic()
            print(f"training {name} for {EPOCHS[name]} epochs", flush=True)
            train(name, *training_set())
            print(f"trained {name} in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
