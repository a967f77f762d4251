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

    before, after = migrate(store_path)
    if before == after:
        click.echo(f"nothing to do: schema version {after}")
    else:
        click.echo(f"schema version {before} -> {after}")
