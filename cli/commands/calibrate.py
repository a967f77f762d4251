"""`qubastore calibrate`."""

from __future__ import annotations

import click

from qubastore.cli.options import output_options, store_option


@click.command("calibrate")
@click.option("--model", "-m", required=True, metavar="NAME", help="A model of the store.")
@click.option("--fit-on", required=True, metavar="DATASET", help="Dataset of the run to fit on, or the run's id.")
@click.option(
    "--apply-to",
    multiple=True,
    metavar="DATASET",
    help="Dataset of a run to calibrate, or its id. Repeatable.  [default: all runs with kept logits]",
)
@store_option
@output_options
def command(
    model: str, fit_on: str, apply_to: tuple[str, ...], store_path: str | None, format_: str, output: str | None
) -> None:
    """Fit a temperature on kept logits: one number that divides the logits. No inference.

    The result is a new model, NAME,calibrated=DATASET, with a run for every run of NAME that kept logits. On the images
    that the temperature was fitted on, it is cross-fitted: each fifth of them gets the temperature fitted on the other
    four.

    \b
    Example:
      qubastore calibrate --model timm:resnet50.a1_in1k --fit-on imagenet-val --apply-to imagenet-r
      qubastore sql "select model, dataset, ece from calibration order by dataset, ece"
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.derived.temperature import calibrate
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        made = calibrate(store, model, fit_on=fit_on, apply_to=apply_to, log=lambda text: click.echo(text, err=True))
        query = "select ece, accuracy.accuracy from calibration join accuracy using (run_id) where run_id = ?"
        rows = []
        for place, source, derived in made.runs:
            (before, _), (after, accuracy) = store.rows(query, [source])[0], store.rows(query, [derived])[0]
            rows.append((place, accuracy, before, after))
    every = made.temperature
    click.echo(
        f"{made.model}: temperature {every.value:.6g} from {every.n:,} images,"
        f" NLL {every.nll_before:.4f} to {every.nll_after:.4f}",
        err=True,
    )
    write_rows(("run", "accuracy", "ece_before", "ece_after"), rows, format_=format_, output=output)
    for place in made.skipped:
        click.echo(f"left out: {place} kept no logits", err=True)
