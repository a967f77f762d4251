"""The result type of analyses: a table with notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows with column names, and notes for the reader."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str]
