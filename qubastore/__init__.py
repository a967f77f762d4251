"""qubastore: run each image classifier once, keep its outputs, and answer every question from those outputs.

    >>> import qubastore
    >>> store = qubastore.open("store")  # doctest: +SKIP
    >>> store.sql("select model, accuracy from accuracy").pl()  # doctest: +SKIP
    >>> store.rank(weights={"calibration": 2})  # doctest: +SKIP

`qubastore.evaluators.ingest` runs models; it is a module of its own because it imports torch and Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qubastore.version import __version__

if TYPE_CHECKING:
    from qubastore.errors import QubastoreError
    from qubastore.store import Store, init
    from qubastore.store import open_store as open

__all__ = ["QubastoreError", "Store", "__version__", "init", "open"]

_HOMES = {
    "QubastoreError": ("qubastore.errors", "QubastoreError"),
    "Store": ("qubastore.store", "Store"),
    "init": ("qubastore.store", "init"),
    "open": ("qubastore.store", "open_store"),
}
"""Public name -> module and attribute. Names are imported on first use: `import qubastore` does not load DuckDB."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qubastore' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return __all__
