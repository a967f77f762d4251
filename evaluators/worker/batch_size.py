"""The largest batch that fits a device: found once per model, device, precision and kind of work, then remembered."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from qubastore.conditions import Condition

if TYPE_CHECKING:
    import duckdb

    from qubastore.lake.database import Database


AUTO = "auto"


CPU_DEFAULT = 32
"""Measured: on CPUs, larger batches exceed the caches and are slower."""


LARGEST = {"gpu": 1024, "cpu": 64}
"""Largest batch to try: a shard has at most 1,024 samples, and batches never cross shards."""


Sizes = dict[str, int]
"""Kind of work -> images per forward pass."""


def work_of(condition: Condition) -> str:
    """The kind of work of a condition: a forward pass, gradients, or inputs of another size.

    >>> work_of(Condition.parse("pgd")), work_of(Condition.parse("scale(1.25)"))
    ('gradients', 'forward')
    """
    if condition.is_attack:
        return "gradients"
    return str(condition) if condition.resolution else "forward"


def batch_end(sample_ids: Sequence[int], size: int, first: int = 0) -> int:
    """Where the batch ends that begins with the sample at `first`: batches are cut by the samples' places.

    >>> batch_end([30, 31, 33, 34], 32), batch_end([30, 31, 33, 34], 32, first=2)
    (2, 4)
    """
    return bisect_left(sample_ids, (sample_ids[first] // size + 1) * size)


def largest_that_fits(fits: Callable[[int], bool], limit: int) -> int:
    """The largest power of two up to `limit` that fits; 1 if none does, so that the pass itself raises the error.

    With powers of two, a batch that is halved later still aligns with the earlier ones.

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
    """The batch sizes that are stored for a model on a device."""
    query = "select work, batch_size from batch_sizes where model_id = ? and device = ? and precision = ?"
    return dict(store.rows(query, [model_id, device, precision]))


def remember_sizes(
    connection: duckdb.DuckDBPyConnection, model_id: str, device: str, precision: str, sizes: Iterable[tuple[str, int]]
) -> None:
    """Store batch sizes, replacing earlier ones, in the caller's transaction."""
    for work, size in sizes:
        connection.execute(
            "delete from batch_sizes where model_id = ? and device = ? and precision = ? and work = ?",
            [model_id, device, precision, work],
        )
        connection.execute(
            "insert into batch_sizes values (?, ?, ?, ?, ?, now())", [model_id, device, precision, work, size]
        )
