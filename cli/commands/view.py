"""`qubastore view`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qubastore.cli.options import image_options, store_option

if TYPE_CHECKING:
    from qubastore.explorer.altered import Makes


@click.command("view")
@image_options("")
@click.option("--suite", default="quba", show_default=True, metavar="NAME", help="Suite of the ranking.")
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="SPEC",
    help="A model whose adversarial images may be looked at, as it was ingested. Repeatable.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8421, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in this machine's browser.")
@store_option
def command(
    datasets: tuple[str, ...],
    data_root: str | None,
    suite: str,
    models: tuple[str, ...],
    host: str,
    port: int,
    open_browser: bool,
    store_path: str | None,
) -> None:
    """Look at the store in a browser: images by what models answered, confusions, slices, thresholds, rankings, SQL.

    A local server that only reads. Its address has a token; nobody without it sees anything. Images are read where the
    models read them, unless --dataset or --data-root say where they are now. Corrupted, scaled and shifted inputs are
    made again from the image; adversarial ones by the network, which is loaded if --model names it. On a machine
    without a browser, forward the port: ssh -L 8421:127.0.0.1:8421 HOST.

    \b
    Example:
      qubastore view
      qubastore view --store results --dataset imagenet-val=/data/imagenet/val --open
      qubastore view --model timm:resnet50.a1_in1k
    """
    import functools

    from qubastore.errors import UsageError
    from qubastore.store import open_store

    try:
        from qubastore.explorer.serve import serve
    except ImportError as error:
        raise UsageError(f"the explorer needs {error.name}", hint="pip install 'qubastore[view]'") from None
    serve(
        functools.partial(open_store, store_path),
        datasets=datasets,
        data_root=data_root,
        suite=suite,
        make=functools.partial(_make, models),
        host=host,
        port=port,
        ready=functools.partial(_ready, open_browser=open_browser),
    )


def _make(models: tuple[str, ...]) -> Makes:
    from qubastore.evaluators.altered_images import AlteredImages

    return AlteredImages(models)


def _ready(address: str, *, open_browser: bool) -> None:
    click.echo(address)
    click.echo("Ctrl-C stops the server", err=True)
    if open_browser:
        import webbrowser

        webbrowser.open(address)
