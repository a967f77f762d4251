"""Messages between the driver and an evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qubastore.conditions import CLEAN, Condition, Shift
from qubastore.errors import QubastoreError
from qubastore.models.preprocessing import Preprocessing
from qubastore.runs.shard import Shard

SHARDS_AT_A_TIME = {"gpu": 3, "cpu": 2}
"""Maximum number of shards that an evaluator is given at a time: while one is computed, another is decoded and, for a
device that must not wait for it, a third one written."""


@dataclass(frozen=True)
class Settings:
    """Settings of an evaluator, for all its shards.

    Attributes:
        data_path: Location of the store's Parquet files: a folder, or `s3://bucket/prefix`.
        precision: One of `qubastore.conditions.PRECISIONS`.
        batch_size: Images per forward pass; None means as many as fit, per model.
        use_gpu: Whether Ray gave this evaluator a GPU.
        threads: CPU threads for torch.
    """

    data_path: str
    precision: str
    batch_size: int | None
    use_gpu: bool
    threads: int

    @property
    def kind(self) -> str:
        """The kind of its device, `gpu` or `cpu`: a key of limits."""
        return "gpu" if self.use_gpu else "cpu"


@dataclass(frozen=True)
class Preparation:
    """How an evaluator makes inputs of images that it decodes itself: resize and crop, with a shift or without one."""

    preprocessing: Preprocessing
    shift: Shift | None = None


@dataclass(frozen=True)
class ShardRequest:
    """A request to run some of an evaluator's models on a shard.

    Attributes:
        shard: Number of the shard.
        first_sample: Its first sample.
        n_samples: Its number of samples.
        labels: (n_samples, k) int32: the correct classes of each sample, padded with -1; attacks use the first.
        runs: Model id -> run id, for the models that need the shard.
        classes: Model id -> number of outputs that it must have; 0 if any number is valid.
        label_spaces: Model id -> how its outputs are mapped to the dataset's classes.
        keep: Model id -> kinds of output to keep.
        condition: How inputs are altered before the model sees them.
        seeds: One per sample, for random conditions; see `attacks.sample_seed`.
        preparation: How to prepare images that the device decodes; None means that they come decoded.
        keys: The names of the samples, for the failures of images that the device decodes; else none.
    """

    shard: int
    first_sample: int
    n_samples: int
    labels: NDArray[np.int32]
    runs: Mapping[str, str]
    classes: Mapping[str, int]
    label_spaces: Mapping[str, str]
    keep: Mapping[str, tuple[str, ...]]
    condition: Condition = field(default_factory=lambda: Condition(CLEAN, {}))
    seeds: tuple[int, ...] = ()
    preparation: Preparation | None = None
    keys: tuple[str, ...] = ()


@dataclass
class ShardResult:
    """The result of a request.

    Attributes:
        shards: One per run that succeeded; their files are written but not committed.
        errors: Model id -> why its run failed.
        contents: Sample id -> content hash.
        decode_seconds: Time spent by the decode workers.
        n_by_pillow: Number of images that Pillow decoded because the decoder cannot.
    """

    shards: list[Shard] = field(default_factory=list)
    errors: dict[str, QubastoreError] = field(default_factory=dict)
    contents: dict[int, str] = field(default_factory=dict)
    decode_seconds: float = 0.0
    n_by_pillow: int = 0
