"""Rows as people and programs read them: tables, CSV, JSON, NDJSON, Parquet, Markdown. Streams, except for tables."""

from __future__ import annotations

import contextlib
import csv
import datetime
import decimal
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click

from qubastore.cli.output.grid import aligned, cells_of
from qubastore.errors import StoreError, UsageError

MAX_TABLE_ROWS = 200
"""Rows that a table shows before it points to the other formats."""


_MIN_CELL = 16
"""Width below which a cell is not folded: a table that would need it is printed as records."""


def write_rows(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    format_: str,
    output: str | None = None,
) -> None:
    """Print rows in a format, or write them to a file, which appears only when it is whole.

    Args:
        columns: Names; one that comes again is numbered (`a`, `a_1`), so that no format loses it.
        rows: One sequence of values per row.
        format_: table, csv, json, ndjson, parquet or markdown.
        output: File; None means the screen.

    Raises:
        UsageError: for Parquet without a file, on a terminal.
        StoreError: where the file cannot be written.
    """
    columns = distinct(columns)
    if format_ == "parquet":
        with ParquetTarget(output) as target:
            _parquet(columns, rows, target.path)
            target.finish()
        return
    with _target(output) as file:
        _WRITERS[format_](columns, rows, file)


def log_resampling(model: str) -> None:
    """Progress of what resamples one model after another, away from the answer."""
    click.echo(f"resampling {model}", err=True)


def write_text(text: str, output: str) -> None:
    """Write a text to a file, which appears only when it is whole.

    Raises:
        StoreError: where it cannot be written.
    """
    with _target(output) as file:
        file.write(text)


def plain(value: Any) -> Any:
    """A value as JSON can hold it; NaN and infinities become null."""
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
    """A value as a table shows it: six significant digits, empty for null."""
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


def check_writable(output: str) -> None:
    """See that a file can be written, before the work that fills it.

    Raises:
        StoreError: where it cannot.
    """
    folder = Path(output).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "no permission" if folder.is_dir() else f"{folder} is not a folder"
        raise StoreError(f"{output} cannot be written", found=found, hint="choose another -o FILE")


class ParquetTarget:
    """Where DuckDB writes a Parquet file, which appears, or goes to standard output, when it is whole.

    Args:
        output: File; None means standard output.

    Attributes:
        path: What DuckDB writes to.

    Raises:
        UsageError: without a file, on a terminal.
        StoreError: where the file cannot be written.
    """

    def __init__(self, output: str | None) -> None:
        if output is None and sys.stdout.isatty():
            raise UsageError("Parquet is not for a terminal", hint="-o FILE.parquet, or | another-program")
        if output is not None:
            check_writable(output)
        self._output = output
        self._folder = tempfile.mkdtemp(prefix=".qubastore-", dir=Path(output).parent if output else None)
        self.path = Path(self._folder, "result.parquet").resolve()

    def finish(self) -> None:
        """Hand out what was written."""
        if self._output is None:
            with self.path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
        else:
            self.path.replace(self._output)
            Path(self._output).chmod(0o644)

    def __enter__(self) -> ParquetTarget:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _target(output: str | None) -> Iterator[IO[Any]]:
    if output is None:
        yield sys.stdout
        return
    path = Path(output)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise StoreError(f"{output} cannot be written", found=error.strerror, hint="choose another -o FILE") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
        Path(temporary).replace(path)
        path.chmod(0o644)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
    """Column names, each once: `a, a` becomes `a, a_1`."""
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

    found = [tuple(row) for row in rows]
    values = list(zip(*found, strict=True)) or [()] * len(columns)
    named = ", ".join(f"{_quoted(name)} {_kind(of)}" for name, of in zip(columns, values, strict=True))
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


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
    """One row after another, a line per column: for tables wider than the terminal."""
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
