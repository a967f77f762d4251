"""`qubastore sensitivity`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, ranking_options, refuse_without, store_option

if TYPE_CHECKING:
    from qubastore.ranking.request import RankRequest


@click.command("sensitivity")
@ranking_options
@click.option(
    "--flip",
    nargs=2,
    metavar="A B",
    help="Show instead the smallest change of each single weight that makes B overtake A.",
)
@click.option("--draws", type=click.IntRange(1), default=1000, show_default=True, help="Number of random weightings.")
@click.option(
    "--concentration",
    type=float,
    default=50.0,
    show_default=True,
    help="Of the Dirichlet distribution; higher stays closer to the chosen weights.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Show only the first N.")
@store_option
@output_options
def command(
    request: RankRequest,
    flip: tuple[str, str] | None,
    draws: int,
    concentration: float,
    seed: int,
    top: int | None,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Show how much a ranking depends on its weights.

    How often each model is first, in the top 5 and in the top 10, over random weights around the chosen ones; with
    --flip, the change of a weight that makes one model overtake another.

    \b
    Example:
      qubastore sensitivity --top 10
      qubastore sensitivity --weight calibration=2 --draws 10000 --format csv
      qubastore sensitivity --flip EVA02-b-21k Hiera-B-Plus
    """
    from qubastore.ranking.sensitivity import Flip, Standing, flips, sensitivity
    from qubastore.store import open_store

    drawn = flip is None
    refuse_without("has no effect with --flip", draws=drawn, concentration=drawn, seed=drawn)
    with open_store(store_path) as store:
        if flip is not None:
            a, b = flip
            ranking, found = flips(store, a, b, request)
            notes = [
                f"a is {a}, b is {b}: standardised values, higher is better; beyond the weight `needed`, b is above a",
                "the factor is for --weight; a dimension without a factor cannot change the order by itself",
            ]
            columns = tuple(field.name for field in fields(Flip))
            rows = [astuple(each) for each in found]
        else:
            ranking, standings = sensitivity(store, request, draws=draws, concentration=concentration, seed=seed)
            notes = [
                f"{draws:,} weights from a Dirichlet distribution around the chosen ones, concentration"
                f" {concentration:g}, seed {seed}; low and high: ranks of the middle 90 %"
            ]
            columns = tuple(field.name for field in fields(Standing))
            rows = [astuple(each) for each in standings]
    _write(columns, rows[:top], notes + ranking.notes, format_=format_, output=output)


def _write(
    columns: Sequence[str], rows: list[tuple[Any, ...]], notes: list[str], *, format_: str, output: str | None
) -> None:
    from qubastore.cli.output.rows import write_rows

    shares = [columns.index(name) for name in ("first", "top5", "top10") if name in columns]
    if format_ == "table" and output is None and shares:
        rows = [tuple(f"{100 * value:.1f} %" if n in shares else value for n, value in enumerate(row)) for row in rows]
    write_rows(columns, rows, format_=format_, output=output)
    for note in notes:
        click.echo(f"note: {note}", err=True)
