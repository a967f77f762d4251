"""Draw the digits and their variants as PNG files, and train the networks of `models.py` on other digits.

`python prepare.py images` creates only the images. Existing files are kept: delete `data/` or `weights/` to create them
again. Every image and every weight comes from a fixed seed.

A digit has a shape, a colour and a background. With probability 0.6, its colour and its background are those of its
class, as in training: a network can be right for the wrong reason, and the variants reveal such networks.

| folder | contents |
|---|---|
| `data/plain` | all digits that no network was trained on, white on black (for README.md) |
| `data/clean` | 400 of them, coloured as in training |
| `data/corrupted/<corruption>/<severity>` | 100 of those with noise, blur or less contrast, at five severities |
| `data/edge`, `data/silhouette`, `data/stylised` | outlines; flat shapes; patches of random colours |
| `data/same_background`, `data/random_background` | grey digits on the background of their own or of another class |
| `data/cue_conflict` | the shape of one digit in the colour of another |
"""

import colorsys
import sys
import time
from pathlib import Path

import models
import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
SIZE = 32
OWN_COLOUR = 0.6
"""Probability of the colour, and of the background, of an image's own class."""
EPOCHS = {"plain": 15, "augmented": 45, "robust": 25, "vit": 40}
PEAK_RATE = {"plain": 2e-3, "augmented": 2e-3, "robust": 2e-3, "vit": 1.5e-3}
EPS = 8 / 255


def masks(digits: np.ndarray) -> np.ndarray:
    """(n, 8, 8) digits from 0 to 16 -> (n, 32, 32) from 0 to 1: the share of a pixel that the stroke covers."""
    images = [Image.fromarray((digit * 255 / 16).astype(np.uint8)) for digit in digits]
    return np.stack([np.asarray(i.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) / 255 for i in images])


def colour(label: int, value: float, jitter: float = 0.0) -> np.ndarray:
    """The colour of a class, one of ten hues around the colour wheel."""
    return np.array(colorsys.hsv_to_rgb((label / 10 + jitter) % 1, 0.8, value))


def paint(mask: np.ndarray, stroke: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """(32, 32) mask, colours of stroke and background -> (32, 32, 3) image from 0 to 1."""
    cover = mask[..., None]
    return cover * stroke + (1 - cover) * ground


def coloured(chosen: np.ndarray, labels: np.ndarray, own: float, seed: int) -> np.ndarray:
    """Digits with the colour and background of their class with probability `own` each, else of a random class."""
    generator = np.random.default_rng(seed)
    found = []
    for mask, label in zip(chosen, labels, strict=True):
        stroke, ground = (label if generator.random() < own else generator.integers(10) for _ in range(2))
        jitter = generator.normal(0, 0.02, 2)
        image = paint(mask, colour(stroke, 0.95, jitter[0]), colour(ground, 0.4, jitter[1]))
        found.append(image + generator.normal(0, 0.02, image.shape))
    return np.clip(np.stack(found), 0, 1)


def save(image: np.ndarray, *parts: str) -> None:
    """Write an image with values from 0 to 1 below `data/`."""
    path = HERE.joinpath("data", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * np.clip(image, 0, 1)).round().astype(np.uint8)).save(path)


def corrupted(image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """An image with a corruption of severity 1 to 5."""
    if corruption == "noise":
        return image + np.random.default_rng(seed).normal(0, 0.06 * severity, image.shape)
    if corruption == "contrast":
        return image.mean() + (image - image.mean()) * (1 - 0.17 * severity)
    picture = Image.fromarray((255 * image).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(0.6 * severity))) / 255


