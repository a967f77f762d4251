"""`qubastore import ...`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.group("import")
def command() -> None:
    """Import results made elsewhere."""


@command.command("predictions")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--model", required=True, metavar="NAME", help="Name to give the model.")
@click.option("--dataset", required=True, metavar="NAME", help="Dataset of the predictions.")
@click.option(
    "--labels", metavar="FILE", help="CSV with file_name, label.  [default: the dataset's labels in the store]"
)
@store_option
def predictions(file: str, model: str, dataset: str, labels: str | None, store_path: str | None) -> None:
    """Create a run from top-1 predictions: a CSV with file_name, predicted_class, predicted_probability.

    Metrics that need only the top-1 probability are computed as for any other run; the others are null.

    \b
    Example:
      qubastore import predictions resnet50.csv --model ResNet50 --dataset imagenet-val --labels labels.csv
    """
    from qubastore.importers.predictions import import_predictions
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        run_id = import_predictions(store, file, model=model, dataset=dataset, labels=labels)
        accuracy, images = store.rows("select accuracy, n_outputs from accuracy where run_id = ?", [run_id])[0]
    click.echo(f"run {run_id}: {model} on {dataset}, {images} images, accuracy {accuracy:.5f}")


@command.command("human")
@click.argument("folder", type=click.Path(file_okay=False))
@store_option
def human(folder: str, store_path: str | None) -> None:
    """Import answers of people and decisions of networks: the CSV files of model-vs-human.

    FOLDER holds EXPERIMENT_subject-NN_session_N.csv for people and EXPERIMENT_NETWORK_session-N.csv for networks, or
    one folder per experiment. They appear next to models in shape_bias, shape_bias_by_category, agreement and
    error_consistency, as observers of the kind person or network; means over people exclude networks.

    \b
    Example:
      qubastore import human model-vs-human/raw-data
      qubastore sql "select model, observer, shape_bias from shape_bias order by shape_bias desc"
    """
    from pathlib import Path

    from qubastore.importers.people import import_human
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        found = import_human(store, Path(folder))
    for observers, one, several in ((found.trials, "person", "people"), (found.networks, "network", "networks")):
        experiments: dict[str, list[int]] = {}
        for (experiment, _), trials in observers.items():
            experiments.setdefault(experiment, []).append(trials)
        for experiment, counts in experiments.items():
            click.echo(f"{experiment}: {sum(counts):,} trials of {len(counts)} {one if len(counts) == 1 else several}")
    if found.others:
        click.echo(f"left out: {found.others} other CSV files, which contain no trials")


@command.command("imagenet-x")
@click.option(
    "--annotations",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="The folder annotations of the package imagenet-x.  [default: that of the installed package]",
)
@store_option
def imagenet_x(annotations: str | None, store_path: str | None) -> None:
    """Import ImageNet-X: 16 factors (pose, background, style, ...) that set each image of ImageNet-val apart.

    The annotations come with the PyPI package imagenet-x, for non-commercial use: pip install 'qubastore[imagenet-x]'.

    \b
    Example:
      qubastore import imagenet-x
      qubastore sql "select model, factor, error_ratio from imagenet_x_error_ratio
                     where annotation = 'top' and metaclass = 'all' order by error_ratio desc"
    """
    from pathlib import Path

    from qubastore.importers.imagenet_x import import_imagenet_x
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        counts = import_imagenet_x(store, Path(annotations) if annotations else None)
    click.echo("ImageNet-X: " + ", ".join(f"{count:,} images with {kind} factors" for kind, count in counts.items()))


@command.command("real")
@store_option
def real(store_path: str | None) -> None:
    """Add the ReaL labels, from the installed timm, to every ImageNet-val of the store.

    Datasets get them when they are ingested or imported; this is for stores of earlier releases.

    \b
    Example:
      qubastore import real
      qubastore sql "select model, n, accuracy from label_set_accuracy where label_set = 'real'"
    """
    from qubastore.importers.predictions import import_real_labels
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        found = import_real_labels(store)
    for name, images in found:
        click.echo(f"{name}: {images:,} images with ReaL labels")
    if not found:
        click.echo("no dataset of the store has the official validation images: ILSVRC2012_val_00000001.JPEG, ...")
