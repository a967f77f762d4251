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
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qubastore import registry
from qubastore.datasets.label_spaces import IMAGENET_1K, LabelSpace, label_space
from qubastore.metrics import METRICS, Metric
from qubastore.run_grain import RunGrain
from qubastore.statistics.bins import bin_rows, class_rows
from qubastore.statistics.class_logits import class_logits
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray


_RUNS_AT_ONCE = 64
"""Runs that are summed up in one transaction."""


_CUE_COUNTS = """
    with cues as (
        select
            outputs.label as category,
            samples.factors['shape'] as shape,
            samples.factors['texture'] as texture,
            datasets.classes[outputs.prediction + 1] as prediction
        from outputs
        join runs using (run_id)
        join datasets using (dataset_id)
        join samples on samples.dataset_id = runs.dataset_id and samples.sample_id = outputs.sample_id
        where outputs.run_id = ? and samples.factors['texture'] is not null
    )
    select
        category,
        count(*),
        count(*) filter (where prediction = shape),
        count(*) filter (where prediction = texture)
    from cues
    where shape <> texture
    group by category
    order by category
"""
"""Decisions for shape and for texture, where the two differ; counts, so their order does not matter."""


_WITH_CUES = """
    select distinct runs.run_id from runs join samples using (dataset_id)
    where list_contains(?, runs.run_id) and samples.sample_id = 0 and samples.factors['texture'] is not null
"""
"""Runs over images that have a texture: either all images of a dataset do, or none."""


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
    for first in range(0, len(runs), _RUNS_AT_ONCE):
        _sum_up(store, runs[first : first + _RUNS_AT_ONCE])
    _store_metrics(store)
    return runs


@dataclass(frozen=True)
class _Sums:
    """The rows that sum up a run."""

    summary: tuple[Any, ...]
    classes: list[tuple[Any, ...]]
    bins: list[tuple[Any, ...]]
    cues: list[tuple[Any, ...]]


def _sum_up(store: Store, runs: Sequence[str]) -> None:
    """Sum up runs and store the sums of all of them in one transaction."""
    states = _states(store.rows, runs)
    failed = dict(
        store.rows("select run_id, count(*) from failures where list_contains(?, run_id) group by run_id", [list(runs)])
    )
    with_cues = {row[0] for row in store.rows(_WITH_CUES, [list(runs)])}
    sums = {run_id: _sums(store, run_id, failed.get(run_id, 0), run_id in with_cues) for run_id in runs}

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        # Removed, or with other shards than those read: the next completion sums up what is there then.
        now = _states(lambda query, values: connection.execute(query, values).fetchall(), runs)
        same = [run_id for run_id in runs if run_id in states and now.get(run_id) == states[run_id]]
        registry.forget_sums(connection, same)
        found = [sums[run_id] for run_id in same]
        registry.insert(connection, "run_summary", [each.summary for each in found])
        registry.insert(connection, "class_summary", [row for each in found for row in each.classes])
        registry.insert(connection, "bin_summary", [row for each in found for row in each.bins])
        registry.insert(connection, "cue_summary", [row for each in found for row in each.cues])

    store.write(work, repeatable=True)


def _states(
    rows: Callable[[str, list[Any]], list[tuple[Any, ...]]], runs: Sequence[str]
) -> dict[str, list[tuple[Any, ...]]]:
    """What each run's sums are taken over: it changes whenever a shard comes, goes or is replaced."""
    query = """
        select runs.run_id, shards.shard, shards.committed_at
        from runs join shards using (run_id) where list_contains(?, run_id) order by all
    """
    states: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for run_id, *shard in rows(query, [list(runs)]):
        states[run_id].append(tuple(shard))
    return states


def _sums(store: Store, run_id: str, n_failed: int, has_cues: bool) -> _Sums:
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
        # Outputs that mean none of the classes: nothing to count but the samples.
        return _Sums((run_id, len(label), n_failed, *[None] * 5, datetime.now(UTC)), [], [], [])
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
    return _Sums(
        summary,
        [(run_id, *row) for row in class_rows(label, correct, truth)],
        [(run_id, *row) for row in bin_rows(confidence, correct)],
        [(run_id, *row) for row in store.rows(_CUE_COUNTS, [run_id])] if has_cues else [],
    )


