"""Print or write rows as a table, CSV, JSON, NDJSON, Parquet or Markdown; all but tables and Parquet are streamed."""

from __future__ import annotations

import csv
import datetime
import decimal
import json
import math
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click

from qubastore.cli.output.files import ParquetTarget, open_target
from qubastore.cli.output.grid import aligned, cells_of

MAX_TABLE_ROWS = 200
"""Rows that a table shows, at most; a line below it names formats that show all."""


_MIN_CELL = 16
"""Minimum width of a wrapped cell: a table that needs narrower cells is printed as records."""


def write_rows(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    format_: str,
    output: str | None = None,
) -> None:
    """Print rows in a format, or write them to a file, which appears only when it is complete.

    Args:
        columns: Names; duplicates are numbered (`a`, `a_1`), so that no format drops one.
        rows: One sequence of values per row.
        format_: table, csv, json, ndjson, parquet or markdown.
        output: File; None means the screen.

    Raises:
        UsageError: for Parquet on a terminal.
        StoreError: if the file cannot be written.
    """
    columns = distinct(columns)
    if format_ == "parquet":
        with ParquetTarget(output) as target:
            _parquet(columns, rows, target.path)
            target.finish()
        return
    with open_target(output) as file:
        _WRITERS[format_](columns, rows, file)


def log_resampling(model: str) -> None:
    """Report on stderr which model is being resampled."""
    click.echo(f"resampling {model}", err=True)


def plain(value: Any) -> Any:
    """The value as JSON can represent it; NaN and infinities become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int, type(None))):
        return value
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def text(value: Any) -> str:
    """The value as a table shows it: six significant digits, empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {text(item)}" for key, item in value.items()) + "}"
    return str(value)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = (json.dumps(plain(v), ensure_ascii=False) if isinstance(v, (list, tuple, dict)) else v for v in row)
        writer.writerow([v.isoformat() if isinstance(v, datetime.datetime) else v for v in cells])


def _json(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: IO[str]) -> None:
    file.write("[")
    for index, row in enumerate(rows):
        file.write(",\n " if index else "\n ")
        file.write(_json_row(columns, row))
    file.write("\n]\n")


def _ndjson(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: IO[str]) -> None:
    for row in rows:
        file.write(_json_row(columns, row) + "\n")


def _json_row(columns: Sequence[str], row: Sequence[Any]) -> str:
    return json.dumps(dict(zip(columns, map(plain, row), strict=True)), ensure_ascii=False, allow_nan=False)


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: IO[str]) -> None:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"

    file.write(line(columns) + line("---" for _ in columns))
    for row in rows:
        file.write(line(text(value) for value in row))


def distinct(columns: Sequence[str]) -> list[str]:
    """The column names with duplicates numbered: `a, a` becomes `a, a_1`."""
    names: list[str] = []
    for name in columns:
        number, candidate = 0, name
        while candidate in names:
            number += 1
            candidate = f"{name}_{number}"
        names.append(candidate)
    return names


def _parquet(columns: Sequence[str], rows: Iterable[Sequence[Any]], path: Path) -> None:
    """Write rows through DuckDB, which needs neither pyarrow nor Polars."""
    import duckdb

    from qubastore.lake.ducklake import quote_name

    found = [tuple(row) for row in rows]
    values = list(zip(*found, strict=True)) or [()] * len(columns)
    named = ", ".join(f"{quote_name(name)} {_kind(column)}" for name, column in zip(columns, values, strict=True))
    with duckdb.connect() as connection:
        connection.execute(f"create table result ({named})")
        if found:
            connection.executemany(f"insert into result values ({', '.join('?' * len(columns))})", found)
        connection.table("result").write_parquet(str(path), compression="zstd")


_KINDS = {bool: "boolean", int: "bigint", float: "double", str: "varchar", datetime.date: "date"}


def _kind(values: Sequence[Any]) -> str:
    """DuckDB's type for the values of a column."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return "double"
    if kinds == {datetime.datetime}:
        aware = any(value.tzinfo is not None for value in values if value is not None)
        return "timestamptz" if aware else "timestamp"
    if kinds <= {list, tuple} and kinds:
        return f"{_kind([item for value in values if value is not None for item in value])}[]"
    return _KINDS.get(kinds.pop(), "varchar") if len(kinds) == 1 else "varchar"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: IO[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    iterator = iter(rows)
    shown = list(islice(iterator, MAX_TABLE_ROWS))
    more = next(iterator, None) is not None
    cells = [[text(value) for value in row] for row in shown]
    console = Console(file=file, highlight=False, soft_wrap=False)
    widths = [max([cells_of(name), *(cells_of(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    needed = sum(min(width, _MIN_CELL) + 2 for width in widths)
    if not console.is_terminal:
        console.width = max(80, sum(widths) + 2 * len(widths))
    elif needed > console.width and len(columns) > 1:
        _records(columns, cells, console)
        _tail(len(shown), more=more, file=file)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        numeric = any(isinstance(row[index], (int, float)) and not isinstance(row[index], bool) for row in shown)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(_literal, row))
    console.print(table)
    _tail(len(shown), more=more, file=file)


def _records(columns: Sequence[str], cells: Sequence[Sequence[str]], console: Any) -> None:
    """Print one row after another with a line per column, for tables wider than the terminal."""
    from rich.text import Text

    width = max(map(cells_of, columns))
    for number, row in enumerate(cells, start=1):
        console.print(Text(f"─ {number} ".ljust(min(console.width, 60), "─"), style="dim"))
        for name, value in zip(columns, row, strict=True):
            console.print(Text.assemble((aligned(name, width), "bold"), "  ", value), soft_wrap=True)


def _tail(count: int, *, more: bool, file: IO[str]) -> None:
    if more:
        file.write(f"first {count} rows; --format csv (or json, ndjson, parquet) gives all\n")
    elif count != 1:
        file.write(f"{count} rows\n")


def _literal(value: str) -> Any:
    from rich.text import Text

    return Text(value)


_WRITERS = {"table": _table, "csv": _csv, "json": _json, "ndjson": _ndjson, "markdown": _markdown}
