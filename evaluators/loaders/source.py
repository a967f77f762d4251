"""The source of a model: everything that an evaluator needs to load it on its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from qubastore.evaluators.loaders.loaded import (
    LoadedModel,
    SourceFile,
    check_module,
    declared,
    plain_attributes,
    read_preprocessing,
)
from qubastore.models.loaders import loader_module
from qubastore.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class InMemoryModel:
    """A model that exists only in memory, for `ingest`.

    Attributes:
        name: Name of your choice.
        module: The network; it is switched to eval mode.
        preprocessing: A timm data config (dict), or a callable on a PIL image with an attribute `id`.
        output_type: `probabilities` for a network that ends in a softmax, `features` for one without a head.

    Example:
        >>> InMemoryModel("my-net", net, {"input_size": (3, 224, 224)})  # doctest: +SKIP
    """

    name: str
    module: torch.nn.Module
    preprocessing: Mapping[str, Any] | Callable[[Any], torch.Tensor]
    output_type: str = "logits"

    def load(self) -> LoadedModel:
        """The model in the form that loaders return.

        Its name, printed structure and plain attributes serve as its architecture; what its code computes is part of
        its fingerprint.
        """
        where = f"memory:{self.name}"
        check_module(self.module, where)
        prepare = read_preprocessing(self.preprocessing, where)
        described = {"name": self.name, "structure": repr(self.module), "attributes": plain_attributes(self.module)}
        return declared(LoadedModel(where, "memory", self.module.eval(), prepare, described), self.output_type)


class Loadable(Protocol):
    """What loads a model by itself: `InMemoryModel`, and a backbone with the head of a probe."""

    @property
    def name(self) -> str:
        """Its name, for messages."""

    def load(self) -> LoadedModel:
        """The model in the form that loaders return."""


@dataclass(frozen=True)
class ModelSource:
    """Everything that an evaluator needs to load a model on its node."""

    spec: ModelSpec | Loadable
    source: SourceFile | None = field(default=None, repr=False)

    @classmethod
    def of(cls, spec: ModelSpec | Loadable) -> ModelSource:
        """The source of a spec, with the text of any file that must be sent to the nodes.

        Raises:
            QubastoreError: if a file cannot be read.
        """
        read_source = getattr(_module(spec), "read_source", None) if isinstance(spec, ModelSpec) else None
        return cls(spec, read_source(spec) if read_source else None)

    def revision(self) -> str | None:
        """An identifier of the checkpoint that is known without loading it, or None if there is none."""
        if not isinstance(self.spec, ModelSpec):
            return None
        revision: str | None = _module(self.spec).revision(self.spec)
        return revision

    @property
    def checkpoint(self) -> tuple[str, int] | None:
        """The training of which it is a checkpoint, and the step; None if the user names none."""
        return self.spec.checkpoint if isinstance(self.spec, ModelSpec) else None

    def load(self) -> LoadedModel:
        """Load the model on this node.

        Raises:
            ModelError: if it cannot be found, or its checkpoint does not fit.
        """
        if not isinstance(self.spec, ModelSpec):
            return self.spec.load()
        loaded: LoadedModel = _module(self.spec).load(self.spec, self.source)
        return declared(loaded, self.spec.options.get("output_type", loaded.output_type))


def _module(spec: ModelSpec) -> Any:
    return loader_module(spec.loader)
