"""The row of a model in the store, and the identity of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qubastore.hashing import canonical_json, identifier
from qubastore.models.spec import FEATURES

if TYPE_CHECKING:
    from qubastore.models.fingerprints import Fingerprint


@dataclass(frozen=True)
class Model:
    """The row of a model.

    Attributes:
        name: `loader:name`, as shown in tables.
        loader: Its loader.
        architecture: What determines the function besides the weights; JSON-representable.
        weights_hash: Hash of the state dict; empty for imported predictions.
        preprocessing: `Preprocessing.describe()`, or the id of a callable.
        input_size: Height and width of the input; None for a callable that was never run.
        num_classes: Length of the output vector; None if unknown, and for a backbone without a head.
        parameters: Number of parameters; None if unknown.
        feature_width: Length of the classifier's input vector, or of what a backbone gives; None if there is no such
            vector.
        output_type: One of `spec.OUTPUT_TYPES`.
        macs: Multiply-accumulates of a forward pass of one image; None if unknown. Not part of the identity.
        activations: Number of outputs of its convolutions, matrix products and attention layers for one image.
        fingerprint: Its outputs for fixed images; None for models that were not run here (imported predictions), and
            for models recorded before fingerprints were introduced.
        recorded_id: Its id in the store; None if it is not in the store.
    """

    name: str
    loader: str
    architecture: Any
    weights_hash: str
    preprocessing: Any
    input_size: tuple[int, int] | None
    num_classes: int | None
    parameters: int | None
    feature_width: int | None
    output_type: str = "logits"
    macs: int | None = None
    activations: int | None = None
    fingerprint: Fingerprint | None = field(default=None, compare=False)
    recorded_id: str | None = None

    @property
    def model_id(self) -> str:
        """Hash of loader, architecture (with the head), weights, preprocessing and fingerprint.

        A model that is in the store keeps its id there: see `qubastore.models.recognition`.
        """
        if self.recorded_id is not None:
            return self.recorded_id
        function = () if self.fingerprint is None else (self.fingerprint.digest,)
        return identifier("model", *self.described, *function)

    @property
    def has_head(self) -> bool:
        """Whether it gives logits; a backbone without a head gives features."""
        return self.output_type != FEATURES

    @property
    def labels(self) -> list[str] | str | None:
        """The names of its classes in their order, or `imagenet-1k`; None if its loader knows none."""
        found: list[str] | str | None = self.architecture.get("labels") if isinstance(self.architecture, dict) else None
        return found

    @property
    def is_zero_shot(self) -> bool:
        """Whether its head is made of texts."""
        return isinstance(self.architecture, dict) and "templates" in self.architecture

    @property
    def described(self) -> tuple[Any, ...]:
        """The parts of the identity that can be read without running the model: all but the fingerprint."""
        return self.loader, self.architecture, self.weights_hash, self.preprocessing, self.output_type

    def row(self) -> tuple[Any, ...]:
        """The columns of the table `models` between model_id and created_at, without the costs."""
        height, width = self.input_size or (None, None)
        return (
            self.name,
            self.loader,
            canonical_json(self.architecture),
            self.weights_hash,
            canonical_json(self.preprocessing),
            height,
            width,
            self.num_classes,
            self.parameters,
            self.feature_width,
            self.output_type,
        )
