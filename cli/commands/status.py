"""`qubastore status`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.store import Store


SILENT_SECONDS = 600
"""An ingest on another machine that has committed nothing for this long may be dead."""


RUNS = """
    with killed as (
        select run_id, count(*) as n_killed
        from (select unnest(run_ids) as run_id from drivers where list_contains(?, driver_id))
        group by run_id
    ),
    progress as (
        select run_progress.*, n_drivers - coalesce(n_killed, 0) as n_alive
        from run_progress left join killed using (run_id)
    )
    select
        model, dataset, condition, precision, decoder, n_done || '/' || n_samples as images, n_failed as failed,
        if(n_alive > 0, round(images_per_second, 1), null) as images_s,
        case
            when complete then 'complete'
            when n_alive > 0 and n_done = n_samples then 'summarising'
            when n_alive > 0 then 'active'
            when n_drivers > 0 then 'killed'
            else 'waiting for an ingest'
        end as state,
        if(n_alive > 0, seconds_left, null) as seconds_left
    from progress
    order by n_drivers = 0, complete, model, dataset, condition, precision, decoder
"""
"""Progress of each run. Parameter: the ids of ingests that were killed."""


DRIVERS = """
    with done as (
        select driver_id, sum(n_samples)::bigint as n_done, max(committed_at) as last_commit_at
        from shards where driver_id is not null group by driver_id
    )
    select
        drivers.host, drivers.process_id, coalesce(drivers.address, 'its own Ray') as cluster,
        len(drivers.run_ids) as runs, coalesce(done.n_done, 0) as n_done, drivers.n_images,
        coalesce(done.n_done, 0) / greatest(1, date_diff('second', drivers.started_at, now())) as speed,
        drivers.started_at, date_diff('second', coalesce(done.last_commit_at, drivers.started_at), now()) as silent
    from drivers
    left join done using (driver_id)
    order by drivers.started_at
"""


@click.command("status")
@click.option(
    "--watch", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Refresh at this interval; Ctrl-C stops."
)
@store_option
@output_options
def command(store_path: str | None, watch: float | None, format_: str, output: str | None) -> None:
    """Show the progress of ingests: which are active, and for each run images done and failed, speed and time left.

    It reads committed data only, so it works from any terminal and any machine, also after a kill.

    \b
    Example:
      qubastore status
      qubastore status --watch 5
      qubastore status --format json
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.store import open_store

    while True:
        with open_store(store_path) as store:
            columns, rows = _runs(store, human=format_ == "table")
            if format_ == "table" and output is None:
                if watch:
                    click.clear()
                _drivers(store)
                if not rows:
                    click.echo("every run is complete")
                    if not watch:
                        return
            if rows or format_ != "table":
                write_rows(columns, rows, format_=format_, output=output)
        if not watch:
            return
        time.sleep(watch)


def _runs(store: Store, *, human: bool) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    from qubastore.runs.sessions import NOTED, killed

    rows = store.rows(RUNS, [killed(store.rows(NOTED))])
    columns = (
        *("model", "dataset", "condition", "precision", "decoder", "images", "failed", "images_s", "state"),
        "seconds_left",
    )
    if not human:
        return columns, rows
    return (*columns[:-1], "left"), [(*row[:-1], duration(row[-1])) for row in rows]


def _drivers(store: Store) -> None:
    from qubastore.runs.sessions import is_alive

    for host, process_id, cluster, runs, n_done, n_images, speed, started, silent in store.rows(DRIVERS):
        alive = is_alive(host, process_id)
        left = duration((n_images - n_done) / speed) if speed else ""
        state = f"{n_done}/{n_images} images, {speed:.1f}/s" + (f", {left} left" if left and alive is not False else "")
        if alive is False:
            state += "; it was killed: the same command resumes from there"
        elif alive is None and silent > SILENT_SECONDS:
            state += f"; nothing committed for {duration(silent)}: is it alive?"
        plural = "run" if runs == 1 else "runs"
        click.echo(f"ingest {process_id} on {host} ({cluster}), since {started:%H:%M:%S}: {runs} {plural}, {state}")


def duration(seconds: float | None) -> str:
    """A duration in a readable unit: `45 s`, `12 min`, `3.5 h`."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
