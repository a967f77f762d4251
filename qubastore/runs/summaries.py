"""Summaries of runs: counts and exact sums (`math.fsum`), which do not depend on the order of samples, the number of
shards or the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.runs.cue_decisions import cue_decisions
from qubastore.statistics.bins import bin_rows, class_rows

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


RUNS_AT_ONCE = 64
"""Maximum number of runs that are published in one transaction."""


SUMMARIES = ("run_summary", "class_summary", "bin_summary", "cue_summary")
"""The tables of summaries."""


@dataclass(frozen=True)
class Summary:
    """The rows of a run's summary, by table."""

    run: tuple[Any, ...]
    classes: Sequence[tuple[Any, ...]] = ()
    bins: Sequence[tuple[Any, ...]] = ()
    cues: Sequence[tuple[Any, ...]] = ()

    def rows(self, table: str) -> Sequence[tuple[Any, ...]]:
        """The rows of one of the tables `SUMMARIES`."""
        return dict(zip(SUMMARIES, ([self.run], self.classes, self.bins, self.cues), strict=True))[table]


def summarise(run_id: str, outputs: pa.Table, n_failed: int) -> Summary:
    """Summarise a run, except for its decisions between shape and texture (`with_cues`).

    Args:
        run_id: The run.
        outputs: All its rows of the table `outputs`.
        n_failed: Number of images that could not be decoded.
    """
    import numpy as np

    prediction = outputs.column("prediction")
    if prediction.null_count or outputs.column("label").null_count:
        # The outputs do not correspond to the classes, or there are no labels: only samples can be counted.
        return Summary((run_id, len(outputs), n_failed, *[None] * 5, datetime.now(UTC)))
    label = outputs.column("label").to_numpy()
    confidence = np.asarray(outputs.column("confidence").to_numpy(), np.float64)
    correct = prediction.to_numpy() == label
    truth, squares = _doubles(outputs, "label_probability"), _doubles(outputs, "sum_squared_probability")
    logsumexp, label_logit = _doubles(outputs, "logsumexp"), _doubles(outputs, "label_logit")
    likelihood = None if logsumexp is None or label_logit is None else logsumexp - label_logit
    brier = None if truth is None or squares is None else squares - 2 * truth + 1
    row = (
        run_id,
        len(label),
        n_failed,
        int(correct.sum()),
        _n_in_top5(outputs, label),
        math.fsum(confidence),
        None if likelihood is None else math.fsum(likelihood),
        None if brier is None else math.fsum(brier),
        datetime.now(UTC),
    )
    return Summary(
        row,
        [(run_id, *each) for each in class_rows(label, correct, truth)],
        [(run_id, *each) for each in bin_rows(confidence, correct)],
    )


def _doubles(outputs: pa.Table, name: str) -> NDArray[np.float64] | None:
    """A column as float64; None if a value is missing."""
    import numpy as np

    column = outputs.column(name)
    return None if column.null_count else np.asarray(column.to_numpy(), np.float64)


def _n_in_top5(outputs: pa.Table, label: NDArray[np.int32]) -> int | None:
    """Number of samples whose label is among the five largest logits; None if these are missing."""
    import numpy as np
    import pyarrow as pa

    lists = outputs.column("top5_class")
    if lists.null_count:
        return None
    if not len(label):
        return 0
    combined = lists.combine_chunks()
    arrays = combined.chunks if isinstance(combined, pa.ChunkedArray) else [combined]
    flat = np.concatenate([array.flatten().to_numpy(zero_copy_only=False) for array in arrays])
    return int((flat.reshape(len(label), -1) == label[:, None]).any(axis=1).sum())


def with_cues(store: Database, summaries: Sequence[Summary], predictions: Sequence[pa.Table]) -> list[Summary]:
    """The same summaries, with the decisions between shape and texture of the runs that `predictions` belong to.

    Args:
        store: An open store.
        summaries: Summaries of runs that are not stored yet.
        predictions: For some of the runs, the columns run_id, sample_id, label and prediction of their outputs.
    """
    if not predictions:
        return list(summaries)
    import pyarrow as pa

    def count(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
        connection.register("new_predictions", pa.concat_tables(predictions))
        try:
            return connection.execute(_CUE_COUNTS).fetchall()
        finally:
            connection.unregister("new_predictions")

    counts = store.ask(count)
    return [replace(each, cues=[row for row in counts if row[0] == each.run[0]]) for each in summaries]


_CUE_COUNTS = f"""
    select run_id, category, count(*), count(*) filter (where shape), count(*) filter (where texture)
    from ({cue_decisions("new_predictions")})
    group by run_id, category
    order by run_id, category
"""
"""Counts of decisions for shape and for texture, of the images whose shape and texture differ."""
