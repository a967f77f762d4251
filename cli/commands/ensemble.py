"""`qubastore ensemble`."""

from __future__ import annotations

import click

from qubastore.cli.options import output_options, store_option


@click.command("ensemble")
@click.argument("models", nargs=-1, required=True)
@click.option("--dataset", "-d", "datasets", multiple=True, metavar="NAME", help="Only these datasets. Repeatable.")
@click.option(
    "--mean",
    type=click.Choice(["probabilities", "logits"]),
    default="probabilities",
    show_default=True,
    help="What is averaged.",
)
@click.option("--name", metavar="NAME", help="Name of the ensemble.  [default: ensemble(A, B)]")
@store_option
@output_options
def command(
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    mean: str,
    name: str | None,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Average MODELS from kept logits: a new model with a run wherever all of them have one. No inference.

    \b
    Example:
      qubastore ensemble timm:resnet50.a1_in1k timm:vit_base_patch16_224.augreg_in21k_ft_in1k
      qubastore sql "select model, accuracy from accuracy where dataset = 'imagenet-val' order by accuracy"
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.derived.ensemble import ensemble
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        made = ensemble(
            store,
            models,
            datasets=datasets,
            mean=mean,
            name=name,
            log=lambda text: click.echo(text, err=True),
        )
        query = "select accuracy, n_outputs from accuracy where run_id = ?"
        rows = [(place, run_id, *store.rows(query, [run_id])[0]) for place, run_id in made.runs]
    click.echo(made.model, err=True)
    write_rows(("run", "run_id", "accuracy", "images"), rows, format_=format_, output=output)
    for place in made.skipped:
        click.echo(f"left out: {place}, where not every model has a complete run with kept logits", err=True)
