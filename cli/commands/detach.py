"""`qubastore detach`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.command("detach")
@click.argument("name")
@store_option
def command(name: str, store_path: str | None) -> None:
    """Let an attachment go: another store, an export or tables. What was attached stays as it is.

    `qubastore show attachments` lists them.

    \b
    Example:
      qubastore detach lab2
    """
    from qubastore.attachments.attach import detach
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        gone = detach(store, name)
    click.echo(f"detached {gone.name}; what is at {gone.location} stays as it is")
