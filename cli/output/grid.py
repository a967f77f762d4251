"""Print a grid of short cells fast: rich takes a quarter of a second for a ranking of 326 models."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

MIN_FOLDED = 7
"""Minimum width of the column that is folded."""


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    Attributes:
        heading: Text of one or more lines.
        right: Whether it is aligned to the right.
        style: `bold`, `dim`, or empty.
        folds: Whether its cells are wrapped if the terminal is too narrow.
    """

    heading: str
    right: bool = False
    style: str = ""
    folds: bool = False


def print_grid(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, marked: Callable[[str], bool] = lambda _: False
) -> None:
    """Print rows under their headings; marked cells are green. In a pipe, nothing is wrapped or coloured.

    Args:
        columns: At most one folds.
        rows: One text per column.
        marked: Whether to mark a cell.
    """
    headings = [column.heading.split("\n") for column in columns]
    height = max(map(len, headings))
    widths = [max([*map(cells_of, heading), *(cells_of(row[i]) for row in rows)]) for i, heading in enumerate(headings)]
    folding = next((i for i, column in enumerate(columns) if column.folds), None)
    if folding is not None and sys.stdout.isatty():
        over = sum(widths) + len(widths) - 1 - shutil.get_terminal_size().columns
        widths[folding] = max(MIN_FOLDED, widths[folding] - max(0, over))
    lines = []
    for level in range(height):
        cells = [(["", *heading] if len(heading) < height else heading)[level] for heading in headings]
        lines.append(
            " ".join(styled(aligned(c, *at), "bold") for c, at in zip(cells, _places(columns, widths), strict=True))
        )
    for row in rows:
        parts = [_folded(cell, widths[i]) if i == folding else [cell] for i, cell in enumerate(row)]
        for line in range(max(map(len, parts))):
            cells = [part[line] if line < len(part) else "" for part in parts]
            lines.append(
                " ".join(
                    styled(aligned(cell, *at), "green" if marked(cell) else column.style)
                    for cell, column, at in zip(cells, columns, _places(columns, widths), strict=True)
                )
            )
    click.echo("\n".join(line.rstrip() for line in lines))


def print_note(text: str) -> None:
    """Print a dim line below a grid, wrapped at words if the terminal is too narrow."""
    if sys.stdout.isatty():
        text = textwrap.fill(text, shutil.get_terminal_size().columns, break_long_words=False)
    click.echo(styled(text, "dim"))


def styled(text: str, style: str) -> str:
    """The text in a style, if the terminal shows styles."""
    if not style or not text.strip() or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return (
        click.style(text, fg="green")
        if style == "green"
        else click.style(text, bold=style == "bold", dim=style == "dim")
    )


def _places(columns: Sequence[Column], widths: Sequence[int]) -> list[tuple[int, bool]]:
    return [(width, column.right) for width, column in zip(widths, columns, strict=True)]


def cells_of(text: str) -> int:
    """The width of a text in terminal cells: Chinese, Japanese and Korean letters take two, combining accents none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def aligned(text: str, width: int, right: bool = False) -> str:
    """The text, padded with spaces to a width in cells."""
    spaces = " " * max(0, width - cells_of(text))
    return spaces + text if right else text + spaces


def _folded(text: str, width: int) -> list[str]:
    """The text in pieces of at most `width` cells; `width` is at least 2."""
    pieces = [""]
    for letter in text:
        if pieces[-1] and cells_of(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
