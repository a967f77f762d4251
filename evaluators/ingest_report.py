"""The result of an ingest."""

from __future__ import annotations

from dataclasses import dataclass, field

from qubastore.errors import QubastoreError
from qubastore.evaluators.planning.plan import Plan


@dataclass
class IngestReport:
    """The result of an ingest.

    Attributes:
        images: Images that went through models and were committed, counted once per model.
        skipped: Shards that were in the store already.
        completed: Ids of runs that became complete.
        failures: Images that could not be decoded, counted once per run.
        by_pillow: Images that Pillow decoded because the decoder cannot, counted once per run.
        set_aside: Shards that killed two evaluators: (dataset, first sample, one past the last).
        errors: Runs that failed: (model, dataset, error).
        unsupported: Models that cannot take inputs of another size: (model, place); this is recorded, not an error.
        missing: Datasets of the suite that were not found or could not be read: (name, error).
        seconds: Wall time.
        plan: The plan of the ingest.
    """

    plan: Plan
    images: int = 0
    skipped: int = 0
    completed: list[str] = field(default_factory=list)
    failures: int = 0
    by_pillow: int = 0
    set_aside: list[tuple[str, int, int]] = field(default_factory=list)
    errors: list[tuple[str, str, QubastoreError]] = field(default_factory=list)
    unsupported: list[tuple[str, str]] = field(default_factory=list)
    missing: list[tuple[str, QubastoreError]] = field(default_factory=list)
    seconds: float = 0.0
