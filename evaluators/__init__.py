"""Running models over images with Ray, once per (model, dataset, condition).

`ingest` is the entry point; modules below it may import torch and Ray, modules outside this package do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qubastore.evaluators.driver import IngestReport as IngestReport
    from qubastore.evaluators.driver import ingest as ingest
    from qubastore.evaluators.loaders.source import InMemoryModel as InMemoryModel

__all__ = ["InMemoryModel", "IngestReport", "ingest"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import qubastore.evaluators` stays fast."""
    if name == "InMemoryModel":
        from qubastore.evaluators.loaders.source import InMemoryModel

        return InMemoryModel
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("qubastore.evaluators.driver"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
