"""`qubastore probe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.statistics.scores import Arrays
    from qubastore.store import Store

COLUMNS = ("model", "task", "method", "chosen", "val_accuracy", "test_accuracy", "n_train", "n_test", "n_classes")


@click.command("probe")
@click.option(
    "--model", "-m", "models", multiple=True, required=True, metavar="NAME", help="Model to probe. Repeatable."
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="NAME/train, NAME/val if it exists, and NAME/test. Repeatable.  [default: all tasks of the model]",
)
@click.option("--train", metavar="DATASET", help="Training split: dataset of one of the model's runs, or the run's id.")
@click.option("--val", metavar="DATASET", help="Validation split.  [default: a fifth of the training split]")
@click.option("--test", metavar="DATASET", help="Test split.")
@click.option(
    "--method",
    "methods",
    type=click.Choice(["linear", "knn"]),
    multiple=True,
    help="Classifier to fit. Repeatable.  [default: linear]",
)
@click.option(
    "--save-as",
    metavar="NAME",
    help="Keep the classifier as the model probe:NAME: it answers wherever features of its backbone are kept. For one"
    " model, task and method.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="What fits linear probes: NumPy, or torch on a GPU; auto takes a GPU if torch finds one.",
)
@store_option
@output_options
def command(
    models: tuple[str, ...],
    tasks: tuple[str, ...],
    train: str | None,
    val: str | None,
    test: str | None,
    methods: tuple[str, ...],
    save_as: str | None,
    device: str,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Fit classifiers on kept features of one split and test them on another, to measure transfer. No inference.

    Hyperparameters (regularisation, number of neighbours) are chosen on the validation split, never on the test split.
    A probe is not fitted again unless its features changed. The features come from qubastore ingest --dataset
    flowers=PATH,layout=splits, or from --dataset vtab/TASK --data-root DIR. The network is not changed: on VTAB's tasks
    these are probes, not VTAB's protocol, which fine-tunes.

    With --save-as, the classifier is kept: probe:NAME is then a model as any other, with logits (linear) or
    probabilities (knn). Its runs are computed from the backbone's features, on every dataset of the same classes
    without images that it was fitted on; attacks, which need gradients, are ingested: qubastore ingest --model
    probe:NAME --condition fgsm. Backbones and probes are compared, ranked and reported by what their runs say.

    \b
    Example:
      qubastore probe --model timm:resnet50.a1_in1k --task flowers --method linear --method knn
      qubastore sql "select model, task, method, test_accuracy from probe_accuracy"
      qubastore probe --model timm:vit_small_patch14_dinov2.lvd142m --task flowers --save-as dino-flowers
      qubastore compare probe:dino-flowers probe:resnet-flowers --dataset flowers/test
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.derived.probe_models import save_probe
    from qubastore.derived.probes import probe
    from qubastore.store import open_store

    if (train is None) != (test is None) or (val and not train):
        raise click.UsageError("give --train and --test (and --val if you like), or --task NAME")
    if train and tasks:
        raise click.UsageError("--task replaces --train, --val and --test: give one or the other")
    if save_as is not None and (len(models) > 1 or len(methods) > 1 or len(tasks) > 1):
        raise click.UsageError("--save-as keeps one probe: give one --model, one --task and one --method")
    rows = []
    with open_store(store_path, read_only=False) as store:
        arrays = _arrays(device)
        for model in models:
            splits = [(train, val, test)] if train and test else _splits(store, model, tasks)
            if save_as is not None and len(splits) > 1:
                raise click.UsageError(f"--save-as keeps one probe, and {model} has {len(splits)} tasks: add --task")
            for one, two, three in splits:
                for method in methods or ("linear",):
                    options: dict[str, Any] = {"train": one, "val": two, "test": three, "method": method}
                    if save_as is None:
                        result = probe(store, model, **options, arrays=arrays, log=_log)
                    else:
                        saved = save_probe(store, model, name=save_as, **options, arrays=arrays, log=_log)
                        for place, reason in saved.skipped:
                            _log(f"left out: {place}: {reason}")
                        result = saved.probe
                    rows.append(tuple(getattr(result, column) for column in COLUMNS))
    write_rows(COLUMNS, rows, format_=format_, output=output)


def _log(text: str) -> None:
    click.echo(text, err=True)


def _splits(store: Store, model: str, tasks: tuple[str, ...]) -> list[tuple[str, str | None, str]]:
    """The datasets of training, validation and test of each task."""
    from qubastore.derived.probe_data import probe_tasks
    from qubastore.runs.lookup import complete_runs_of, named_model

    _, model_id = named_model(store, model)
    complete = {run.dataset for run in complete_runs_of(store, model_id)}
    query = "select distinct dataset from run_details where model_id = ? and not complete"
    unfinished = {row[0] for row in store.rows(query, [model_id])}
    chosen = tasks or probe_tasks(store, model)
    if not chosen:
        raise click.UsageError(f"{model} has no runs with features on NAME/train and NAME/test")
    for task in chosen:
        if f"{task}/val" in unfinished - complete:
            raise click.UsageError(
                f"the run of {model} on {task}/val is unfinished: finish it, or name --train and --test"
            )
    return [(f"{task}/train", f"{task}/val" if f"{task}/val" in complete else None, f"{task}/test") for task in chosen]


def _arrays(device: str) -> Arrays:
    """What computes linear probes, on a device."""
    from qubastore.statistics.scores import HOST, Arrays

    if device == "cpu":
        return HOST
    from qubastore.evaluators.cluster.resources import may_have_gpus

    if device == "auto" and not may_have_gpus(None, None):
        return HOST
    import torch

    if torch.cuda.is_available():
        _log(f"fitting on {torch.cuda.get_device_name()}")
        return Arrays(torch, torch.device("cuda"))
    if device == "gpu":
        raise click.UsageError(f"torch {torch.__version__} finds no GPU: --device cpu")
    return HOST
