"""A model as its loader gives it, and checks of what a loader got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qubastore.errors import ModelError, check_name
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import OUTPUT_TYPES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Head:
    """The head of a zero-shot model.

    Attributes:
        vectors: (n_classes, width) float32, rows of length 1.
        logit_scale: A logit is logit_scale * cosine + logit_bias.
        logit_bias: 0 but for SigLIP.
        class_names: By class.
        templates: The prompts, each with `{}` for the class name.
    """

    vectors: NDArray[np.float32]
    logit_scale: float
    logit_bias: float
    class_names: tuple[str, ...]
    templates: tuple[str, ...]


class ZeroShotTexts(Protocol):
    """What makes the head of a zero-shot model, and puts it in its place."""

    def encode(self) -> Head:
        """Encode every prompt of every class, on the device that the model is on."""

    def use(self, head: Head) -> None:
        """Make the model answer with this head; the text side is let go."""

    def fixed_vectors(self, classifier: torch.nn.Module) -> torch.Tensor:
        """Vectors of fixed texts, (n, width), by `classifier` or a copy of it: part of the model's fingerprint."""


@dataclass(frozen=True)
class LoadedModel:
    """What a loader returns.

    Attributes:
        name: `loader:name`, as shown and stored.
        loader: The loader.
        module: The network, in eval mode, on the CPU.
        preprocessing: How an image becomes its input; a callable takes a PIL image and carries an `id`.
        architecture: What, besides the weights, decides the function: JSON-representable.
        output_type: What the user's network returns; the module here always returns logits (`LogProbabilities`).
        parameters: Number of parameters, where not every parameter of the module counts.
        texts: For a zero-shot model, what makes its head; the module's head is empty until it is set.
        notes: What its user should know of how it was loaded.
        taken: `raw` or `ema`, of a checkpoint that holds both.
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
    """A file that makes a model what it is (source, prompts), which travels to other nodes by value."""

    path: str
    text: str


def declared(loaded: LoadedModel, output_type: str) -> LoadedModel:
    """A model whose module returns logits, whatever the network returns.

    Raises:
        UsageError: on an unknown output type.
    """
    if check_name("output_type", output_type, OUTPUT_TYPES) == "logits":
        return loaded
    from qubastore.evaluators.loaders.probabilities import LogProbabilities

    wrapped = LogProbabilities(loaded.module, loaded.name).eval()
    return replace(loaded, module=wrapped, output_type=output_type)


def read_preprocessing(preprocessing: Any, where: str) -> Preprocessing | Callable[[Any], torch.Tensor]:
    """A timm data config as `Preprocessing`; a callable with an id as it is.

    Raises:
        ModelError: on anything else.
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
    """Refuse what is no network.

    Raises:
        ModelError: naming what was found.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{where} returned no network", expected="a torch.nn.Module", found=f"a {type(module).__name__}"
        )


def plain_attributes(module: torch.nn.Module) -> dict[str, dict[str, Any]]:
    """Numbers, texts and flags that the parts of a module hold: temperatures and the like, which no tensor shows."""
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
