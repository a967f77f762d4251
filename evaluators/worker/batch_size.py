"""The largest batch that fits a device: found once per model, device, precision and kind of work, then remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qubastore.conditions import Condition

if TYPE_CHECKING:
    import duckdb

    from qubastore.lake.database import Database


AUTO = "auto"


CPU_DEFAULT = 32
"""Measured: on CPUs larger batches fall out of the caches, and are slower."""


LARGEST = {"gpu": 1024, "cpu": 64}
"""A shard has 1,024 samples at most, and batches never cross shards."""


Sizes = dict[str, int]
"""Kind of work -> images of a pass."""


def work_of(condition: Condition) -> str:
    """What a condition asks of a device: a forward pass, gradients, or inputs of another size.

    >>> work_of(Condition.parse("pgd")), work_of(Condition.parse("scale(1.25)"))
    ('gradients', 'forward')
    """
    if condition.is_attack:
        return "gradients"
    return str(condition) if condition.resolution else "forward"


def largest_that_fits(fits: Callable[[int], bool], limit: int) -> int:
    """The largest power of two up to `limit` that fits; 1 where none does, so that the pass itself tells the error.

    Powers of two, so that a batch that is halved later never straddles the ones before.

    Args:
        fits: Whether a batch of that many images fits.
        limit: The largest to try.

    >>> largest_that_fits(lambda size: size <= 100, 1024)
    64
    """
    size = 1
    while 2 * size <= limit and fits(2 * size):
        size *= 2
    return size


def remembered_sizes(store: Database, model_id: str, device: str, precision: str) -> Sizes:
    """What was found before."""
    query = "select work, batch_size from batch_sizes where model_id = ? and device = ? and precision = ?"
    return dict(store.rows(query, [model_id, device, precision]))


def remember_sizes(
    connection: duckdb.DuckDBPyConnection, model_id: str, device: str, precision: str, sizes: Iterable[tuple[str, int]]
) -> None:
    """Note what was found, inside the caller's transaction; what was noted before gives way."""
    for work, size in sizes:
        connection.execute(
            "delete from batch_sizes where model_id = ? and device = ? and precision = ? and work = ?",
            [model_id, device, precision, work],
        )
        connection.execute(
            "insert into batch_sizes values (?, ?, ?, ?, ?, now())", [model_id, device, precision, work, size]
        )
