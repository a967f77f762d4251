"""Kept logits and features of a run, streamed in sample order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qubastore.datasets.label_spaces import LabelSpace, label_space
from qubastore.lake.database import Database
from qubastore.lake.ducklake import CATALOG

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray


def kept_vectors(store: Database, table: str, run_id: str, *, batch_size: int = 1024) -> Iterator[pyarrow.RecordBatch]:
    """The kept logits or features of a run, streamed in sample order.

    Args:
        store: An open store.
        table: `logits` or `features`.
        run_id: The run.
        batch_size: Maximum number of rows per batch.

    Yields:
        Record batches with `sample_id` int32 and `values` list<float32>.
    """
    # A separate cursor, so that the caller can run other queries while it streams.
    cursor = store.cursor()
    try:
        cursor.execute(f"use {CATALOG}")
        cursor.execute(f"select sample_id, values from {table} where run_id = ? order by sample_id", [run_id])
        yield from cursor.to_arrow_reader(batch_size)
    finally:
        cursor.close()


def with_logits(store: Database, runs: Sequence[str]) -> list[str]:
    """Those of `runs` whose every shard kept logits."""
    if not runs:
        return []
    kept = store.rows(
        """
        select run_id from shards where list_contains(?, run_id)
        group by run_id having bool_and(list_contains(kept, 'logits')) order by run_id
        """,
        [list(runs)],
    )
    return [row[0] for row in kept]


def kept_logits(store: Database, run_id: str) -> tuple[NDArray[np.float32], NDArray[np.int32], LabelSpace]:
    """The logits of a run that kept them for every sample, its labels, and its label space.

    Returns:
        (n, n_outputs of the model) float32 and (n,) int32, in sample order, and the space.
    """
    import numpy as np

    ((space,),) = store.rows("select label_space from named_runs where run_id = ?", [run_id])
    query = "select sample_id, label from outputs where run_id = ? order by sample_id"
    columns = store.arrays(query, [run_id])
    samples, labels = np.asarray(columns["sample_id"]), np.asarray(columns["label"])
    matrix = np.empty((len(samples), 0), np.float32)
    row = 0
    for first in range(0, int(samples[-1]) + 1 if len(samples) else 0, _SAMPLES_AT_ONCE):
        # DuckDB returns each list as a NumPy array; Arrow would not be faster, and is an additional package.
        vectors = store.arrays(_VECTORS, [run_id, first, first + _SAMPLES_AT_ONCE])["values"]
        if not len(vectors):
            continue
        if not matrix.shape[1]:
            matrix = np.empty((len(samples), len(vectors[0])), np.float32)
        matrix[row : row + len(vectors)] = np.stack(list(vectors))
        row += len(vectors)
    return matrix, labels, label_space(space)


_SAMPLES_AT_ONCE = 8192

_VECTORS = "select values from logits where run_id = ? and sample_id >= ? and sample_id < ? order by sample_id"
