"""Print comparisons of two groups of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qubastore.analysis.table import Table


def write_comparisons(tables: Sequence[tuple[str, str, Table]], format_: str, output: str | None) -> None:
    """Print comparisons of two groups each, one below the other, or write them as one table."""
    from qubastore.cli.output.rows import write_rows

    if format_ == "table" and output is None:
        for _, _, table in tables:
            print_comparison(table)
        return
    columns = ("group_a", "group_b", *tables[0][2].columns)
    rows = [(a, b, *row) for a, b, table in tables for row in table.rows]
    write_rows(columns, rows, format_=format_, output=output)


def print_comparison(table: Table) -> None:
    """Print one comparison, with the better median of a significant difference marked.

    If the comparison is over pairs, the medians are those of the paired models.
    """
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False)
    console.print(f"[bold]{table.notes[0]}[/bold]")
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    paired = "paired_" if any(named["n_pairs"] for named in rows) else ""
    grid.add_column("dimension", no_wrap=True)
    headings = ("pairs", "paired a", "paired b") if paired else ("median a", "median b")
    for heading in (*headings, "a - b", "effect", "p (Holm)"):
        grid.add_column(heading, justify="right")
    for named in rows:
        significant = named["p_holm"] is not None and named["p_holm"] < 0.05
        better = _better(named) if significant else ""
        medians = [
            Text(_number(named[f"{paired}median_{group}"]), style="green" if better == group else "") for group in "ab"
        ]
        grid.add_row(
            f"{named['dimension']} {'↑' if named['better'] == 'up' else '↓'}",
            *((str(named["n_pairs"]), *medians) if paired else medians),
            _number(_difference(named), "+"),
            _number(named["effect_size"], "+", 2),
            Text(p_text(named["p_holm"]), style="bold" if significant else "dim"),
        )
    console.print(grid)
    for note in table.notes[1:]:
        console.print(f"note: {note}", style="dim")
    console.print("")


def _difference(named: dict[str, Any]) -> float | None:
    """The median difference of the pairs if there are pairs, else the difference of the groups' medians."""
    found: float | None = named["paired_difference"] if named["n_pairs"] else named["difference"]
    return found


def _better(named: dict[str, Any]) -> str:
    difference = _difference(named)
    if not difference:
        return ""
    return "a" if (difference > 0) == (named["better"] == "up") else "b"


def _number(value: float | None, sign: str = "", digits: int = 4) -> str:
    return "-" if value is None else f"{value:{sign}.{digits}f}" if abs(value) < 10 else f"{value:{sign}.1f}"


def p_text(value: float | None) -> str:
    """A p-value as tables show it."""
    return "-" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
