"""`qubastore export`."""

from __future__ import annotations

import shlex

import click

from qubastore.cli.options import store_option


@click.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--model", "-m", "models", multiple=True, metavar="NAME", help="Only this model's runs. Repeatable.")
@store_option
def command(folder: str, models: tuple[str, ...], store_path: str | None) -> None:
    """Write the tables that others need to rank this store's models together with theirs, and a manifest.

    DIR gets the tables of complete runs as Parquet (no samples, no paths of images), dimensions.csv for spreadsheets,
    and manifest.json: versions, hashes of the files, and the protocol behind the figures. The recipient types
    `qubastore attach DIR`. To include samples, use `qubastore copy`.

    \b
    Example:
      qubastore export lab2-export
      qubastore export two-models -m timm:resnet50.a1_in1k -m timm:vit_base_patch16_224.augreg_in1k
    """
    from qubastore.attachments.export import export
    from qubastore.store import open_store

    with open_store(store_path) as store:
        done = export(store, folder, models)
    click.echo(
        f"{done.folder}: {done.models} {'model' if done.models == 1 else 'models'}, {done.runs:,} complete runs,"
        f" {done.size / 1e6:.1f} MB"
    )
    if done.unfinished:
        click.echo(f"note: {done.unfinished:,} unfinished runs are left out", err=True)
    if done.outdated:
        click.echo(f"note: left out, as another release computed them: {', '.join(done.outdated)}", err=True)
    click.echo(f"next, on the other side: qubastore attach {shlex.quote(str(done.folder))}")
