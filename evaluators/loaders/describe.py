"""Describe a loaded model: the row that identifies it in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qubastore.errors import ModelError, QubastoreError, in_one_line
from qubastore.evaluators.loaders.cost import forward_cost
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.models.model import Model
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import FEATURES

if TYPE_CHECKING:
    import torch


def weights_hash(module: torch.nn.Module) -> str:
    """The hash of the state dict: name, dtype, shape and bytes of every tensor."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()[:32]


def n_parameters(module: torch.nn.Module) -> int:
    """The number of parameters of a network, without heads that are used only in training.

    Those are the auxiliary classifiers of GoogLeNet and Inception, as torchvision and timm build them.
    """
    heads = [part for part in module.modules() if type(part).__name__ == "InceptionAux"]
    left_out = {id(parameter) for head in heads for parameter in head.parameters()}
    return sum(parameter.numel() for parameter in module.parameters() if id(parameter) not in left_out)


def _prepared_blank(prepare: Callable[[Any], Any], where: str) -> torch.Tensor:
    """A blank image, preprocessed by a function, as a batch of one.

    Raises:
        ModelError: if the function fails, or does not return a (3, height, width) tensor.
    """
    import torch
    from PIL import Image

    try:
        prepared = prepare(Image.new("RGB", (256, 256)))
    except Exception as error:
        raise ModelError(
            f"{where}: the preprocessing function fails on a blank image", found=f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(prepared, torch.Tensor) or prepared.ndim != 3:
        found = (
            f"shape {tuple(prepared.shape)}" if isinstance(prepared, torch.Tensor) else f"a {type(prepared).__name__}"
        )
        raise ModelError(
            f"{where}: the preprocessing function does not return an image tensor",
            expected="(3, height, width)",
            found=found,
        )
    return prepared[None]


def describe(loaded: LoadedModel, *, thorough: bool = True) -> Model:
    """The row of a loaded model, with the fingerprint of its function, from a blank image and four fixed images.

    Args:
        loaded: The model, on the CPU.
        thorough: Whether to also count its MACs and activations, find the layer whose input is its features, and check
            that its outputs are repeatable: needed once, for a model that is new to the store.

    Raises:
        ModelError: if the network fails on its own input size, does not return a (1, n_classes) tensor, or gives
            different outputs for the same image.
    """
    import torch

    from qubastore.evaluators.loaders.features import find_classifier, n_features
    from qubastore.evaluators.loaders.fixed_images import check_repeatable, fingerprint

    prepare = loaded.preprocessing
    if isinstance(prepare, Preprocessing):
        size, described = prepare.crop, prepare.describe()
        blank = torch.zeros(1, 3, *size)
    else:
        blank = _prepared_blank(prepare, loaded.name)
        size, described = (blank.shape[-2], blank.shape[-1]), {"kind": "callable", "id": prepare.id}  # type: ignore[attr-defined]
    try:
        macs = activations = None
        if thorough:
            logits, macs, activations = forward_cost(loaded.module, blank)
        else:
            with torch.inference_mode():
                logits = loaded.module(blank)
    except QubastoreError:
        raise
    except Exception as error:
        raise ModelError(
            f"{loaded.name} fails on a blank image of {size[0]} x {size[1]} pixels",
            found=in_one_line(error),
            hint="check the input_size of its preprocessing",
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
        if loaded.output_type == FEATURES:
            raise ModelError(
                f"{loaded.name} did not return one vector of features per image",
                expected="(batch, width): pool patches or pixels in the network",
                found=found,
            )
        raise ModelError(f"{loaded.name} did not return a matrix of logits", expected="(batch, n_classes)", found=found)
    width = int(logits.shape[1])
    feature_width, num_classes = (width, None) if loaded.output_type == FEATURES else (None, width)
    if thorough:
        check_repeatable(loaded)
        if num_classes is not None and (head := find_classifier(loaded)) is not None:
            feature_width = n_features(head)
    return Model(
        name=loaded.name,
        loader=loaded.loader,
        architecture=loaded.architecture,
        weights_hash=weights_hash(loaded.module),
        preprocessing=described,
        input_size=(int(size[0]), int(size[1])),
        num_classes=num_classes,
        parameters=loaded.parameters or n_parameters(loaded.module),
        feature_width=feature_width,
        output_type=loaded.output_type,
        # What a runtime of its own computes is not seen.
        macs=macs or None,
        activations=activations or None,
        fingerprint=fingerprint(loaded),
    )
