"""Running models over images with Ray, once per (model, dataset, condition).

`ingest` and `bench` are the entry points. Modules of this package may import torch and Ray; others do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qubastore.evaluators.benchmarking import BenchReport as BenchReport
    from qubastore.evaluators.benchmarking import bench as bench
    from qubastore.evaluators.driver import IngestReport as IngestReport
    from qubastore.evaluators.driver import ingest as ingest
    from qubastore.evaluators.loaders.source import InMemoryModel as InMemoryModel

__all__ = ["BenchReport", "InMemoryModel", "IngestReport", "bench", "ingest"]

_HOMES = {
    "BenchReport": "benchmarking",
    "InMemoryModel": "loaders.source",
    "IngestReport": "driver",
    "bench": "benchmarking",
    "ingest": "driver",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import qubastore.evaluators` stays fast."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"qubastore.evaluators.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
