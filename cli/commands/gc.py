"""`qubastore gc`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option
from qubastore.lake.ducklake import KEEP_DAYS


@click.command("gc")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=KEEP_DAYS,
    show_default=True,
    help="Keep snapshots that are younger.",
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Keep younger files: an ingest may be about to commit them.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@store_option
def command(store_path: str | None, keep_days: float, older_than: float, dry_run: bool) -> None:
    """Remove files that nothing refers to: those of killed work and of expired snapshots.

    A file that a kept snapshot refers to is never removed; the latest snapshot is always kept. An ingest expires
    snapshots older than seven days by itself once there are a thousand.

    \b
    Example:
      qubastore gc --dry-run
      qubastore gc --keep-days 30
    """
    from qubastore.maintenance.gc import collect
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        found = collect(store, keep_days=keep_days, older_than=3600 * older_than, dry_run=dry_run)
        for path in found.files:
            click.echo(path)
    done = "would be removed" if dry_run else "removed"
    click.echo(f"{found.snapshots} old snapshots and {len(found.files)} files {done}", err=True)
