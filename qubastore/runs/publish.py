"""Publishing runs: once all shards of a run are committed, store its summaries and metrics.

This is an idempotent, separate step: it runs at every start of an ingest, so that it completes what a killed ingest
left undone, and computes a metric that is new in this release for every old run.
"""

from __future__ import annotations

from qubastore.lake.database import Database
from qubastore.runs.metrics import store_metrics
from qubastore.runs.summaries import RUNS_AT_ONCE, summarise


def complete_runs(store: Database) -> list[str]:
    """Summarise every run whose shards are all committed, and store missing metrics; return the summarised runs."""
    complete = store.rows(
        """
        select runs.run_id
        from runs
        join (select run_id, count(*) as n from shards group by run_id) as done using (run_id)
        left join run_summary using (run_id)
        where done.n = runs.n_shards and run_summary.run_id is null
        order by runs.created_at, runs.run_id
        """
    )
    runs = [row[0] for row in complete]
    for first in range(0, len(runs), RUNS_AT_ONCE):
        summarise(store, runs[first : first + RUNS_AT_ONCE])
    store_metrics(store)
    return runs
