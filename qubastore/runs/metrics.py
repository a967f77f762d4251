"""Metrics of complete runs: computing and storing those of this release that are missing in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.lake.snapshot import Snapshot
from qubastore.metrics.catalogue import METRICS, Metric
from qubastore.runs.removal import SUMMARY_TABLES
from qubastore.runs.summaries import RUNS_AT_ONCE, SUMMARIES, Summary
from qubastore.runs.transforms import MetricRow, no_transforms, transformed
from qubastore.runs.vectors import kept_logits, with_logits

if TYPE_CHECKING:
    import duckdb


def store_metrics(store: Database) -> None:
    """Compute the missing metrics of complete runs, in this release's versions: transforms first, then views.

    A metric that a run cannot have (because no logits were kept) is stored as null, so that it is not tried again.
    """
    current = {(metric.name, metric.version) for metric in METRICS if metric.over == "run"}
    incomplete = store.rows(
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
    for first in range(0, len(incomplete), RUNS_AT_ONCE):
        part = incomplete[first : first + RUNS_AT_ONCE]
        todo = {
            run_id: [m for m in METRICS if m.over == "run" and f"{m.name} {m.version}" not in (present or ())]
            for run_id, _, present in part
        }
        _replace(store, _metrics(store, todo), {run_id: computed_at for run_id, computed_at, _ in part})


def _metrics(store: Database, todo: Mapping[str, Sequence[Metric]]) -> list[MetricRow]:
    """Compute metrics of runs; `todo` maps each run to its missing metrics."""
    able = set(with_logits(store, [run for run, metrics in todo.items() if any(m.transform for m in metrics)]))
    rows: list[MetricRow] = []
    for run_id, metrics in todo.items():
        transforms = [metric for metric in metrics if metric.transform]
        if run_id in able:
            rows += transformed(run_id, *kept_logits(store, run_id), transforms)
        else:
            rows += no_transforms(run_id, transforms)
    return rows + view_metrics(store, todo, rows)


def view_metrics(
    store: Database,
    todo: Mapping[str, Sequence[Metric]],
    transforms: Sequence[MetricRow],
    summaries: Sequence[Summary] = (),
) -> list[MetricRow]:
    """Compute the metrics of runs that views define.

    Args:
        store: An open store.
        todo: Run -> its metrics; those that views do not define are left out.
        transforms: Metrics from logits that are not stored yet, which views may read.
        summaries: Summaries of these runs, if they are not stored yet.
    """
    by_view: dict[str, list[Metric]] = defaultdict(list)
    for metric in {metric.name: metric for metrics in todo.values() for metric in metrics if metric.view}.values():
        by_view[metric.view].append(metric)
    rows: list[MetricRow] = []
    # Runs whose summaries are not stored have no rows in these tables, which are large.
    emptied = SUMMARY_TABLES if summaries else ()
    with Snapshot(store, list(by_view), list(todo), emptied=emptied) as copy:
        for table in SUMMARIES:
            copy.add(table, [row for summary in summaries for row in summary.rows(table)])
        copy.add("run_metrics", transforms)
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


def _replace(store: Database, rows: Sequence[MetricRow], summarised: Mapping[str, datetime]) -> None:
    """Replace the metrics of the same runs and names, for runs whose summary still has the time in `summarised`."""

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        # Delete only what is there: a delete without matching rows takes as long as one with them.
        runs = sorted({row[0] for row in rows})
        query = "select distinct metric from run_metrics where list_contains(?, run_id)"
        for (metric,) in connection.execute(query, [runs]).fetchall():
            stale = [row[0] for row in rows if row[1] == metric]
            connection.execute("delete from run_metrics where metric = ? and list_contains(?, run_id)", [metric, stale])
        # A run may have been removed, or summarised again, since its metrics were computed.
        now = dict(connection.execute("select run_id, computed_at from run_summary").fetchall())
        insert(connection, "run_metrics", [row for row in rows if now.get(row[0]) == summarised[row[0]]])

    store.write(work, repeatable=True)
