"""`qubastore rank`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from qubastore.cli.moved import MovedOptions
from qubastore.cli.options import (
    bootstrap_options,
    cost_option,
    output_options,
    ranking_options,
    refuse_without,
    store_option,
)

if TYPE_CHECKING:
    from qubastore.ranking.request import RankRequest


@click.command("rank", cls=MovedOptions)
@ranking_options
@cost_option
@click.option("--top", type=click.IntRange(1), metavar="N", help="Show only the first N.")
@click.option("--pareto", metavar="NAME,...", help="Show only models that no other beats in all of these dimensions.")
@click.option(
    "--intervals",
    is_flag=True,
    help="Confidence intervals of scores and ranks, from a paired bootstrap over the images of measured models, and"
    " groups of ties. Options: --resamples, --level and --seed.",
)
@bootstrap_options
@store_option
@output_options
def command(
    request: RankRequest,
    cost: str | None,
    top: int | None,
    pareto: str | None,
    intervals: bool,
    resamples: int,
    level: float,
    seed: int,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Rank models by QUBA: the weighted mean of nine normalised quality dimensions. No inference.

    NAME is a dimension (accuracy, adversarial_robustness, corruption_robustness, ood_robustness, calibration_error,
    class_balance, object_focus, shape_bias, parameters), an alias (acc, adversarial, corruption, ood, calibration,
    balance, fairness, focus, shape, params, size) or the group robustness.

    See also: qubastore explain, qubastore sensitivity.

    \b
    Example:
      qubastore rank --weight calibration=2 --weight robustness=0.5 --top 10
      qubastore rank --where "architecture = 'cnn' and parameters_m < 30" --normalize store
      qubastore rank --pareto accuracy,calibration_error --where "accuracy > 0.8"
      qubastore rank --without-known-faults --top 10
      qubastore rank --intervals --resamples 2000
      qubastore rank --cost latency_ms@H100:bf16 --where "cost < 2"
      qubastore rank --suite digits --partial --format json
    """
    from qubastore.cli.output.ranking import print_ranking
    from qubastore.cli.output.rows import write_rows
    from qubastore.cli.weights import listed
    from qubastore.ranking.rank import rank
    from qubastore.store import open_store

    refuse_without("goes with --intervals", resamples=intervals, level=intervals, seed=intervals)
    request = replace(request, pareto=listed(pareto), top=top, cost=cost)
    if intervals:
        from qubastore.cli.output.intervals import show_intervals
        from qubastore.statistics.options import BootstrapOptions

        options = BootstrapOptions(resamples, level, seed)
        with open_store(store_path) as store:
            show_intervals(store, request, options, format_=format_, output=output)
        return
    with open_store(store_path) as store:
        ranking = rank(store, request)
    if format_ == "table" and output is None:
        print_ranking(ranking)
        return
    write_rows(ranking.columns, ranking.rows, format_=format_, output=output)
    for note in ranking.notes:
        click.echo(f"note: {note}", err=True)
