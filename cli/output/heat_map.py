"""Print correlations as a coloured matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from qubastore.analysis.table import Table


def print_heat_map(table: Table) -> None:
    """Print the correlations as a matrix, negative ones in red and positive ones in blue."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from qubastore.metrics.dimensions import DIMENSIONS

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    values = {(a, b): (rho, p) for a, b, rho, p, _ in table.rows}
    shown = [d for d in DIMENSIONS if any(d.name in pair for pair in values)]
    grid = Grid(box=None, pad_edge=False, padding=(0, 0, 0, 1), header_style="bold")
    grid.add_column("")
    for dimension in shown:
        grid.add_column(dimension.title[:5], justify="right", width=6)
    for row in shown:
        cells = [Text(row.title)]
        for column in shown:
            if row is column:
                cells.append(Text("  1   ", style="dim"))
                continue
            rho, p = values.get((row.name, column.name)) or values[column.name, row.name]
            cells.append(_cell(rho, p))
        grid.add_row(*cells)
    console.print(grid)
    console.print("* p < 0.05, two-sided, not corrected", style="dim")
    for note in table.notes:
        console.print(f"note: {note}", style="dim")


def _cell(rho: float | None, p: float | None) -> Text:
    from rich.text import Text

    if rho is None or p is None:
        return Text("-     ")
    # From white to full colour, so that dark text stays readable.
    faded = round(255 * (1 - 0.75 * abs(rho)))
    colour = f"rgb({faded},{faded},255)" if rho > 0 else f"rgb(255,{faded},{faded})"
    return Text(f"{rho:+.2f}{'*' if p < 0.05 else ' '}", style=f"black on {colour}")
