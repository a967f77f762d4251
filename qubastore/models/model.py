"""The row of a model: what tells it from every other model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qubastore.hashing import canonical_json, identifier

if TYPE_CHECKING:
    from qubastore.models.fingerprints import Fingerprint


@dataclass(frozen=True)
class Model:
    """The row of a model.

    Attributes:
        name: `loader:name`, as shown.
        loader: Its loader.
        architecture: What, besides the weights, decides the function: JSON-representable.
        weights_hash: Hash of the state dict; empty for imported predictions.
        preprocessing: `Preprocessing.describe()`, or the id of a callable.
        input_size: Height and width of the input; None for a callable that was never run.
        num_classes: Length of the output vector; None where unknown.
        parameters: Number of parameters; None where unknown.
        feature_width: Length of the vector that enters the classifier; None where there is none.
        output_type: `logits` or `probabilities`.
        macs: Multiply-accumulates of a forward pass of one image; None where unknown. Not part of its identity.
        activations: Numbers that its convolutions, matrix products and attention put out for one image.
        fingerprint: What it answers to fixed images; None for what no network here computed, and for models recorded
            before there were fingerprints.
        recorded_id: Its id in the store, where it is there.
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
        """Hash of loader, architecture, weights, preprocessing and fingerprint; the head is part of the architecture.

        A model that is in the store keeps the id that it has there: see `qubastore.models.recognition`.
        """
        if self.recorded_id is not None:
            return self.recorded_id
        function = () if self.fingerprint is None else (self.fingerprint.digest,)
        return identifier("model", *self.described, *function)

    @property
    def described(self) -> tuple[Any, ...]:
        """What says, beside the fingerprint, which model it is: what can be read without running it."""
        return self.loader, self.architecture, self.weights_hash, self.preprocessing, self.output_type

    def row(self) -> tuple[Any, ...]:
        """The columns of the table `models` between model_id and created_at, costs left out."""
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
