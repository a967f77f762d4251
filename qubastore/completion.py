"""Completing runs: once all shards of a run are there, sum it up and store its metrics.

Idempotent and a step of its own: it runs at every start of an ingest, so that what a kill left undone is done, and a
metric that is new in this release is computed for every old run. Sums are exact (`math.fsum`), so they do not depend on
the order, the number of shards or the number of threads.
"""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qubastore import registry
from qubastore.metrics import METRICS, Metric
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

N_BINS = 15
"""Confidence bins of equal width."""


def complete_runs(store: Store) -> list[str]:
    """Sum up every run whose shards are all there, and store metrics that are missing; return the runs summed up."""
    whole = store.rows(
        """
        select runs.run_id
        from runs
        join (select run_id, count(*) as n from shards group by run_id) as done using (run_id)
        left join run_summary using (run_id)
        where done.n = runs.n_shards and run_summary.run_id is null
        order by runs.created_at, runs.run_id
        """
    )
    runs = [row[0] for row in whole]
    for run_id in runs:
        _sum_up(store, run_id)
    _store_metrics(store)
    return runs


def _sum_up(store: Store, run_id: str) -> None:
    import numpy as np

    state = _state(store.rows, run_id)
    columns = store.sql(
        """
        select label, prediction, confidence, label_probability, sum_squared_probability,
            logsumexp - label_logit::double as negative_log_likelihood, list_contains(top5_class, label) as in_top5
        from outputs where run_id = ? order by sample_id
        """,
        [run_id],
    ).fetchnumpy()
    label, confidence = np.asarray(columns["label"]), np.asarray(columns["confidence"], np.float64)
    correct = np.asarray(columns["prediction"]) == label
    truth, squares = _optional(columns["label_probability"]), _optional(columns["sum_squared_probability"])
    in_top5 = columns["in_top5"]
    likelihood = _optional(columns["negative_log_likelihood"])
    brier = None if truth is None or squares is None else squares - 2 * truth + 1
    summary = (
        run_id,
        len(label),
        store.rows("select count(*) from failures where run_id = ?", [run_id])[0][0],
        int(correct.sum()),
        None if _masked(in_top5) else int(np.asarray(in_top5).sum()),
        math.fsum(confidence),
        None if likelihood is None else math.fsum(likelihood),
        None if brier is None else math.fsum(brier),
        datetime.now(UTC),
    )
    classes = [(run_id, *row) for row in class_rows(label, correct, truth)]
    bins = [(run_id, *row) for row in bin_rows(confidence, correct)]

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        # Removed, or with other shards than those read: the next completion sums up what is there then.
        if _state(lambda query, values: connection.execute(query, values).fetchall(), run_id) != state:
            return
        for table in registry.SUMMARY_TABLES:
            connection.execute(f"delete from {table} where run_id = ?", [run_id])
        registry.insert(connection, "run_summary", [summary])
        registry.insert(connection, "class_summary", classes)
        registry.insert(connection, "bin_summary", bins)

    store.write(work)


def _state(rows: Callable[[str, list[str]], list[tuple[Any, ...]]], run_id: str) -> list[tuple[Any, ...]]:
    """What a run's sums are taken over: it changes whenever a shard comes, goes or is replaced."""
    query = """
        select runs.run_id, shards.shard, shards.committed_at
        from runs join shards using (run_id) where run_id = ? order by shard
    """
    return rows(query, [run_id])


def class_rows(
    label: NDArray[np.int32], correct: NDArray[np.bool_], truth: NDArray[np.float64] | None
) -> list[tuple[Any, ...]]:
    """Per class: class, n, n_correct, mean and population std of the probability of the truth (None without)."""
    import numpy as np

    if not len(label):
        return []
    order = np.argsort(label, kind="stable")
    classes, starts = np.unique(label[order], return_index=True)
    rows: list[tuple[Any, ...]] = []
    for value, members in zip(classes, np.split(order, starts[1:]), strict=True):
        mean = std = None
        if truth is not None:
            mean = math.fsum(truth[members]) / len(members)
            std = math.sqrt(math.fsum((truth[members] - mean) ** 2) / len(members))
        rows.append((int(value), len(members), int(correct[members].sum()), mean, std))
    return rows


