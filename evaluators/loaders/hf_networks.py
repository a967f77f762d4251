"""The networks of transformers as plain networks: images in, one tensor out."""

from __future__ import annotations

from typing import Any

import torch

from qubastore.errors import ModelError


class Classifier(torch.nn.Module):
    """An image classifier of transformers.

    Args:
        network: A network with an image classification head.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) normalised images -> (n, n_classes) logits."""
        logits: torch.Tensor = self.network(pixel_values=images).logits
        return logits


class Tower(torch.nn.Module):
    """A vision tower of transformers without a head.

    Args:
        network: The tower.
        pooling: One of `qubastore.models.spec.POOLINGS`; None means what the network has: its pooler, else its class
            token, else the mean over the positions of its last map.
        where: Prefix of error messages.

    Attributes:
        pooling: How it pools; set after the first pass if it was None.
    """

    def __init__(self, network: torch.nn.Module, pooling: str | None, where: str) -> None:
        super().__init__()
        self.network, self.pooling, self._where = network, pooling, where

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) normalised images -> (n, width) features."""
        output = self.network(pixel_values=images)
        pooled = getattr(output, "pooler_output", None)
        states: torch.Tensor = output.last_hidden_state
        n_first = self._n_first(images, states.shape[1]) if states.ndim == 3 else 0
        if self.pooling is None:
            self.pooling = "pooler" if pooled is not None else "cls" if n_first else "mean"
        if self.pooling == "pooler":
            if pooled is None:
                raise self._refused("the network has no pooler")
            vectors: torch.Tensor = pooled.flatten(1)
            return vectors
        if states.ndim == 4:
            if self.pooling != "mean":
                raise self._refused("the network gives a map of features, without a class token")
            return states.mean(dim=(2, 3))
        if n_first > 2 + int(getattr(self._config, "num_register_tokens", 0) or 0):
            total = states.shape[1]
            raise self._refused(f"{n_first} of its {total} tokens are no patches, and where they stand is not known")
        if "cls" in self.pooling and n_first < 1:
            raise self._refused("the network has no class token")
        parts = {"cls": states[:, 0], "mean": states[:, n_first:].mean(dim=1)}
        return torch.cat([parts[name] for name in self.pooling.split("+")], dim=1)

    def _n_first(self, images: torch.Tensor, n_tokens: int) -> int:
        """The number of tokens before those of the patches: the class token, registers."""
        size = getattr(self._config, "patch_size", None)
        if not isinstance(size, (int, tuple, list)):
            # No token stands for a patch of a known size: all are positions of a map.
            return 0
        height, width = (size, size) if isinstance(size, int) else size
        n_patches = (images.shape[2] // int(height)) * (images.shape[3] // int(width))
        # Swin merges patches from stage to stage, so fewer tokens than patches are left, and none is a class token.
        return max(n_tokens - n_patches, 0)

    @property
    def _config(self) -> Any:
        return self.network.config

    def _refused(self, reason: str) -> ModelError:
        return ModelError(
            f"{self._where}: pooling={self.pooling}: {reason}", hint="another pooling, or leave it out for its own"
        )


class TwoTowers(torch.nn.Module):
    """A dual encoder of transformers (CLIP, SigLIP), with the methods that open_clip's models have.

    Args:
        network: A `CLIPModel` or `SiglipModel`.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @property
    def logit_scale(self) -> torch.Tensor:
        """The logarithm of the factor of a cosine."""
        scale: torch.Tensor = self.network.logit_scale
        return scale

    @property
    def logit_bias(self) -> torch.Tensor | None:
        """What is added to every logit; None for CLIP."""
        return getattr(self.network, "logit_bias", None)

    def encode_image(self, images: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """(n, 3, height, width) normalised images -> (n, width) image vectors."""
        return _vectors(self.network.get_image_features(pixel_values=images), normalize)

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """(n, length) int64 tokens -> (n, width) text vectors."""
        return _vectors(self.network.get_text_features(input_ids=tokens), normalize)

    def drop_texts(self) -> None:
        """Free the text encoder."""
        for name in ("text_model", "text_projection"):
            if isinstance(getattr(self.network, name, None), torch.nn.Module):
                delattr(self.network, name)


def _vectors(output: Any, normalize: bool) -> torch.Tensor:
    # Since transformers 5 the vectors are one of several outputs.
    vectors: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return torch.nn.functional.normalize(vectors, dim=-1) if normalize else vectors