def _store_metrics(store: Store) -> None:
    """Compute the metrics that complete runs lack, in this release's versions: transforms first, views next.

    A metric that a run cannot have (no logits were kept) is stored as null: looked for, and not there.
    """
    current = {(metric.name, metric.version) for metric in METRICS if metric.over == "run"}
    lacking = store.rows(
        """
        select run_summary.run_id, run_summary.computed_at, present.metrics
        from run_summary
        left join (
            select run_id, list(metric || ' ' || metric_version) as metrics,
                count(*) filter (where list_contains(?, metric || ' ' || metric_version)) as n
            from run_metrics group by run_id
        ) as present using (run_id)
        where coalesce(present.n, 0) < ?
        order by run_summary.run_id
        """,
        [[f"{name} {version}" for name, version in current], len(current)],
    )
    for first in range(0, len(lacking), _RUNS_AT_ONCE):
        part = lacking[first : first + _RUNS_AT_ONCE]
        todo = {
            run_id: [m for m in METRICS if m.over == "run" and f"{m.name} {m.version}" not in (present or ())]
            for run_id, _, present in part
        }
        _replace(store, _metrics(store, todo), {run_id: computed_at for run_id, computed_at, _ in part})


MetricRow = tuple[str, str, int, float | None]
"""Run, metric, version, value."""


def _metrics(store: Store, todo: Mapping[str, Sequence[Metric]]) -> list[MetricRow]:
    """The metrics of runs: run -> metrics that it lacks."""
    able = set(_with_logits(store, [run for run, metrics in todo.items() if any(m.transform for m in metrics)]))
    rows: list[MetricRow] = []
    for run_id, metrics in todo.items():
        transforms = [metric for metric in metrics if metric.transform]
        if run_id in able:
            rows += _transformed(store, transforms, run_id)
        else:
            rows += [(run_id, metric.name, metric.version, None) for metric in transforms]
    by_view: dict[str, list[Metric]] = defaultdict(list)
    for metric in {metric.name: metric for metrics in todo.values() for metric in metrics if metric.view}.values():
        by_view[metric.view].append(metric)
    with RunGrain(store, list(by_view), list(todo)) as copy:
        copy.add_metrics(rows)
        for view, metrics in by_view.items():
            names = ", ".join(metric.name for metric in metrics)
            values = {row[0]: row[1:] for row in copy.rows(f"select run_id, {names} from {view}")}
            nothing = (None,) * len(metrics)
            rows += [
                (run_id, metric.name, metric.version, value)
                for run_id, wanted in todo.items()
                for metric, value in zip(metrics, values.get(run_id, nothing), strict=True)
                if metric in wanted
            ]
    return rows


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


def kept_logits(store: Store, run_id: str) -> tuple[NDArray[np.float32], NDArray[np.int32], LabelSpace]:
    """The logits of a run that kept them for every sample, its labels, and its label space.

    Returns:
        (n, n_outputs of the model) float32 and (n,) int32, in sample order, and the space.
    """
    import numpy as np

    ((space,),) = store.rows("select label_space from runs join datasets using (dataset_id) where run_id = ?", [run_id])
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
    return matrix, labels, label_space(space)


def _transformed(store: Store, metrics: Sequence[Metric], run_id: str) -> list[MetricRow]:
    """Transform metrics of a run from its kept logits, which are read once."""
    matrix, labels, space = kept_logits(store, run_id)
    rows = []
    for metric in metrics:
        compute = importlib.import_module(f"qubastore.transforms.{metric.transform}").compute
        value = math.nan
        if metric.label_space:
            if space.name == IMAGENET_1K and len(labels):
                value = float(compute(matrix, labels, label_space(metric.label_space)))
        elif (own := class_logits(matrix, space)) is not None:
            value = float(compute(own, labels))
        rows.append((run_id, metric.name, metric.version, value if math.isfinite(value) else None))
    return rows


def _replace(store: Store, rows: Sequence[MetricRow], summed_up: Mapping[str, datetime]) -> None:
    """Store metrics in place of those of the same runs and names, for runs summed up when `summed_up` says."""

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        # Only where there is something to delete: a delete that finds nothing costs as much as one that does.
        runs = sorted({row[0] for row in rows})
        query = "select distinct metric from run_metrics where list_contains(?, run_id)"
        for (metric,) in connection.execute(query, [runs]).fetchall():
            stale = [row[0] for row in rows if row[1] == metric]
            connection.execute("delete from run_metrics where metric = ? and list_contains(?, run_id)", [metric, stale])
        # A run may have been removed, or summed up anew, since its metrics were computed.
        now = dict(connection.execute("select run_id, computed_at from run_summary").fetchall())
        registry.insert(connection, "run_metrics", [row for row in rows if now.get(row[0]) == summed_up[row[0]]])

    store.write(work, repeatable=True)


def _masked(column: Any) -> bool:
    """Whether DuckDB handed out nulls."""
    import numpy as np

    return isinstance(column, np.ma.MaskedArray) and bool(np.ma.getmaskarray(column).any())


def _optional(column: Any) -> NDArray[np.float64] | None:
    import numpy as np

    return None if _masked(column) else np.asarray(column, np.float64)
