"""`qubastore probe`."""

from __future__ import annotations

import click

from qubastore.cli.options import output_options, store_option

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
@store_option
@output_options
def command(
    models: tuple[str, ...],
    tasks: tuple[str, ...],
    train: str | None,
    val: str | None,
    test: str | None,
    methods: tuple[str, ...],
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Fit classifiers on kept features of one split and test them on another, to measure transfer. No inference.

    Hyperparameters (regularisation, number of neighbours) are chosen on the validation split, never on the test split.
    A probe is not fitted again unless its features changed. The features come from qubastore ingest --dataset
    flowers=PATH,layout=splits, or from --dataset vtab/TASK --data-root DIR. The network is not changed: on VTAB's tasks
    these are probes, not VTAB's protocol, which fine-tunes.

    \b
    Example:
      qubastore probe --model timm:resnet50.a1_in1k --task flowers --method linear --method knn
      qubastore sql "select model, task, method, test_accuracy from probe_accuracy"
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.derived.probes import probe, probe_tasks
    from qubastore.runs.lookup import complete_runs_of, named_model
    from qubastore.store import open_store

    if (train is None) != (test is None) or (val and not train):
        raise click.UsageError("give --train and --test (and --val if you like), or --task NAME")
    if train and tasks:
        raise click.UsageError("--task replaces --train, --val and --test: give one or the other")
    rows = []
    with open_store(store_path, read_only=False) as store:
        for model in models:
            if train and test:
                splits = [(train, val, test)]
            else:
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
                splits = [
                    (f"{task}/train", f"{task}/val" if f"{task}/val" in complete else None, f"{task}/test")
                    for task in chosen
                ]
            for one, two, three in splits:
                for method in methods or ("linear",):
                    result = probe(
                        store,
                        model,
                        train=one,
                        val=two,
                        test=three,
                        method=method,
                        log=lambda text: click.echo(text, err=True),
                    )
                    rows.append(tuple(getattr(result, column) for column in COLUMNS))
    write_rows(COLUMNS, rows, format_=format_, output=output)
