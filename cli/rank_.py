"""`qubastore rank`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, refuse_without, store_option

if TYPE_CHECKING:
    from qubastore.metrics.dimensions import Dimension
    from qubastore.ranking import Explanation, Ranking
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
    from qubastore.cli.present import write_rows
    from qubastore.ranking import explain as explained
    from qubastore.ranking import rank
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
        from qubastore.cli.rank_intervals import show_intervals

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

    from qubastore import stability

    if flip:
        ranking, rows = stability.flips(store, *flip, weights, **options)
        columns = tuple(field.name for field in fields(stability.Flip))
        a, b = flip
        notes = [
            f"a is {a}, b is {b}: standardised values, up is better; beyond the weight `needed` {b} is above {a}",
            "the factor is what --weight takes; a dimension without one cannot do it alone",
        ]
        return columns, [astuple(row) for row in rows], notes + ranking.notes
    ranking, standings = stability.sensitivity(store, weights, **options)
    columns = tuple(field.name for field in fields(stability.Standing))
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
    from qubastore.cli.present import write_rows

    shares = [columns.index(name) for name in ("first", "top5", "top10") if name in columns]
    if format_ == "table" and output is None and shares:
        rows = [tuple(f"{100 * value:.1f} %" if n in shares else value for n, value in enumerate(row)) for row in rows]
    write_rows(columns, rows[:top], format_=format_, output=output)
    for note in notes:
        click.echo(f"note: {note}", err=True)


def listed(names: str | None) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in names.split(",")] if names else []


def parse_weights(texts: tuple[str, ...]) -> dict[str, float]:
    """Read NAME=FACTOR texts; factors of one name multiply.

    Raises:
        UsageError: where FACTOR is no number.
    """
    from qubastore.errors import UsageError

    weights: dict[str, float] = {}
    for text in texts:
        name, equals, factor = text.partition("=")
        try:
            value = float(factor)
        except ValueError:
            raise UsageError(
                f"--weight {text} is not NAME=FACTOR",
                expected="a number from 0 up after the =",
                found=repr(factor) if equals else "no =",
                hint=f"--weight {name or 'calibration'}=2",
            ) from None
        weights[name] = weights.get(name, 1.0) * value
    return weights


def print_table(ranking: Ranking) -> None:
    """The ranking as a table that fits the terminal, best value of each dimension marked."""
    from qubastore.cli.grid import Column, print_grid, print_note
    from qubastore.metrics.dimensions import DIMENSIONS

    index = {name: position for position, name in enumerate(ranking.columns)}
    shown = [d for d in DIMENSIONS if any(row[index[d.name]] is not None for row in ranking.rows)]
    mixed = ranking.mixed
    partial = any(row[index["coverage"]] < 1 for row in ranking.rows)
    columns = [Column("#", right=True), Column("model", folds=True)]
    columns += [Column("source")] if mixed else []
    columns.append(Column("QUBA", right=True, style="bold"))
    columns += [Column("of\nweight", right=True)] if partial else []
    columns += [Column(heading(d), right=True, style="" if ranking.weights[d.name] > 0 else "dim") for d in shown]
    best = {d.name: _best(d, [row[index[d.name]] for row in ranking.rows]) for d in shown}
    rows = []
    for row in ranking.rows:
        cells = [str(row[index["rank"]]), row[index["model"]]]
        cells += [row[index["source"]]] if mixed else []
        cells.append(f"{row[index['quba']]:+.3f}")
        cells += [f"{row[index['coverage']]:.0%}"] if partial else []
        for dimension in shown:
            value = row[index[dimension.name]]
            faults = ranking.faults.get((row[index["model"]], row[index["source"]]), {})
            cells.append(cell(dimension, value) + _mark(value == best[dimension.name], dimension.name in faults, value))
        rows.append(cells)
    print_grid(columns, rows, marked=lambda cell: "*" in cell[-2:])
    names = ", ".join(f"{d.title} x{ranking.weights[d.name] / d.default_weight:g}" for d in _reweighted(ranking))
    notes = [f"* best shown; ↑ up is better, ↓ down is better{f'; weights: {names}' if names else ''}"]
    for line in [*notes, *(f"note: {note}" for note in ranking.notes)]:
        print_note(line)


def print_explanation(model: str, explanation: Explanation) -> None:
    """What makes up a score, as a table with bars."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from qubastore.metrics.dimensions import DIMENSIONS

    console = Console(highlight=False)
    by_name = {d.name: d for d in DIMENSIONS}
    console.print(
        f"[bold]{model}[/bold]: {explanation.quba:+.3f}, place {explanation.rank} of {explanation.n_models}"
        f" ({explanation.source})\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("dimension", "value", "typical", "std", "z", "weight", "adds"):
        table.add_column(name, justify="left" if name == "dimension" else "right", no_wrap=True)
    table.add_column("", no_wrap=True)
    largest = max((abs(row[-1]) for row in explanation.rows), default=0) or 1
    for name, value, mean, std, score, weight, contribution in explanation.rows:
        dimension = by_name[name]
        bar = "█" * max(1, round(12 * abs(contribution) / largest)) if contribution else ""
        spread = cell(dimension, std) if std is not None else "-"
        table.add_row(
            f"{name} {'↑' if dimension.better == 'up' else '↓'}",
            cell(dimension, value),
            cell(dimension, mean),
            spread,
            f"{score:+.2f}",
            f"{weight:.3g}",
            f"{contribution:+.3f}",
            Text(bar, style="green" if contribution > 0 else "red"),
        )
    console.print(table)
    faults = [f"{name} has a known fault: {reason}" for name, reason in explanation.faults.items()]
    for note in [*faults, *explanation.notes]:
        console.print(f"note: {note}", style="dim")


def heading(dimension: Dimension) -> str:
    """A dimension's name, unit and direction in two short lines."""
    arrow = "↑" if dimension.better == "up" else "↓"
    unit = "M" if dimension.unit == "millions" else "%"
    return f"{_SHORT.get(dimension.title, dimension.title)}\n{unit}{arrow}"


_SHORT = {"accuracy": "acc", "adversarial": "adv", "corruption": "corr", "calibration": "calib", "balance": "bal"}


def cell(dimension: Dimension, value: Any) -> str:
    """A value in its column: per cent, or millions."""
    return "-" if value is None else dimension.shown(value)


def _mark(best: bool, fault: bool, value: Any) -> str:
    return "" if value is None else "*" * best + "†" * fault


def _best(dimension: Dimension, values: list[Any]) -> Any:
    there = [value for value in values if value is not None]
    return (max if dimension.better == "up" else min)(there)


def _reweighted(ranking: Ranking) -> list[Dimension]:
    from qubastore.metrics.dimensions import DIMENSIONS

    return [d for d in DIMENSIONS if ranking.weights[d.name] != d.default_weight]
