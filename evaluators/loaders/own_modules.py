"""Modules that a user's own code imports from its folder: another folder may have others of the same names."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

_imported: set[str] = set()
"""Modules that the code of the last loaded model imported from its folder."""


@contextlib.contextmanager
def fresh_modules(folder: str, depth: int = 2) -> Iterator[None]:
    """Let code import modules from its folder in their current state.

    Modules that earlier code imported from its own folder are removed first: they may have the same names or have
    changed since.

    Args:
        folder: The folder of the code, as it is in the paths of its modules.
        depth: How far below it a file of a module may be: 2 for modules and packages in it.
    """
    for name in _imported:
        sys.modules.pop(name, None)
    _imported.clear()
    importlib.invalidate_caches()
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            top = sys.modules.get(name.partition(".")[0])
            origin = getattr(top, "__file__", None) or next(iter(getattr(top, "__path__", [])), None)
            if origin is not None and Path(folder) in Path(origin).parents[:depth]:
                _imported.add(name)
