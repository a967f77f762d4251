"""A run: one model over one dataset under one framing, condition, precision and decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from qubastore.conditions import CLEAN, PILLOW
from qubastore.hashing import identifier

OUTPUT_SCHEMA = 1
"""Increased when the meaning of stored outputs changes, so that old and new ones are never mixed up."""


def place(dataset: str, framing: str, condition: str) -> str:
    """A dataset, with the framing and condition of a run if they are not the defaults.

    >>> place("digits", "model", "fgsm(eps=8/255)"), place("edge", "whole", "clean")
    ('digits under fgsm(eps=8/255)', 'edge (whole)')
    """
    framed = "" if framing == "model" else f" ({framing})"
    under = "" if condition == CLEAN else f" under {condition}"
    return dataset + framed + under


@dataclass(frozen=True)
class Run:
    """The row of a run in the store.

    Attributes:
        model_id: Id of its model.
        dataset_id: Id of its dataset.
        n_samples: Number of samples of the dataset.
        shard_size: Number of samples per shard (the last may have fewer); fixed when the run is first planned.
        framing: How an image becomes the input.
        condition: How inputs are altered.
        precision: One of `conditions.PRECISIONS`.
        decoder: One of `conditions.DECODERS`.
        origin: `measured` or `imported`.
        output_schema: Version of the meaning of stored outputs.
        answer_space: How outputs become classes, where it is not as the dataset says (`runs.answers`); else empty.
        versions: Package -> version at the time of planning.
    """

    model_id: str
    dataset_id: str
    n_samples: int
    shard_size: int
    framing: str = "model"
    condition: str = "clean"
    precision: str = "fp32"
    decoder: str = PILLOW
    origin: str = "measured"
    output_schema: int = OUTPUT_SCHEMA
    answer_space: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Hash of everything that identifies the run."""
        return identifier(
            "run",
            self.output_schema,
            self.model_id,
            self.dataset_id,
            self.framing,
            self.condition,
            self.precision,
            # Imported predictions are distinct from what ingest would measure, even under the same names.
            self.origin,
            # Runs had this identity before there were other decoders.
            *([] if self.decoder == PILLOW else [self.decoder]),
        )

    @property
    def n_shards(self) -> int:
        """The number of shards of the complete run."""
        return math.ceil(self.n_samples / self.shard_size)

    def shard_range(self, shard: int) -> tuple[int, int]:
        """The first sample of a shard, and one past its last."""
        first = shard * self.shard_size
        return first, min(first + self.shard_size, self.n_samples)


def new_shard_size(n_samples: int, batch_size: int | None = None) -> int:
    """Number of samples per shard of a new run: small enough to lose little when killed, large enough for few files.

    It is a multiple of the batch size, so that no batch is cut at the end of a shard.

    >>> new_shard_size(1000), new_shard_size(50_000), new_shard_size(50_000, 48)
    (128, 1024, 1056)
    """
    return whole_batches(128 if n_samples <= 4096 else 1024, batch_size)


def whole_batches(shard_size: int, batch_size: int | None) -> int:
    """The smallest multiple of a batch size, if it is fixed, that is not below a shard size."""
    return -(-shard_size // batch_size) * batch_size if batch_size else shard_size
