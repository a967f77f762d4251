"""Print rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qubastore.metrics.dimensions import Dimension
    from qubastore.ranking.result import Ranking


def print_ranking(ranking: Ranking) -> None:
    """Print a ranking as a table that fits the terminal, with the best value of each dimension marked."""
    from qubastore.cli.output.grid import Column, print_grid, print_note
    from qubastore.metrics.dimensions import DIMENSIONS

    shown = [d for d in DIMENSIONS if any(model.values[d.name] is not None for model in ranking.models)]
    mixed = ranking.mixed
    partial = any(model.coverage < 1 for model in ranking.models)
    columns = [Column("#", right=True), Column("model", folds=True)]
    columns += [Column("source")] if mixed else []
    columns.append(Column("QUBA", right=True, style="bold"))
    columns += [Column("of\nweight", right=True)] if partial else []
    columns += [
        Column(heading(d, ranking.cost), right=True, style="" if ranking.weights[d.name] > 0 else "dim") for d in shown
    ]
    best = {d.name: _best(d, [model.values[d.name] for model in ranking.models]) for d in shown}
    rows = []
    for model in ranking.models:
        cells = [str(model.rank), model.model]
        cells += [model.source] if mixed else []
        cells.append(f"{model.quba:+.3f}")
        cells += [f"{model.coverage:.0%}"] if partial else []
        for dimension in shown:
            value = model.values[dimension.name]
            is_best, has_fault = value == best[dimension.name], dimension.name in model.faults
            cells.append(cell(dimension, value, ranking.cost) + _mark(is_best, has_fault, value))
        rows.append(cells)
    print_grid(columns, rows, marked=lambda cell: "*" in cell[-2:])
    names = ", ".join(
        f"{_cost_name(d, ranking.cost) or d.title} x{ranking.weights[d.name] / d.default_weight:g}"
        for d in _reweighted(ranking)
    )
    notes = [f"* best shown; ↑ higher is better, ↓ lower is better{f'; weights: {names}' if names else ''}"]
    for line in [*notes, *(f"note: {note}" for note in ranking.notes)]:
        print_note(line)


def heading(dimension: Dimension, cost: str | None = None) -> str:
    """The name, unit and direction of a dimension, or of the cost in its place, in two short lines."""
    if name := _cost_name(dimension, cost):
        return f"{name}\n↓"
    arrow = "↑" if dimension.better == "up" else "↓"
    unit = "M" if dimension.unit == "millions" else "%"
    return f"{_SHORT.get(dimension.title, dimension.title)}\n{unit}{arrow}"


_SHORT = {"accuracy": "acc", "adversarial": "adv", "corruption": "corr", "calibration": "calib", "balance": "bal"}


def cell(dimension: Dimension, value: Any, cost: str | None = None) -> str:
    """A value as text, in per cent or millions, or in the unit of the cost in its place; `-` where there is none."""
    if value is None:
        return "-"
    return f"{value:.4g}" if _cost_name(dimension, cost) else dimension.shown(value)


def _cost_name(dimension: Dimension, cost: str | None) -> str | None:
    """The name of the cost that takes a dimension's place; None if none does."""
    from qubastore.ranking.cost import dimension_label

    label = dimension_label(dimension.name, cost)
    return label if label != dimension.name else None


def _mark(best: bool, fault: bool, value: Any) -> str:
    return "" if value is None else "*" * best + "†" * fault


def _best(dimension: Dimension, values: list[Any]) -> Any:
    present = [value for value in values if value is not None]
    return (max if dimension.better == "up" else min)(present)


def _reweighted(ranking: Ranking) -> list[Dimension]:
    from qubastore.metrics.dimensions import DIMENSIONS

    return [d for d in DIMENSIONS if ranking.weights[d.name] != d.default_weight]
