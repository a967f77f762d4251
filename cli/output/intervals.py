"""Print a ranking with intervals: `qubastore rank --intervals`."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from qubastore.ranking.intervals import Placed
    from qubastore.ranking.request import RankRequest
    from qubastore.ranking.result import Ranking
    from qubastore.statistics.options import BootstrapOptions
    from qubastore.store import Store


def show_intervals(
    store: Store, request: RankRequest, options: BootstrapOptions, *, format_: str, output: str | None
) -> None:
    """Rank with intervals, and print or write the result."""
    from qubastore.cli.output.rows import log_resampling, write_rows
    from qubastore.metrics.dimensions import DIMENSIONS
    from qubastore.ranking.intervals import rank_intervals

    ranking, placed = rank_intervals(store, request, options, log=log_resampling)
    if format_ == "table" and output is None:
        _print(ranking, placed)
        return
    fronted = bool(request.pareto)
    columns = ["rank", "rank_low", "rank_high", "group", "model", "source", "quba", "quba_low", "quba_high"]
    columns += ["on_front"] if fronted else []
    for dimension in DIMENSIONS:
        columns += [dimension.name, f"{dimension.name}_low", f"{dimension.name}_high"]
    write_rows(columns, [_row(each, fronted) for each in placed], format_=format_, output=output)
    for note in ranking.notes:
        click.echo(f"note: {note}", err=True)


def _row(each: Placed, fronted: bool) -> list[Any]:
    row: list[Any] = [each.rank, *(each.rank_interval or (None, None)), each.group, each.model, each.source]
    row += [each.quba, *(each.quba_interval or (None, None))]
    row += [each.on_front] if fronted else []
    for name, value in each.values.items():
        row += [value, *each.intervals.get(name, (None, None))]
    return row


def _print(ranking: Ranking, placed: Sequence[Placed]) -> None:
    from qubastore.cli.output.grid import Column, print_grid, print_note
    from qubastore.cli.output.ranking import cell, heading
    from qubastore.metrics.dimensions import DIMENSIONS

    mixed = ranking.mixed
    fronted = any(each.on_front is not None for each in placed)
    columns = [Column("#", right=True), Column("ranks", right=True), Column("group", right=True)]
    columns += [Column("model", folds=True)]
    columns += [Column("source")] if mixed else []
    columns += [Column("QUBA", right=True, style="bold"), Column("interval", right=True)]
    columns += [Column("on\nfront", right=True)] if fronted else []
    rows = []
    for each in placed:
        row = [str(each.rank), _range(each.rank_interval), str(each.group or "-"), each.model]
        row += [each.source] if mixed else []
        row += [f"{each.quba:+.3f}", _pair(each.quba_interval)]
        row += [_share(each.on_front)] if fronted else []
        rows.append(row)
    shown = [
        d for d in DIMENSIONS if d.name != "parameters" and any(each.values[d.name] is not None for each in placed)
    ]
    cells = []
    for each in placed:
        cells.append([f"{cell(d, each.values[d.name])}{_half(each.intervals.get(d.name))}" for d in shown])
    wide = [Column(heading(d), right=True) for d in shown]
    needed = sum(max(map(len, column)) + 1 for column in zip(*rows, strict=True)) + 10 * len(wide)
    fits = not sys.stdout.isatty() or needed <= shutil.get_terminal_size().columns
    if fits:
        columns += wide
        rows = [row + more for row, more in zip(rows, cells, strict=True)]
    print_grid(columns, rows)
    notes = [
        "±: half the width of the interval"
        if fits
        else "to see the dimensions: widen the terminal, or use --format csv"
    ]
    for line in [*notes, *(f"note: {note}" for note in ranking.notes)]:
        print_note(line)


def _range(interval: tuple[int, int] | None) -> str:
    if interval is None:
        return "-"
    return str(interval[0]) if interval[0] == interval[1] else f"{interval[0]}-{interval[1]}"


def _pair(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _half(interval: tuple[float, float] | None) -> str:
    if interval is None or math.isnan(interval[0]):
        return ""
    return f"±{50 * (interval[1] - interval[0]):.1f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
