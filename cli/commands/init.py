"""`qubastore init`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.command("init")
@store_option
def command(store_path: str | None) -> None:
    """Create a store: a folder with a DuckLake catalog, Parquet files, views and the published table of the QUBA study.

    \b
    Example:
      qubastore init --store results
    """
    from qubastore.store import init

    with init(store_path) as store:
        published = store.rows("select count(*) from published_models")[0][0]
        click.echo(f"created {store.location} ({published} published models)")
        click.echo("next: qubastore rank, or qubastore ingest --model timm:NAME --dataset NAME=PATH")
