"""Print differences between two models, two runs, or measured and published figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from qubastore.analysis.table import Table


def print_difference(table: Table, format_: str, output: str | None) -> None:
    """Print a table of differences as a grid, or write its rows in another format."""
    from qubastore.cli.output.grid import print_note
    from qubastore.cli.output.rows import write_rows

    if format_ != "table" or output is not None:
        write_rows(table.columns, table.rows, format_=format_, output=output)
        for note in table.notes:
            click.echo(f"note: {note}", err=True)
        return
    named = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    if "contradicts" in table.columns:
        _print_published(named)
    else:
        _print_figures(named)
    for note in table.notes:
        print_note(f"note: {note}")


def _print_figures(rows: list[dict[str, Any]]) -> None:
    """Print both sides, their difference with its interval, and the test, in 80 columns."""
    from qubastore.cli.output.grid import Column, print_grid
    from qubastore.cli.output.groups import p_text

    columns = [Column("figure"), Column("a", right=True), Column("b", right=True), Column("a - b", right=True)]
    columns += [Column("interval", right=True), Column("p (Holm)", right=True)]
    cells = []
    for row in rows:
        p = row["p_holm"]
        marked = "" if p is None else p_text(p) + ("*" if p < 0.05 else " ")
        between = _between(row["difference_low"], row["difference_high"], "+")
        figures = [_number(row["a"]), _number(row["b"]), _number(row["difference"], "+")]
        cells.append([row["figure"], *figures, between, marked])
    print_grid(columns, cells, marked=lambda cell: cell.endswith("*"))


def _print_published(rows: list[dict[str, Any]]) -> None:
    """Print measured and published figures, model by model."""
    from qubastore.cli.output.grid import Column, print_grid, styled
    from qubastore.metrics.suites import QUBA_REFERENCE

    columns = [Column("dimension"), Column("measured", right=True), Column("interval", right=True)]
    columns += [Column("published", right=True), Column("", folds=True)]
    several = len({row["suite"] for row in rows}) > 1
    rows = [{**row, "other_suite": several and row["suite"] != QUBA_REFERENCE.name} for row in rows]
    for model, published_as in dict.fromkeys((row["model"], row["published_as"]) for row in rows):
        click.echo(styled(f"{model}, published as {published_as}", "bold"))
        mine = [row for row in rows if (row["model"], row["published_as"]) == (model, published_as)]
        print_grid(
            columns,
            [
                [
                    row["dimension"],
                    _number(row["measured"]),
                    _between(row["low"], row["high"]),
                    _number(row["published"]),
                    _remarks(row),
                ]
                for row in mine
            ],
        )


def _remarks(row: dict[str, Any]) -> str:
    fault = f"known fault: {row['known_fault']}" if row["known_fault"] else None
    suite = f"in {row['suite']}" if row["other_suite"] else None
    remarks = ["contradicted" if row["contradicts"] else None, suite, fault, row["other_protocol"]]
    return "; ".join(filter(None, remarks))


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"


def _between(low: float | None, high: float | None, sign: str = "") -> str:
    return "" if low is None else f"{_number(low, sign)} to {_number(high, sign)}"
