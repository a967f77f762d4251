"""Two-tower models as networks: a zero-shot classifier with a head of text vectors, and the image tower alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from qubastore.evaluators.loaders.loaded import Head


def image_width(clip: Any) -> int:
    """The width of the image vectors of a two-tower model."""
    with torch.no_grad():
        size = clip.visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return int(clip.encode_image(torch.zeros(1, 3, height, width)).shape[-1])


class ImageTower(torch.nn.Module):
    """The image encoder of a two-tower model: a backbone without a head.

    Args:
        clip: A model of open_clip, or one with its methods.
        network: The part of it that holds the encoders; None means `clip` itself.
        kept: The parts of the image encoder; all others are removed.
    """

    def __init__(self, clip: Any, network: Any = None, kept: Sequence[str] = ("visual",)) -> None:
        super().__init__()
        network = clip if network is None else network
        # What belongs to the texts must not be part of the identity: scales and projections as well as encoders.
        for name in [*dict(network.named_children()), *network._parameters]:
            if name not in kept:
                delattr(network, name)
        self.clip = clip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) normalised images -> (n, width) image vectors of length 1."""
        vectors: torch.Tensor = self.clip.encode_image(images, normalize=True)
        return vectors


class ZeroShotClassifier(torch.nn.Module):
    """Pixels -> logit_scale * cosine(image, text of the class) + logit_bias.

    The input of the linear layer, the image vector of length 1, is what is kept as features.

    Args:
        clip: A model of open_clip, or one with its methods and `drop_texts`.
        n_classes: Number of classes.
        width: Width of the image vectors.
    """

    def __init__(self, clip: Any, n_classes: int, width: int) -> None:
        super().__init__()
        self.clip = clip
        self.head = torch.nn.Linear(width, n_classes)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def use(self, head: Head) -> None:
        """Set the head, and free the text encoder."""
        weight = torch.from_numpy(head.vectors) * head.logit_scale
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.fill_(head.logit_bias)
        drop = getattr(self.clip, "drop_texts", None)
        if drop is not None:
            drop()
            return
        for name in ("transformer", "text", "token_embedding", "ln_final"):
            if isinstance(getattr(self.clip, name, None), torch.nn.Module):
                delattr(self.clip, name)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) normalised images -> (n, n_classes) logits."""
        logits: torch.Tensor = self.head(self.vectors(images))
        return logits

    def vectors(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) normalised images -> (n, width) image vectors of length 1."""
        vectors: torch.Tensor = self.clip.encode_image(images, normalize=True)
        return vectors