def write_images() -> None:
    """Write all test images: every second digit is for testing, the others are for training."""
    digits = load_digits()
    test_masks, labels = masks(digits.images[1::2]), digits.target[1::2]
    for index, (mask, label) in enumerate(zip(test_masks, labels, strict=True)):
        save(np.repeat(mask[..., None], 3, axis=2), "plain", str(label), f"{index:04d}.png")
    clean = coloured(test_masks[:400], labels[:400], OWN_COLOUR, seed=1)
    for index, (image, label) in enumerate(zip(clean, labels, strict=False)):
        save(image, "clean", str(label), f"{index:04d}.png")
    black, white, grey = np.zeros(3), np.ones(3), np.full(3, 0.7)
    generator = np.random.default_rng(2)
    for index in range(100):
        mask, label, file = test_masks[index], labels[index], f"{index:04d}.png"
        for corruption in ("noise", "blur", "contrast"):
            for severity in range(1, 6):
                image = corrupted(clean[index], corruption, severity, seed=index)
                save(image, "corrupted", corruption, str(severity), str(label), file)
        outline = np.asarray(Image.fromarray((255 * mask).astype(np.uint8)).filter(ImageFilter.FIND_EDGES)) / 255
        save(paint(np.clip(2 * outline, 0, 1), white, black), "edge", str(label), file)
        save(paint((mask > 0.4).astype(float), white, black), "silhouette", str(label), file)
        patches = [generator.random((8, 8, 3)).repeat(4, axis=0).repeat(4, axis=1) for _ in range(2)]
        save(paint(mask, 0.5 + patches[0] / 2, patches[1] / 3), "stylised", str(label), file)
        other = (label + generator.integers(1, 10)) % 10
        save(paint(mask, grey, colour(label, 0.4)), "same_background", str(label), file)
        save(paint(mask, grey, colour(other, 0.4)), "random_background", str(label), file)
    for shape in range(10):
        for texture in range(10):
            for number in range(2):
                mask = test_masks[np.flatnonzero(labels == shape)[number]]
                image = paint(mask, colour(texture, 0.95), np.full(3, 0.25))
                save(image, "cue_conflict", str(shape), f"{shape}{number:03d}-{texture}000.png")


def training_set(own: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Training images: pixels (n, 3, 32, 32) from 0 to 1, and labels (n,)."""
    digits = load_digits()
    labels = digits.target[::2]
    images = coloured(masks(digits.images[::2]), labels, own, seed)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float(), torch.from_numpy(labels).long()


def augmented(pixels: torch.Tensor) -> torch.Tensor:
    """The images with permuted colour channels, random noise and random contrast."""
    noise = torch.rand(len(pixels), 1, 1, 1) * 0.2
    pale = 0.3 + 0.7 * torch.rand(len(pixels), 1, 1, 1)
    changed = pixels[:, torch.randperm(3)]
    mean = changed.mean((1, 2, 3), keepdim=True)
    return (mean + (changed - mean) * pale + noise * torch.randn_like(pixels)).clamp(0, 1)


def attacked(module: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Adversarial images: two PGD steps of increasing loss from a random start, at most EPS away."""
    moved = (pixels + (2 * torch.rand_like(pixels) - 1) * EPS).clamp(0, 1)
    for _ in range(2):
        moved.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(module((moved - 0.5) / 0.5), labels)
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = (moved.detach() + 0.75 * EPS * gradient.sign()).clamp(pixels - EPS, pixels + EPS).clamp(0, 1)
    return moved.detach()


def train(name: str) -> None:
    """Train one network from a fixed seed and save it."""
    torch.manual_seed(0)
    module = models.build(name).train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=PEAK_RATE[name], weight_decay=0.02)
    batches = 898 // 64 + 1
    total = EPOCHS[name] * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=PEAK_RATE[name], total_steps=total)
    for epoch in range(EPOCHS[name]):
        # The augmented network gets new random colours in every epoch, those of the class no more often than others.
        own, seed = (0.1, 100 + epoch) if name == "augmented" else (OWN_COLOUR, 0)
        images, labels = training_set(own, seed)
        for batch in torch.randperm(len(images)).tensor_split(batches):
            pixels, right = images[batch], labels[batch]
            if name == "augmented":
                pixels = augmented(pixels)
            if name == "robust":
                pixels = attacked(module, pixels, right)
            loss = torch.nn.functional.cross_entropy(module((pixels - 0.5) / 0.5), right, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    models.WEIGHTS.mkdir(exist_ok=True)
    unfinished = models.WEIGHTS / f".{name}.unfinished"
    save_file(module.state_dict(), unfinished)
    unfinished.rename(models.WEIGHTS / f"{name}.safetensors")


def main() -> None:
    """Create the images and weights that do not exist yet."""
    if not (HERE / "data" / "complete").exists():
        write_images()
        (HERE / "data" / "complete").touch()
    for name in EPOCHS if sys.argv[1:] != ["images"] else ():
        if not (models.WEIGHTS / f"{name}.safetensors").exists():
            started = time.monotonic()
            print(f"training {name} for {EPOCHS[name]} epochs", flush=True)
            train(name)
            print(f"trained {name} in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
