"""`qubastore plot`: charts as text."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.runs.lookup import RunName
    from qubastore.store import Store


MAX_BAR, MIN_BAR = 60, 10


PIPED = 80
"""Columns to use when the output is not a terminal."""


@click.group("plot")
def command() -> None:
    """Plot the results of a model as text.

    \b
    Example:
      qubastore plot reliability --model timm:resnet50.a1_in1k
    """


@command.command("reliability")
@click.option("--model", "-m", required=True, metavar="NAME", help="The measured model.")
@click.option("--dataset", "-d", metavar="NAME|RUN", help="Dataset of the run, or the beginning of its id.")
@store_option
@output_options
def reliability(model: str, dataset: str | None, store_path: str | None, format_: str, output: str | None) -> None:
    """Plot a reliability diagram: how often the model is right, by confidence.

    A bar shows the accuracy of a bin, the mark in it the mean confidence: where a bar ends before its mark, the model
    is overconfident.

    \b
    Example:
      qubastore plot reliability --model timm:resnet50.a1_in1k --dataset imagenet-val
      qubastore plot reliability --model A --format csv
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.runs.lookup import complete_runs_of, named_model, named_run
    from qubastore.store import open_store

    with open_store(store_path) as store:
        name, model_id = named_model(store, model)
        runs = complete_runs_of(store, model_id)
        run = named_run(store, name, runs, dataset) if dataset is not None else _only(name, runs)
        run.check_has_answers(name)
        rows = _bins(store, run)
        figures = dict(store.rows("select metric, value from run_metrics where run_id = ?", [run.run_id]))
    if format_ != "table" or output is not None:
        write_rows(("low", "high", "n", "accuracy", "confidence"), rows, format_=format_, output=output)
        return
    _draw(name, run, rows, figures)


def _only(name: str, runs: Sequence[RunName]) -> RunName:
    """The run to plot where none was named.

    Raises:
        UsageError: if there is none, or more than one.
    """
    from qubastore.errors import UsageError
    from qubastore.runs.lookup import usual

    own = [run for run in runs if run.label_space != "transfer"]
    candidates = [
        run for dataset in {each.dataset for each in own} for run in usual([r for r in own if r.dataset == dataset])
    ]
    found = [run for run in candidates if run.dataset == "imagenet-val"] or candidates
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"{name} has {len(found) or 'no'} complete runs over unaltered images",
        found=", ".join(sorted(run.dataset for run in found)) or None,
        hint=f"--dataset {shlex.quote(found[0].dataset)}" if found else "qubastore show runs",
    )


def _bins(store: Store, run: RunName) -> list[tuple[Any, ...]]:
    return store.rows(
        "select low, high, n, accuracy, confidence from reliability_bins where run_id = ? order by bin", [run.run_id]
    )


def _draw(name: str, run: RunName, rows: Sequence[tuple[Any, ...]], figures: dict[str, float | None]) -> None:
    from qubastore.cli.output.grid import print_note, styled

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED
    numbers = max([len("images"), *(len(f"{row[2]:,}") for row in rows)])
    width = max(MIN_BAR, min(MAX_BAR, columns - numbers - 37))
    click.echo(styled(f"{name} on {run.place}", "bold"))
    click.echo(styled(f"{'confidence':<14}{'images':>{numbers}}  {'0':<{width - 1}}1  accuracy   gap", "bold"))
    for low, high, n, accuracy, confidence in rows:
        gap = accuracy - confidence
        click.echo(
            f"{low:.3f}-{high:.3f}   {n:>{numbers},}  {bar(accuracy, confidence, width)}  {accuracy:>8.3f} "
            + styled(f"{gap:+.3f}", "bold" if abs(gap) > 0.05 else "")
        )
    notes = [
        f"{metric} {figures[metric]:.4f}" for metric in ("accuracy", "ece", "ace") if figures.get(metric) is not None
    ]
    print_note("; ".join(notes))
    print_note("bars: accuracy; │: mean confidence of the bin; bins (low, high]; a gap below 0 is overconfidence")


def bar(value: float, mark: float, width: int) -> str:
    """A bar for a share, with a mark at another share, as text of `width` characters."""
    cells = ["█" if (cell + 0.5) / width <= value else "·" for cell in range(width)]
    cells[min(width - 1, int(mark * width))] = "│"
    return "".join(cells)
