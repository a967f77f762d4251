"""Completing runs: once all shards of a run are there, sum it up and store its metrics.

Idempotent and a step of its own: it runs at every start of an ingest, so that what a kill left undone is done, and a
metric that is new in this release is computed for every old run.
"""

from __future__ import annotations

from qubastore.lake.database import Database
from qubastore.runs.metrics import store_metrics
from qubastore.runs.summaries import RUNS_AT_ONCE, sum_up


def complete_runs(store: Database) -> list[str]:
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
    for first in range(0, len(runs), RUNS_AT_ONCE):
        sum_up(store, runs[first : first + RUNS_AT_ONCE])
    store_metrics(store)
    return runs
