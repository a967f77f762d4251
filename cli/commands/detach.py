"""`qubastore detach`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.command("detach")
@click.argument("name")
@store_option
def command(name: str, store_path: str | None) -> None:
    """Remove an attachment: another store, an export or tables. The attached data itself is not changed.

    `qubastore show attachments` lists them.

    \b
    Example:
      qubastore detach lab2
    """
    from qubastore.attachments.attach import detach
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        removed = detach(store, name)
    click.echo(f"detached {removed.name}; {removed.location} was not changed")
