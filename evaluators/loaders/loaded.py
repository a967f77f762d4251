"""Loaded models, as loaders return them, and checks of their parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qubastore.errors import ModelError, check_name
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import FEATURES, OUTPUT_TYPES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Head:
    """The head of a zero-shot model.

    Attributes:
        vectors: (n_classes, width) float32, rows of length 1.
        logit_scale: A logit is logit_scale * cosine + logit_bias.
        logit_bias: 0 except for SigLIP.
        class_names: The name of each class.
        templates: The prompts, each with `{}` for the class name.
    """

    vectors: NDArray[np.float32]
    logit_scale: float
    logit_bias: float
    class_names: tuple[str, ...]
    templates: tuple[str, ...]


class ZeroShotTexts(Protocol):
    """The text side of a zero-shot model, which computes its head and sets it."""

    def encode(self) -> Head:
        """Encode every prompt of every class, on the model's device."""

    def use(self, head: Head) -> None:
        """Set the head of the model, and free the text encoder."""

    def fixed_vectors(self, classifier: torch.nn.Module) -> torch.Tensor:
        """The vectors of fixed texts, (n, width), from `classifier` or a copy: part of the model's fingerprint."""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model, as a loader returns it.

    Attributes:
        name: `loader:name`, as shown and stored.
        loader: Name of the loader.
        module: The network, in eval mode, on the CPU.
        preprocessing: How an image becomes its input; a callable takes a PIL image and has an attribute `id`.
        architecture: What, besides the weights, determines the function; JSON-representable.
        output_type: What the user's network returns; the module here returns logits (`LogProbabilities`), or the
            features of a backbone without a head.
        parameters: Number of parameters, if not every parameter of the module counts.
        texts: For a zero-shot model, its text side; the module's head is empty until it is set.
        notes: Notes for the user on how it was loaded.
        taken: `raw` or `ema`, for a checkpoint that has both.
    """

    name: str
    loader: str
    module: torch.nn.Module
    preprocessing: Preprocessing | Callable[[Any], torch.Tensor]
    architecture: Any
    output_type: str = "logits"
    parameters: int | None = None
    texts: ZeroShotTexts | None = None
    notes: tuple[str, ...] = ()
    taken: str | None = None


@dataclass(frozen=True)
class SourceFile:
    """A file that defines a model (source code, prompts), which is sent to other nodes by value."""

    path: str
    text: str


_WITH_HEADS = ("timm", "torchvision")
"""Loaders that know whether a network has a head."""


def declared(loaded: LoadedModel, output_type: str) -> LoadedModel:
    """The model with a module that returns logits, whatever its network returns; or features, if that is declared.

    Raises:
        UsageError: for an unknown output type.
        ModelError: for a backbone without a head that is declared to have one.
    """
    check_name("output_type", output_type, OUTPUT_TYPES)
    if FEATURES in (output_type, loaded.output_type):
        if output_type != FEATURES:
            raise ModelError(
                f"{loaded.name} has no head, so it gives no {output_type}",
                expected=f"output_type={FEATURES}, or none",
            )
        if loaded.output_type != FEATURES and loaded.loader in _WITH_HEADS:
            raise ModelError(
                f"{loaded.name} has a head, so it gives no features by itself",
                expected="a network without a head; or no output_type: --keep outputs,features keeps what enters it",
                hint=",num_classes=0 instead, for a timm model without its head" if loaded.loader == "timm" else None,
            )
        return replace(loaded, output_type=FEATURES)
    if output_type == "logits":
        return loaded
    from qubastore.evaluators.loaders.probabilities import LogProbabilities

    wrapped = LogProbabilities(loaded.module, loaded.name).eval()
    return replace(loaded, module=wrapped, output_type=output_type)


def read_preprocessing(preprocessing: Any, where: str) -> Preprocessing | Callable[[Any], torch.Tensor]:
    """The preprocessing from a timm data config as `Preprocessing`, or a callable with an id unchanged.

    Raises:
        ModelError: for anything else.
    """
    if isinstance(preprocessing, Mapping):
        return Preprocessing.from_timm(preprocessing, where)
    if not callable(preprocessing):
        raise ModelError(
            f"{where}: the preprocessing is neither a dict nor callable",
            expected="a timm data config, or a function from a PIL image to a tensor",
            found=type(preprocessing).__name__,
        )
    if not isinstance(getattr(preprocessing, "id", None), str):
        raise ModelError(
            f"{where}: the preprocessing function has no id",
            expected="an attribute `id` that changes whenever the function does: code has no hash that can be trusted",
            hint='preprocess.id = "my-crop-v1"',
        )
    chosen: Callable[[Any], torch.Tensor] = preprocessing
    return chosen


def check_module(module: Any, where: str) -> None:
    """Refuse an object that is not a network.

    Raises:
        ModelError: naming its type.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{where} did not return a network", expected="a torch.nn.Module", found=f"a {type(module).__name__}"
        )


def plain_attributes(module: torch.nn.Module) -> dict[str, dict[str, Any]]:
    """Numbers, strings and flags of the submodules of a module: temperatures and the like, which are not tensors."""
    found = {}
    for name, part in module.named_modules():
        values = {
            key: repr(value)
            for key, value in vars(part).items()
            if isinstance(value, (bool, int, float, str, tuple)) and not key.startswith("_") and key != "training"
        }
        if values:
            found[name] = values
    return found
