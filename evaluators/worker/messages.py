"""What the driver and an evaluator say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qubastore.conditions import CLEAN, Condition
from qubastore.errors import QubastoreError
from qubastore.runs.shard import Shard


@dataclass(frozen=True)
class Settings:
    """What holds for every shard that an evaluator works on.

    Attributes:
        data_path: Where the store's Parquet files lie: a folder, or `s3://bucket/prefix`.
        precision: One of `qubastore.conditions.PRECISIONS`.
        batch_size: Images of a forward pass; None means the largest that fits, per model.
        use_gpu: Whether Ray gave this evaluator a GPU.
        threads: CPU threads of torch.
    """

    data_path: str
    precision: str
    batch_size: int | None
    use_gpu: bool
    threads: int


@dataclass(frozen=True)
class ShardRequest:
    """A shard for some of an evaluator's models.

    Attributes:
        shard: Its number.
        first_sample: Its first sample.
        n_samples: How many samples it has.
        labels: (n_samples, k) int32: the right classes of each sample, filled up with -1; an attack climbs from the
            first.
        runs: Model id -> run id of the models that lack the shard.
        classes: Number of outputs that a model must have; 0 where any number will do.
        label_space: How they become the dataset's classes.
        keep: Model id -> kinds of output to keep.
        condition: How inputs are altered before the model sees them.
        seeds: One per sample, for conditions that draw at random; they depend on the sample's key alone.
    """

    shard: int
    first_sample: int
    n_samples: int
    labels: NDArray[np.int32]
    runs: Mapping[str, str]
    classes: int
    label_space: str
    keep: Mapping[str, tuple[str, ...]]
    condition: Condition = field(default_factory=lambda: Condition(CLEAN, {}))
    seeds: tuple[int, ...] = ()


@dataclass
class ShardResult:
    """What came of a request.

    Attributes:
        shards: One per run that succeeded; their files are written, not yet committed.
        errors: Model id -> why its run cannot go on.
        contents: Sample id -> content hash.
        decode_seconds: Time that the decode workers took.
    """

    shards: list[Shard] = field(default_factory=list)
    errors: dict[str, QubastoreError] = field(default_factory=dict)
    contents: dict[int, str] = field(default_factory=dict)
    decode_seconds: float = 0.0
