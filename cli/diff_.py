"""`qubastore diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.analyses import Table
    from qubastore.pairs import Pair
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
@click.option("--suite", default="quba", show_default=True, help="Models: whose roles give the dimensions.")
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
    suite: str,
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

    \b
    Example:
      qubastore diff timm:resnet50.a1_in1k timm:resnet50.a2_in1k
      qubastore diff 3f2a 91bc --show flips
      qubastore diff A B --show paths --dataset imagenet-val | head -50
      qubastore diff --against published
    """
    from qubastore import differences
    from qubastore.cli.present import write_rows
    from qubastore.store import open_store

    drawn: dict[str, Any] = {"resamples": resamples, "level": level, "seed": seed}
    if against is not None:
        if show != "figures" or dataset is not None:
            raise click.UsageError("the published table has figures alone: leave --show and --dataset out")
        with open_store(store_path) as store:
            table = differences.against_published(store, names, suite=suite, progress=_say, **drawn)
        _print(table, format_, output)
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
            table = differences.of_models(store, *names, suite=suite, progress=_say, **drawn)
    if show == "paths" and format_ == "table" and output is None:
        click.echo("\n".join(row[0] for row in table.rows))
    elif show == "figures":
        _print(table, format_, output)
    else:
        write_rows(table.columns, table.rows, format_=format_, output=output)


def _say(model: str) -> None:
    click.echo(f"resampling {model}", err=True)


def _images(store: Store, names: tuple[str, ...], runs: Any, show: str, dataset: str | None) -> Table:
    from qubastore import differences, pairs

    if runs is None:
        both: Pair = pairs.pair(store, *names, dataset=dataset)
    else:
        if dataset is not None:
            raise click.UsageError("two runs are over one dataset: leave --dataset out")
        both = differences.run_pair(*runs)
    return {**pairs.TABLES, "paths": pairs.paths}[show](store, [both])


def _print(table: Table, format_: str, output: str | None) -> None:
    from qubastore.cli.present import write_rows

    rows = table.rows
    columns = table.columns
    if format_ == "table" and output is None:
        rows = [tuple(_cell(name, value) for name, value in zip(columns, row, strict=True)) for row in rows]
        keep = [n for n, name in enumerate(columns) if name != "p_value" and not name.endswith(("_low", "_high"))]
        keep = [n for n in keep if columns[n] not in ("low", "high")]
        joined = [_with_intervals(columns, row, keep) for row in rows]
        write_rows([columns[n] for n in keep], joined, format_=format_)
    else:
        write_rows(columns, rows, format_=format_, output=output)
    for note in table.notes:
        click.echo(f"note: {note}", err=True)


def _with_intervals(columns: tuple[str, ...], row: tuple[Any, ...], keep: list[int]) -> tuple[Any, ...]:
    """A row whose values carry their intervals: `0.8123 (0.8001 to 0.8240)`."""
    named = dict(zip(columns, row, strict=True))
    cells = []
    for n in keep:
        name, value = columns[n], row[n]
        low, high = (named.get(f"{name}_low"), named.get(f"{name}_high"))
        if name == "measured":
            low, high = named["low"], named["high"]
        cells.append(value if not low else f"{value} ({low} to {high})")
    return tuple(cells)


def _cell(name: str, value: Any) -> Any:
    if name == "contradicts":
        return "yes" if value else ""
    if name in ("p_value", "p_holm") and value is not None:
        return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
    if isinstance(value, float):
        return f"{value:{'+' if name == 'difference' else ''}.4f}"
    return "" if value is None else value
