"""`qubastore compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, pool_options, store_option

if TYPE_CHECKING:
    from qubastore.analyses import Table


@click.command("compare")
@click.argument("group_a", required=False)
@click.argument("group_b", required=False)
@click.option("--by", metavar="COLUMN", help="A and B are values of this column of `rankable`; none means all pairs.")
@pool_options
@store_option
@output_options
def command(
    group_a: str | None,
    group_b: str | None,
    by: str | None,
    source: str,
    suite: str,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Compare two groups of models, dimension by dimension: medians, effect size, a test corrected for nine.

    GROUP_A and GROUP_B are SQL conditions over the view `rankable`, or with --by values of a column. Models that pair
    up (the same label in both groups) are compared as pairs, with Wilcoxon's test; else the test is Mann-Whitney's.

    \b
    Example:
      qubastore compare "architecture = 'cnn'" "architecture = 'transformer'"
      qubastore compare supervised self-supervised --by paradigm
      qubastore compare --by paradigm --format csv
    """
    from itertools import combinations

    from qubastore.analyses import comparison
    from qubastore.cli.present import write_rows
    from qubastore.errors import check_name
    from qubastore.store import open_store

    if (group_a is None) != (group_b is None) or (group_a is None and by is None):
        raise click.UsageError("give two groups, or --by COLUMN to compare all its values")
    with open_store(store_path) as store:
        pairs: list[tuple[str, str]]
        if group_a is not None and group_b is not None:
            pairs = [(group_a, group_b)]
        else:
            check_name("column of rankable", str(by), store.sql("from rankable limit 0").columns)
            kind = {"measured": "source = 'measured'", "published": "source <> 'measured'"}.get(source, "true")
            query = f"select {by}::varchar from rankable where suite = ? and {kind} and {by} is not null group by 1"
            counted = store.rows(f"{query} having count(*) >= 2 order by count(*) desc, 1", [suite])
            pairs = list(combinations([row[0] for row in counted], 2))
            if not pairs:
                raise click.UsageError(f"{by} has no two values with two models each")
        tables = [(a, b, comparison(store, a, b, by=by, suite=suite, source=source)) for a, b in pairs]
    if format_ == "table" and output is None:
        for _, _, table in tables:
            print_comparison(table)
        return
    columns = ("group_a", "group_b", *tables[0][2].columns)
    rows = [(a, b, *row) for a, b, table in tables for row in table.rows]
    write_rows(columns, rows, format_=format_, output=output)


def print_comparison(table: Table) -> None:
    """One comparison; the better median of a difference that holds is marked."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False)
    console.print(f"[bold]{table.notes[0]}[/bold]")
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("dimension")
    for heading in ("median a", "median b", "a - b", "effect", "p (Holm)"):
        grid.add_column(heading, justify="right")
    for row in table.rows:
        named = dict(zip(table.columns, row, strict=True))
        holds = named["p_holm"] is not None and named["p_holm"] < 0.05
        better = _better(named) if holds else ""
        grid.add_row(
            f"{named['dimension']} {'↑' if named['better'] == 'up' else '↓'}",
            Text(_number(named["median_a"]), style="green" if better == "a" else ""),
            Text(_number(named["median_b"]), style="green" if better == "b" else ""),
            _number(named["difference"], "+"),
            _number(named["effect_size"], "+", 2),
            Text(_p(named["p_holm"]), style="bold" if holds else "dim"),
        )
    console.print(grid)
    for note in table.notes[1:]:
        console.print(f"note: {note}", style="dim")
    console.print("")


def _better(named: dict[str, Any]) -> str:
    if not named["difference"]:
        return ""
    return "a" if (named["difference"] > 0) == (named["better"] == "up") else "b"


def _number(value: float | None, sign: str = "", digits: int = 4) -> str:
    return "-" if value is None else f"{value:{sign}.{digits}f}" if abs(value) < 10 else f"{value:{sign}.1f}"


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
