"""Tables of results, as analyses return them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows with names, and what a reader must know."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str]
