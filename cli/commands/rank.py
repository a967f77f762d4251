"""`qubastore rank`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, refuse_without, store_option
from qubastore.cli.output.explanation import print_explanation
from qubastore.cli.output.ranking import print_table
from qubastore.cli.weights import listed, parse_weights

if TYPE_CHECKING:
    from qubastore.store import Store


@click.command("rank")
@click.option(
    "--weight",
    "-w",
    "weights",
    multiple=True,
    metavar="NAME=FACTOR",
    help="Multiply the default weight of a dimension, alias or group; 0 drops it. Repeatable.",
)
@click.option("--top", type=click.IntRange(1), metavar="N", help="Show the first N only.")
@click.option("--where", metavar="SQL", help="Rank only models that meet a condition over the view `rankable`.")
@click.option(
    "--normalize",
    type=click.Choice(["published", "store"]),
    help="The study's constants, or trimmed mean and std of what is ranked.  [default: published for quba and"
    " quba-reference, else store]",
)
@click.option(
    "--source",
    metavar="NAME,...",
    help="Whose figures: measured, published, attached, all, or sources by name.  [default: measured where a measured"
    " model can be ranked, else published, else attached]",
)
@click.option("--suite", default="quba", show_default=True, help="Which datasets play which role.")
@click.option("--dimensions", metavar="NAME,...", help="Rank by these dimensions only.")
@click.option("--pareto", metavar="NAME,...", help="Show only models that no other beats in all of these dimensions.")
@click.option("--explain", metavar="MODEL", help="Show what each dimension contributes to this model's score.")
@click.option(
    "--flip", nargs=2, metavar="A B", help="The smallest change of each single weight that makes B overtake A."
)
@click.option(
    "--sensitivity",
    is_flag=True,
    help="How often each model is first, in the top 5, in the top 10, over weights drawn around the chosen ones.",
)
@click.option("--draws", type=click.IntRange(1), default=1000, show_default=True, help="With --sensitivity: how many.")
@click.option(
    "--concentration",
    type=float,
    default=50.0,
    show_default=True,
    help="With --sensitivity: of the Dirichlet distribution; larger means closer to the chosen weights.",
)
@click.option(
    "--intervals",
    is_flag=True,
    help="How sure scores and ranks are: a paired bootstrap over the images of measured models, and groups of ties.",
)
@click.option(
    "--resamples", type=click.IntRange(2), default=1000, show_default=True, help="With --intervals: how many."
)
@click.option("--level", type=float, default=0.95, show_default=True, help="With --intervals: of intervals and groups.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the draws.",
)
@click.option("--partial", is_flag=True, help="Rank models that lack a dimension on those that they have.")
@click.option(
    "--without-known-faults",
    is_flag=True,
    help="Leave out published figures that are known or likely to be wrong; docs/published.md lists them.",
)
@store_option
@output_options
def command(
    weights: tuple[str, ...],
    top: int | None,
    where: str | None,
    normalize: str | None,
    source: str | None,
    suite: str,
    dimensions: str | None,
    pareto: str | None,
    explain: str | None,
    flip: tuple[str, str] | None,
    sensitivity: bool,
    draws: int,
    concentration: float,
    intervals: bool,
    resamples: int,
    level: float,
    seed: int,
    partial: bool,
    without_known_faults: bool,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Rank models by QUBA: the weighted mean of nine normalised quality dimensions. No inference.

    NAME is a dimension (accuracy, adversarial_robustness, corruption_robustness, ood_robustness, calibration_error,
    class_balance, object_focus, shape_bias, parameters), an alias (acc, adversarial, corruption, ood, calibration,
    balance, fairness, focus, shape, params, size) or the group robustness.

    \b
    Example:
      qubastore rank --weight calibration=2 --weight robustness=0.5 --top 10
      qubastore rank --where "architecture = 'cnn' and parameters_m < 30" --normalize store
      qubastore rank --pareto accuracy,calibration_error --where "accuracy > 0.8"
      qubastore rank --explain ConvNextV2-B-21k --weight calibration=2
      qubastore rank --flip EVA02-b-21k Hiera-B-Plus
      qubastore rank --sensitivity --top 10
      qubastore rank --without-known-faults --top 10
      qubastore rank --intervals --resamples 2000
      qubastore rank --suite digits --partial --format json
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.ranking.explain import explain as explained
    from qubastore.ranking.rank import rank
    from qubastore.store import open_store

    options: dict[str, Any] = {
        "suite": suite,
        "source": source or "auto",
        "normalize": normalize or "auto",
        "partial": partial,
        "without_known_faults": without_known_faults,
        "where": where,
        "dimensions": listed(dimensions),
    }
    if explain and (pareto or top):
        raise click.UsageError("--explain shows one model: leave --pareto and --top out")
    if sum(map(bool, (explain, flip, sensitivity, pareto))) > 1:
        raise click.UsageError("choose one of --explain, --flip, --sensitivity and --pareto")
    refuse_without("goes with --intervals", resamples=intervals, level=intervals)
    refuse_without("goes with --sensitivity", draws=sensitivity, concentration=sensitivity)
    refuse_without("goes with --intervals or --sensitivity", seed=intervals or sensitivity)
    if intervals:
        if explain or flip or sensitivity:
            raise click.UsageError("--intervals goes with --pareto, and with no other view of the ranking")
        from qubastore.cli.output.intervals import show_intervals

        drawn = {"resamples": resamples, "level": level, "seed": seed, "pareto": listed(pareto)}
        with open_store(store_path) as store:
            show_intervals(store, parse_weights(weights), {**options, **drawn}, top, format_, output)
        return
    if flip or sensitivity:
        drawn = {"draws": draws, "concentration": concentration, "seed": seed} if sensitivity else {}
        with open_store(store_path) as store:
            found = _stability(store, flip, parse_weights(weights), {**options, **drawn})
        _print_stability(*found, top=top, format_=format_, output=output)
        return
    with open_store(store_path) as store:
        if explain:
            explanation = explained(store, explain, parse_weights(weights), **options)
        else:
            ranking = rank(store, parse_weights(weights), **options, pareto=listed(pareto), top=top)
    if explain:
        if format_ == "table" and output is None:
            print_explanation(explain, explanation)
        else:
            write_rows(explanation.columns, explanation.rows, format_=format_, output=output)
        return
    if format_ == "table" and output is None:
        print_table(ranking)
    else:
        write_rows(ranking.columns, ranking.rows, format_=format_, output=output)
        for note in ranking.notes:
            click.echo(f"note: {note}", err=True)


Answer = tuple[tuple[str, ...], list[tuple[Any, ...]], list[str]]
"""Columns, rows, notes."""


def _stability(
    store: Store, flip: tuple[str, str] | None, weights: dict[str, float], options: dict[str, Any]
) -> Answer:
    from dataclasses import astuple, fields

    from qubastore.ranking import sensitivity

    if flip:
        ranking, rows = sensitivity.flips(store, *flip, weights, **options)
        columns = tuple(field.name for field in fields(sensitivity.Flip))
        a, b = flip
        notes = [
            f"a is {a}, b is {b}: standardised values, up is better; beyond the weight `needed` {b} is above {a}",
            "the factor is what --weight takes; a dimension without one cannot do it alone",
        ]
        return columns, [astuple(row) for row in rows], notes + ranking.notes
    ranking, standings = sensitivity.sensitivity(store, weights, **options)
    columns = tuple(field.name for field in fields(sensitivity.Standing))
    notes = [
        f"{options['draws']:,} weights from a Dirichlet distribution around the chosen ones, concentration"
        f" {options['concentration']:g}, seed {options['seed']}; low and high: ranks of the middle 90 %"
    ]
    return columns, [astuple(row) for row in standings], notes + ranking.notes


def _print_stability(
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
    notes: list[str],
    *,
    top: int | None,
    format_: str,
    output: str | None,
) -> None:
    from qubastore.cli.output.rows import write_rows

    shares = [columns.index(name) for name in ("first", "top5", "top10") if name in columns]
    if format_ == "table" and output is None and shares:
        rows = [tuple(f"{100 * value:.1f} %" if n in shares else value for n, value in enumerate(row)) for row in rows]
    write_rows(columns, rows[:top], format_=format_, output=output)
    for note in notes:
        click.echo(f"note: {note}", err=True)
