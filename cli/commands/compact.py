"""`qubastore compact`."""

from __future__ import annotations

import sys

import click

from qubastore.cli.options import store_option
from qubastore.lake.ducklake import KEEP_DAYS


@click.command("compact")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=KEEP_DAYS,
    show_default=True,
    help="Keep snapshots that are younger.",
)
@store_option
def command(store_path: str | None, keep_days: float) -> None:
    """Merge the files of runs and of small tables, so that questions stay fast.

    Runs are stored with one file per table since schema 7; earlier releases left one per shard. Rows and numbers stay
    as they are. Old snapshots are expired, and files that nothing refers to are removed, as by `qubastore gc`: the
    files of merged runs go with the last snapshot that has them. It may be killed, and run again.

    \b
    Example:
      qubastore compact
      qubastore compact --keep-days 30
    """
    from qubastore.maintenance.compact import compact
    from qubastore.maintenance.gc import collect
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        done = compact(store, report=_report)
        removed = collect(store, keep_days=keep_days, older_than=24 * 3600.0)
    for damage in done.damaged:
        click.echo(f"left: shard {damage.shard} of run {damage.run_id} has {damage.found}", err=True)
    if done.damaged:
        click.echo("try: qubastore doctor --deep", err=True)
    if done.runs:
        plural = "run" if len(done.runs) == 1 else "runs"
        click.echo(f"{len(done.runs)} {plural} merged: {done.files_before:,} files -> {done.files_after:,}", err=True)
    else:
        click.echo("every run has one file per table", err=True)
    click.echo(f"{removed.snapshots} old snapshots and {len(removed.files)} files removed", err=True)


def _report(done: int, runs: int) -> None:
    if sys.stderr.isatty() and runs:
        click.echo(f"\r\033[Kmerging: {done}/{runs} runs", err=True, nl=done == runs)
