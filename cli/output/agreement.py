"""Print agreement and differences of pairs of models, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.output.grid import print_note
from qubastore.cli.output.groups import p_text
from qubastore.cli.output.rows import write_rows

if TYPE_CHECKING:
    from qubastore.analysis.pairs import Pair
    from qubastore.analysis.table import Table

_DEFAULTS = {"condition": "clean", "framing": "model", "precision": "fp32", "decoder": "pillow"}
"""Column -> its default value; the column is shown only if a row has another value."""


def print_pairs(pairs: Sequence[Pair], table: Table) -> None:
    """Print the rows of each pair below the names of its models; other formats have every column and digit."""
    for models in pairs:
        click.echo(click.style(f"a: {models.a}\nb: {models.b}", bold=True))
        _print_pair(table.columns[2:], [row[2:] for row in table.rows if row[:2] == (models.a, models.b)])
        click.echo("")
    for note in table.notes:
        print_note(f"note: {note}")


def _print_pair(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    shown = [name for name in columns if name != "p_value" and _is_shown(name, named)]
    cells = [tuple(_cell(name, row[name]) for name in shown) for row in named]
    write_rows(shown, cells, format_="table")


def _is_shown(name: str, rows: Sequence[dict[str, Any]]) -> bool:
    return name not in _DEFAULTS or any(row[name] != _DEFAULTS[name] for row in rows)


def _cell(name: str, value: Any) -> Any:
    if name == "p_holm":
        return p_text(value)
    return f"{value:{'+' if name == 'difference' else ''}.4f}" if isinstance(value, float) else value
