"""`qubastore migrate`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.command("migrate")
@store_option
def command(store_path: str | None) -> None:
    """Upgrade the schema of a store to this release, in one transaction.

    Make a copy of the store first: older releases cannot open it afterwards.

    \b
    Example:
      qubastore migrate --store results
    """
    from qubastore.lake.creation import migrate
    from qubastore.maintenance.compact import scattered_runs
    from qubastore.store import open_store

    before, after = migrate(store_path)
    if before == after:
        click.echo(f"nothing to do: schema version {after}")
    else:
        click.echo(f"schema version {before} -> {after}")
    with open_store(store_path) as store:
        if scattered := len(scattered_runs(store)):
            plural = "run has" if scattered == 1 else "runs have"
            click.echo(f"{scattered} {plural} a file per shard, as in earlier releases: qubastore compact merges them")