def bin_rows(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[tuple[Any, ...]]:
    """Per confidence bin that has samples: bin 1..15, n, n_correct, summed confidence; (lo, hi], 0 in the first."""
    import numpy as np

    edges = np.linspace(0, 1, N_BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left"), 1, N_BINS)
    return [
        (number, int(inside.sum()), int(correct[inside].sum()), math.fsum(confidence[inside]))
        for number in range(1, N_BINS + 1)
        if (inside := bins == number).any()
    ]


def _store_metrics(store: Store) -> None:
    """Compute the metrics that complete runs lack, in this release's versions: transforms first, views next.

    A metric that a run cannot have (no logits were kept) is stored as null: looked for, and not there.
    """
    present = set(store.rows("select run_id, metric, metric_version from run_metrics"))
    summed_up = dict(store.rows("select run_id, computed_at from run_summary order by run_id"))
    complete = list(summed_up)
    for metric in (m for m in METRICS if m.transform):
        lacking = [run for run in complete if (run, metric.name, metric.version) not in present]
        able = set(_with_logits(store, lacking))
        for run_id in lacking:
            value = _transform(store, metric, run_id) if run_id in able else None
            _replace(store, [(run_id, metric.name, metric.version, value)], summed_up)
    by_view: dict[str, list[Metric]] = defaultdict(list)
    for metric in METRICS:
        if metric.view:
            by_view[metric.view].append(metric)
    rows = []
    for view, metrics in by_view.items():
        lacking = [run for run in complete if any((run, m.name, m.version) not in present for m in metrics)]
        if lacking:
            names = ", ".join(metric.name for metric in metrics)
            answers = store.rows(f"select run_id, {names} from {view} where list_contains(?, run_id)", [lacking])
            values = {run_id: [None] * len(metrics) for run_id in lacking} | {row[0]: list(row[1:]) for row in answers}
            rows += [
                (run_id, metric.name, metric.version, value)
                for run_id in lacking
                for metric, value in zip(metrics, values[run_id], strict=True)
            ]
    if rows:
        _replace(store, rows, summed_up)


def _with_logits(store: Store, runs: Sequence[str]) -> list[str]:
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


def _transform(store: Store, metric: Metric, run_id: str) -> float | None:
    import numpy as np

    module = importlib.import_module(f"qubastore.transforms.{metric.transform}")
    labels = np.asarray(
        store.sql("select label from outputs where run_id = ? order by sample_id", [run_id]).fetchnumpy()["label"]
    )
    matrix = np.empty((0, 0), np.float32)
    first = 0
    for batch in store.logits(run_id):
        block = batch.column("values").flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
        if first == 0:
            matrix = np.empty((len(labels), block.shape[1]), np.float32)
        matrix[first : first + len(block)] = block
        first += len(block)
    value = float(module.compute(matrix, labels))
    return value if math.isfinite(value) else None


def _replace(
    store: Store, rows: Sequence[tuple[str, str, int, float | None]], summed_up: Mapping[str, datetime]
) -> None:
    """Store metrics in place of those of the same runs and names, for runs summed up when `summed_up` says."""

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        for metric in sorted({row[1] for row in rows}):
            runs = [row[0] for row in rows if row[1] == metric]
            connection.execute("delete from run_metrics where metric = ? and list_contains(?, run_id)", [metric, runs])
        # A run may have been removed, or summed up anew, since its metrics were computed.
        now = dict(connection.execute("select run_id, computed_at from run_summary").fetchall())
        registry.insert(connection, "run_metrics", [row for row in rows if now.get(row[0]) == summed_up[row[0]]])

    store.write(work)


def _masked(column: Any) -> bool:
    """Whether DuckDB handed out nulls."""
    import numpy as np

    return isinstance(column, np.ma.MaskedArray) and bool(np.ma.getmaskarray(column).any())


def _optional(column: Any) -> NDArray[np.float64] | None:
    import numpy as np

    return None if _masked(column) else np.asarray(column, np.float64)
