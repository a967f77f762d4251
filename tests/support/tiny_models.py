"""Small models on 32 x 32 images, three classes: tests copy this file and name its functions. Some are faulty."""

import os
from pathlib import Path

import torch
from torch import nn

HALF = (0.5, 0.5, 0.5)
CONFIG = {"input_size": (3, 32, 32), "crop_pct": 1.0, "interpolation": "bilinear", "mean": HALF, "std": HALF}


class Net(nn.Module):
    def __init__(self, seed, classes=3):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


def first():
    return Net(1), CONFIG


def second():
    # Another normalisation: it shares decoding with `first` all the same.
    return Net(2), {**CONFIG, "mean": (0.4,) * 3}


def four_classes():
    return Net(1, classes=4), CONFIG


def no_logits():
    net = Net(1)
    return nn.Sequential(net, nn.Softmax(dim=1)), CONFIG


class Broken(Net):
    """NaN for bright images, in more than the four that a model is looked at with."""

    def forward(self, x):
        logits = super().forward(x)
        return torch.where(x.mean(dim=(1, 2, 3))[:, None] > -0.9, torch.nan, logits) if len(x) > 4 else logits


def nan_logits():
    return Broken(1), CONFIG


class Sociable(Net):
    """Its outputs depend on the other images of the batch, as rounding does in the last digits of any network."""

    def forward(self, x):
        return super().forward(x) + 1e-4 * x.mean()


def sociable():
    return Sociable(1), CONFIG


class Stepped(Net):
    """Without a gradient."""

    def forward(self, x):
        return super().forward(x.round().detach())


def stepped():
    return Stepped(1), CONFIG


class Hungry(Net):
    """Out of memory for more than five images."""

    def forward(self, x):
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


def hungry():
    return Hungry(1), CONFIG


class Deadly(Net):
    """Kills its process while the file named below is there; removes it first if its name says once."""

    def forward(self, x):
        bomb = Path(__file__).with_name("bomb")
        if len(x) > 4 and bomb.exists():
            if bomb.read_text() == "once":
                bomb.unlink()
            os._exit(1)
        return super().forward(x)


def deadly():
    return Deadly(1), CONFIG


class Poisoned(Net):
    """Kills its process at a white image while the file named below is there."""

    def forward(self, x):
        if (x.flatten(1).amin(1) > 0.99).any() and Path(__file__).with_name("bomb").exists():
            os._exit(1)
        return super().forward(x)


def poisoned():
    return Poisoned(1), CONFIG


def unseeded():
    net = Net(1)
    nn.init.normal_(net.head.weight, generator=torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "big")))
    return net, CONFIG


def prepared():
    from torchvision.transforms.functional import pil_to_tensor

    def prepare(image):
        return pil_to_tensor(image.resize((32, 32))) / 255

    prepare.id = "resize-32"  # type: ignore[attr-defined]
    return Net(1), prepare


def prepared_without_id():
    return Net(1), lambda image: image


def prepared_as_image():
    def prepare(image):
        return image

    prepare.id = "nothing"  # type: ignore[attr-defined]
    return Net(1), prepare


def wrong_mean():
    return Net(1), {**CONFIG, "mean": "grey"}


def wrong_filter():
    return Net(1), {**CONFIG, "interpolation": "sinc"}


def no_tuple():
    return Net(1)


def no_network():
    return "net", CONFIG
