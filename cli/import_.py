"""`qubastore import ...`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.group("import")
def command() -> None:
    """Bring in results made elsewhere."""


@command.command("predictions")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--model", required=True, metavar="NAME", help="Name that the model shall have.")
@click.option("--dataset", required=True, metavar="NAME", help="Dataset of the predictions.")
@click.option(
    "--labels", metavar="FILE", help="CSV with file_name, label.  [default: the dataset's labels in the store]"
)
@store_option
def predictions(file: str, model: str, dataset: str, labels: str | None, store_path: str | None) -> None:
    """Make a run of top-1 predictions: a CSV with file_name, predicted_class, predicted_probability.

    Its metrics work like any other run's as far as top-1 probabilities go; those that need more are null.

    \b
    Example:
      qubastore import predictions resnet50.csv --model ResNet50 --dataset imagenet-val --labels labels.csv
    """
    from qubastore.importers import import_predictions
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        run_id = import_predictions(store, file, model=model, dataset=dataset, labels=labels)
        accuracy, images = store.rows("select accuracy, n_outputs from accuracy where run_id = ?", [run_id])[0]
    click.echo(f"run {run_id}: {model} on {dataset}, {images} images, accuracy {accuracy:.5f}")
