"""Summaries of runs: counts and exact sums (`math.fsum`), which do not depend on the order of samples, the number of
shards or the number of threads.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.runs import removal
from qubastore.runs.cue_decisions import CUE_DECISIONS
from qubastore.statistics.bins import bin_rows, class_rows

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray


RUNS_AT_ONCE = 64
"""Maximum number of runs that are summarised in one transaction."""

_CUE_COUNTS = f"""
    select category, count(*), count(*) filter (where shape), count(*) filter (where texture)
    from ({CUE_DECISIONS})
    group by category
    order by category
"""
"""Counts of decisions for shape and for texture, of the images whose shape and texture differ."""


_WITH_CUES = """
    select distinct runs.run_id from runs join samples using (dataset_id)
    where list_contains(?, runs.run_id) and samples.sample_id = 0 and samples.factors['texture'] is not null
"""
"""Runs over images that have a texture: either all images of a dataset do, or none."""


@dataclass(frozen=True)
class _Summary:
    """The rows of a run's summary, by table."""

    run: tuple[Any, ...]
    classes: list[tuple[Any, ...]]
    bins: list[tuple[Any, ...]]
    cues: list[tuple[Any, ...]]


def summarise(store: Database, runs: Sequence[str]) -> None:
    """Summarise runs, and store the summaries of all of them in one transaction."""
    states = _states(store.rows, runs)
    failed = dict(
        store.rows("select run_id, count(*) from failures where list_contains(?, run_id) group by run_id", [list(runs)])
    )
    with_cues = {row[0] for row in store.rows(_WITH_CUES, [list(runs)])}
    summaries = {run_id: _summary(store, run_id, failed.get(run_id, 0), run_id in with_cues) for run_id in runs}

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        # Skip runs that were removed, or whose shards changed: they are summarised when runs are next published.
        now = _states(lambda query, values: connection.execute(query, values).fetchall(), runs)
        same = [run_id for run_id in runs if run_id in states and now.get(run_id) == states[run_id]]
        removal.delete_summaries(connection, same)
        found = [summaries[run_id] for run_id in same]
        insert(connection, "run_summary", [each.run for each in found])
        insert(connection, "class_summary", [row for each in found for row in each.classes])
        insert(connection, "bin_summary", [row for each in found for row in each.bins])
        insert(connection, "cue_summary", [row for each in found for row in each.cues])

    store.write(work, repeatable=True)


def _states(
    rows: Callable[[str, list[Any]], list[tuple[Any, ...]]], runs: Sequence[str]
) -> dict[str, list[tuple[Any, ...]]]:
    """The shards of each run with their times, which change whenever a shard is added, removed or replaced."""
    query = """
        select runs.run_id, shards.shard, shards.committed_at
        from runs join shards using (run_id) where list_contains(?, run_id) order by all
    """
    states: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for run_id, *shard in rows(query, [list(runs)]):
        states[run_id].append(tuple(shard))
    return states


def _summary(store: Database, run_id: str, n_failed: int, has_cues: bool) -> _Summary:
    import numpy as np

    columns = store.sql(
        """
        select label, prediction, confidence, label_probability, sum_squared_probability,
            logsumexp - label_logit::double as negative_log_likelihood, list_contains(top5_class, label) as in_top5
        from outputs where run_id = ? order by sample_id
        """,
        [run_id],
    ).fetchnumpy()
    label = np.asarray(columns["label"])
    if len(label) and _masked(columns["prediction"]):
        # The outputs do not correspond to the classes: only samples can be counted.
        return _Summary((run_id, len(label), n_failed, *[None] * 5, datetime.now(UTC)), [], [], [])
    confidence = np.asarray(columns["confidence"], np.float64)
    correct = np.asarray(columns["prediction"]) == label
    truth, squares = _optional(columns["label_probability"]), _optional(columns["sum_squared_probability"])
    in_top5 = columns["in_top5"]
    likelihood = _optional(columns["negative_log_likelihood"])
    brier = None if truth is None or squares is None else squares - 2 * truth + 1
    summary = (
        run_id,
        len(label),
        n_failed,
        int(correct.sum()),
        None if _masked(in_top5) else int(np.asarray(in_top5).sum()),
        math.fsum(confidence),
        None if likelihood is None else math.fsum(likelihood),
        None if brier is None else math.fsum(brier),
        datetime.now(UTC),
    )
    return _Summary(
        summary,
        [(run_id, *row) for row in class_rows(label, correct, truth)],
        [(run_id, *row) for row in bin_rows(confidence, correct)],
        [(run_id, *row) for row in store.rows(_CUE_COUNTS, [run_id])] if has_cues else [],
    )


def _masked(column: Any) -> bool:
    """Whether a column contains nulls, for which DuckDB returns a masked array."""
    import numpy as np

    return isinstance(column, np.ma.MaskedArray) and bool(np.ma.getmaskarray(column).any())


def _optional(column: Any) -> NDArray[np.float64] | None:
    import numpy as np

    return None if _masked(column) else np.asarray(column, np.float64)
