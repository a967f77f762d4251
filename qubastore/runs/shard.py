"""A shard: a range of samples of one run, as an evaluator writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from qubastore.lake.object_storage import DataFiles


@dataclass(frozen=True)
class Failure:
    """An image that could not be decoded."""

    sample_id: int
    key: str
    error: str


@dataclass(frozen=True)
class Shard:
    """A range of samples of one run, as an evaluator writes it: names of files, and counts.

    Attributes:
        run_id: The run.
        shard: Its number.
        first_sample: Its first sample.
        n_samples: Number of samples, including those that failed.
        files: Kind (outputs, logits, features) -> Parquet file below the store's data path.
        failures: Images that could not be decoded.
        batch_size: Number of images per forward pass.
        device: Device of the forward passes.
        seconds: Duration of the forward passes.
        kept: Kinds of output that were kept.
        checksums: Kind -> checksum of its file.
        n_by_pillow: Number of images that Pillow decoded because the decoder of the run cannot; None if unknown.
        committed_at: Time of its first commit, for a copy; None means now.
    """

    run_id: str
    shard: int
    first_sample: int
    n_samples: int
    files: Mapping[str, str]
    failures: Sequence[Failure] = ()
    batch_size: int = 0
    device: str = ""
    seconds: float = 0.0
    kept: tuple[str, ...] = ("outputs",)
    checksums: Mapping[str, str] = field(default_factory=dict)
    n_by_pillow: int | None = 0
    committed_at: datetime | None = None

    @property
    def n_outputs(self) -> int:
        """Number of samples with outputs."""
        return self.n_samples - len(self.failures)

    def drop_files(self, data: DataFiles) -> None:
        """Remove the files of a shard that will not be committed."""
        for file in self.files.values():
            data.remove(file)
