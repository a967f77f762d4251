"""Loaders: one module each, with `revision(spec)` and `load(spec, source)`; `LOADERS` in `models/spec.py` names them.

A loader never returns another model than the one asked for: what cannot be had is an error with the nearest names.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qubastore.errors import ModelError, QubastoreError, check_name, in_one_line
from qubastore.evaluators.cost import forward_cost
from qubastore.models.model import Model
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import OUTPUT_TYPES, ModelSpec

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
class InMemoryModel:
    """A model that exists only in memory, for `ingest`.

    Attributes:
        name: A name of your own.
        module: The network; it is switched to eval mode.
        preprocessing: A timm data config (dict), or a callable on a PIL image with an attribute `id`.
        output_type: `probabilities` for a network that ends in a softmax.

    Example:
        >>> InMemoryModel("my-net", net, {"input_size": (3, 224, 224)})  # doctest: +SKIP
    """

    name: str
    module: torch.nn.Module
    preprocessing: Mapping[str, Any] | Callable[[Any], torch.Tensor]
    output_type: str = "logits"

    def load(self) -> LoadedModel:
        """The same, as what a loader returns.

        Its name, printed structure and plain attributes stand for its architecture; what its code computes shows in its
        fingerprint.
        """
        where = f"memory:{self.name}"
        check_module(self.module, where)
        prepare = read_preprocessing(self.preprocessing, where)
        made_of = {"name": self.name, "structure": repr(self.module), "attributes": plain_attributes(self.module)}
        return declared(LoadedModel(where, "memory", self.module.eval(), prepare, made_of), self.output_type)


@dataclass(frozen=True)
class SourceFile:
    """A file that makes a model what it is (source, prompts), which travels to other nodes by value."""

    path: str
    text: str


@dataclass(frozen=True)
class ModelSource:
    """All that an evaluator needs to load a model on its node."""

    spec: ModelSpec | InMemoryModel
    source: SourceFile | None = field(default=None, repr=False)

    @classmethod
    def of(cls, spec: ModelSpec | InMemoryModel) -> ModelSource:
        """Read what has to travel.

        Raises:
            QubastoreError: where a file cannot be read.
        """
        if isinstance(spec, ModelSpec) and spec.loader in ("python", "open_clip"):
            return cls(spec, _module(spec).read_source(spec))
        return cls(spec)

    def revision(self) -> str | None:
        """What names the checkpoint without loading it, or None where nothing does."""
        if isinstance(self.spec, InMemoryModel):
            return None
        revision: str | None = _module(self.spec).revision(self.spec)
        return revision

    def load(self) -> LoadedModel:
        """Load the model on this node.

        Raises:
            ModelError: where it cannot be found or its checkpoint does not fit.
        """
        if isinstance(self.spec, InMemoryModel):
            return self.spec.load()
        loaded: LoadedModel = _module(self.spec).load(self.spec, self.source)
        return declared(loaded, self.spec.options.get("output_type", loaded.output_type))


def _module(spec: ModelSpec) -> Any:
    return importlib.import_module(f"qubastore.evaluators.loaders.{spec.loader}")


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


def weights_hash(module: torch.nn.Module) -> str:
    """Hash of every tensor of the state dict: name, dtype, shape and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()[:32]


def n_parameters(module: torch.nn.Module) -> int:
    """Parameters of a network, without those of heads that only training uses: the auxiliary classifiers of GoogLeNet
    and Inception, as torchvision and timm build them.
    """
    heads = [part for part in module.modules() if type(part).__name__ == "InceptionAux"]
    left_out = {id(parameter) for head in heads for parameter in head.parameters()}
    return sum(parameter.numel() for parameter in module.parameters() if id(parameter) not in left_out)


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


def _prepared_blank(prepare: Callable[[Any], Any], where: str) -> torch.Tensor:
    """What a preprocessing function makes of a blank image, as a batch of one.

    Raises:
        ModelError: where it fails, or returns no (3, height, width) tensor.
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
            f"{where}: the preprocessing function returns no image tensor", expected="(3, height, width)", found=found
        )
    return prepared[None]


def describe(loaded: LoadedModel, *, thorough: bool = True) -> Model:
    """The row of a loaded model, with the fingerprint of its function. A blank image and four fixed ones go through it.

    Args:
        loaded: The model, on the CPU.
        thorough: Whether to count its MACs and activations too, to find the layer whose input is its features, and to
            see that it answers alike each time: once for a model that nobody has seen yet.

    Raises:
        ModelError: where the network cannot take its own input, returns no (1, n_classes) tensor, or answers
            differently to the same image.
    """
    import torch

    from qubastore.evaluators.loaders.features import find_classifier
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
        raise ModelError(f"{loaded.name} returned no matrix of logits", expected="(batch, n_classes)", found=found)
    head = None
    if thorough:
        check_repeatable(loaded)
        head = find_classifier(loaded)
    return Model(
        name=loaded.name,
        loader=loaded.loader,
        architecture=loaded.architecture,
        weights_hash=weights_hash(loaded.module),
        preprocessing=described,
        input_size=(int(size[0]), int(size[1])),
        num_classes=int(logits.shape[1]),
        parameters=loaded.parameters or n_parameters(loaded.module),
        feature_width=head.in_features if head is not None else None,
        output_type=loaded.output_type,
        macs=macs,
        activations=activations,
        fingerprint=fingerprint(loaded),
    )
