"""Pareto fronts: the models that no other of the same source beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qubastore.metrics.dimensions import Dimension


def pareto_front(
    rows: Sequence[tuple[Any, ...]], columns: Sequence[str], front: Sequence[Dimension]
) -> list[tuple[Any, ...]]:
    """The rows that no other of the same source beats; models without a value in one of the dimensions are on none."""
    source = columns.index("source")
    signs = [(columns.index(d.name), 1 if d.better == "up" else -1) for d in front]
    points = [
        (row, [sign * row[index] for index, sign in signs])
        for row in rows
        if all(row[index] is not None for index, _ in signs)
    ]
    return [
        row
        for row, mine in points
        if not any(
            other[source] == row[source] and theirs != mine and all(x >= y for x, y in zip(theirs, mine, strict=True))
            for other, theirs in points
        )
    ]


def front_note(kept: Sequence[Any], rows: Sequence[Any], front: Sequence[Dimension]) -> str:
    """How many of the rows of a ranking are on a Pareto front."""
    named = ", ".join(dimension.name for dimension in front)
    return f"{len(kept)} of {len(rows)} models are on the Pareto front of {named}"
