"""Print the explanation of a score."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qubastore.cli.output.ranking import cell

if TYPE_CHECKING:
    from qubastore.ranking.explain import Explanation


def print_explanation(model: str, explanation: Explanation) -> None:
    """Print the contribution of each dimension to a score, as a table with bars."""
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
    for row, each in zip(explanation.rows, explanation.contributions, strict=True):
        name, value, mean, std, score, weight, contribution = row
        dimension = by_name[each.dimension]
        shown = partial(cell, dimension, cost=explanation.cost)
        bar = "█" * max(1, round(12 * abs(contribution) / largest)) if contribution else ""
        spread = shown(std) if std is not None else "-"
        table.add_row(
            f"{name} {'↑' if dimension.better == 'up' else '↓'}",
            shown(value),
            shown(mean),
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
