"""`qubastore diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, store_option
from qubastore.cli.output.differences import print_difference

if TYPE_CHECKING:
    from qubastore.analysis.pairs import Pair
    from qubastore.analysis.table import Table
    from qubastore.store import Store


@click.command("diff")
@click.argument("names", nargs=-1, metavar="A B")
@click.option(
    "--against",
    type=click.Choice(["published"]),
    help="Measured models, all or those named, against the study's table.",
)
@click.option(
    "--show",
    type=click.Choice(["figures", "flips", "classes", "factors", "paths"]),
    default="figures",
    show_default=True,
    help="Figures with intervals and tests; or images that flip, by class, by factor, or their paths alone.",
)
@click.option("--dataset", "-d", metavar="NAME", help="All but figures: only this dataset.")
@click.option(
    "--suite",
    help="Models: whose roles give the dimensions.  [default: quba; against published quba-reference, and quba where a"
    " model has no more]",
)
@click.option("--resamples", type=click.IntRange(2), default=1000, show_default=True, help="How many.")
@click.option("--level", type=float, default=0.95, show_default=True, help="Of the intervals.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the resamples.")
@store_option
@output_options
def command(
    names: tuple[str, ...],
    against: str | None,
    show: str,
    dataset: str | None,
    suite: str | None,
    resamples: int,
    level: float,
    seed: int,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """What differs between two models, two runs, or what was measured and what was published. No inference.

    A and B are measured models, or the starts of the ids of two runs. Differences are paired: both sides see the same
    resamples of the images. --show paths prints files, the most confident mistakes first, for another program.

    --against published compares in the suite quba-reference, which resizes and crops every image as the study does;
    figures that only quba has are shown and marked. It says what is known to be wrong with a published figure.

    \b
    Example:
      qubastore diff timm:resnet50.a1_in1k timm:resnet50.a2_in1k
      qubastore diff 3f2a 91bc --show flips
      qubastore diff A B --show paths --dataset imagenet-val | head -50
      qubastore diff --against published
    """
    from qubastore.analysis import differences
    from qubastore.analysis.against_published import against_published
    from qubastore.cli.output.rows import say_resampling, write_rows
    from qubastore.metrics.suites import QUBA
    from qubastore.store import open_store

    drawn: dict[str, Any] = {"resamples": resamples, "level": level, "seed": seed}
    if against is not None:
        if show != "figures" or dataset is not None:
            raise click.UsageError("the published table has figures alone: leave --show and --dataset out")
        with open_store(store_path) as store:
            table = against_published(store, names, suite=suite, progress=say_resampling, **drawn)
        print_difference(table, format_, output)
        return
    if len(names) != 2:
        raise click.UsageError("give two models or two runs, or --against published")
    with open_store(store_path) as store:
        runs = differences.named_pair(store, *names)
        if show != "figures":
            table = _images(store, names, runs, show, dataset)
        elif runs is not None:
            table = differences.of_runs(store, *runs, **drawn)
        else:
            table = differences.of_models(store, *names, suite=suite or QUBA.name, progress=say_resampling, **drawn)
    if show == "paths" and format_ == "table" and output is None:
        click.echo("\n".join(row[0] for row in table.rows))
    elif show == "figures":
        print_difference(table, format_, output)
    else:
        write_rows(table.columns, table.rows, format_=format_, output=output)


def _images(store: Store, names: tuple[str, ...], runs: Any, show: str, dataset: str | None) -> Table:
    from qubastore.analysis import agreement, differences, pairs

    if runs is None:
        both: Pair = pairs.pair(store, *names, dataset=dataset)
    else:
        if dataset is not None:
            raise click.UsageError("two runs are over one dataset: leave --dataset out")
        both = differences.run_pair(*runs)
    return agreement.TABLES[show](store, [both])
