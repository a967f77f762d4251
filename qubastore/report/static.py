"""Figures (SVG and PNG) and tables (Markdown and LaTeX) for papers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.analysis.correlations import correlations
from qubastore.errors import StoreError, UsageError
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.metrics.suites import QUBA
from qubastore.ranking.rank import rank
from qubastore.ranking.request import PoolRequest, RankRequest
from qubastore.ranking.result import Ranking
from qubastore.report.collect import check_models, only_models
from qubastore.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 30
"""The most models in the figure of the ranking."""
MAX_RELIABILITY = 12
"""The most models with a reliability diagram."""
# The Okabe-Ito palette, which is safe for colour-blind readers.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def write_static(
    store: Store,
    folder: Path,
    *,
    where: str | None = None,
    models: Sequence[str] = (),
    suite: str = QUBA.name,
    without_known_faults: bool = False,
) -> list[Path]:
    """Rank, and write the ranking as tables and figures for papers.

    Args:
        store: An open store.
        folder: The output folder; created if it does not exist.
        where: SQL condition on `rankable`.
        models: Names; if given, only these models.
        suite: Name of the suite.
        without_known_faults: As in `RankRequest`.

    Returns:
        The files: `ranking` as .md, .tex, .svg and .png, and `scatter`, `correlations` (at least three models) and
        `reliability` (measured models) as .svg and .png.

    Raises:
        UsageError: if nothing can be ranked, or matplotlib is not installed.
        StoreError: if the folder cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError("figures need matplotlib", hint="pip install 'qubastore[figures]'") from None
    if models:
        check_models(
            models, [row[0] for row in store.rows("select model from rankable where suite = ?", [suite])], suite
        )
        where = only_models(where, models)
    ranking = _ranked(store, suite, where, without_known_faults=without_known_faults)
    names = [model.model for model in ranking.models if model.source == "measured"][:MAX_RELIABILITY]
    figures: dict[str, Figure] = {}
    # Names are plain text: a dollar sign must not begin a formula.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "qubastore", "font.size": 9, "text.parse_math": False}
    ):
        figures["ranking"] = _ranking_figure(ranking)
        figures["scatter"] = _scatter(store, ranking, suite)
        if len(ranking.models) >= 3:
            figures["correlations"] = _heat_map(store, where, suite, without_known_faults=without_known_faults)
        if bins := _reliability_bins(store, names, suite):
            figures["reliability"] = _reliability(bins)
        drawn = {f"{name}.{kind}": _bytes(figure, kind) for name, figure in figures.items() for kind in ("svg", "png")}
    texts = {"ranking.md": markdown(ranking), "ranking.tex": latex(ranking)}
    content = {**{name: text.encode() for name, text in texts.items()}, **drawn}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            # A file appears only once it is complete.
            temporary = folder / f".{name}.part"
            temporary.write_bytes(data)
            temporary.replace(folder / name)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written", found=error.strerror, hint="--static ANOTHER-DIR") from None
    return [folder / name for name in sorted(content)]


def _ranked(store: Store, suite: str, where: str | None, *, without_known_faults: bool) -> Ranking:
    """Rank; if no model has every dimension, rank each on those that it has.

    Raises:
        UsageError: if nothing can be ranked either way.
    """
    try:
        return rank(store, RankRequest(suite=suite, where=where, without_known_faults=without_known_faults))
    except UsageError:
        request = RankRequest(suite=suite, where=where, without_known_faults=without_known_faults, partial=True)
        found = rank(store, request)
    note = "no model has every dimension: each is ranked on those that it has, as with rank --partial"
    return replace(found, notes=[note, *found.notes])


def markdown(ranking: Ranking) -> str:
    """The ranking as a Markdown table, the best value of each dimension bold."""
    lines = _table(ranking, lambda text: f"**{text}**", _markdown_text, ("↑", "↓"))
    rows = [f"| {' | '.join(line)} |" for line in lines]
    rule = "|" + "|".join(["---:", ":---", *["---:"] * (len(lines[0]) - 2)]) + "|"
    notes = "".join(f"\n{note}.\n" for note in ranking.notes)
    return "\n".join([rows[0], rule, *rows[1:]]) + "\n" + notes


def latex(ranking: Ranking) -> str:
    """The ranking as a LaTeX table (booktabs), the best value of each dimension bold."""
    lines = _table(ranking, lambda text: rf"\textbf{{{text}}}", latex_text, (r"$\uparrow$", r"$\downarrow$"))
    rows = [f"{' & '.join(line)} \\\\" for line in lines]
    notes = "".join(f"% {note}\n" for note in ranking.notes)
    columns = "rl" + "r" * (len(lines[0]) - 2)
    body = "\n".join(rows[1:])
    return (
        f"{notes}% \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{rows[0]}\n\\midrule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def latex_text(text: str) -> str:
    """Text in one line, with TeX's special characters escaped."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def _markdown_text(text: str) -> str:
    text = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|~" else letter for letter in text)


def _table(
    ranking: Ranking, bold: Callable[[str], str], plain: Callable[[str], str], arrows: tuple[str, str]
) -> list[list[str]]:
    """Header and rows as text: rank, model, QUBA, and the dimensions that at least one model has."""
    shown = [d for d in DIMENSIONS if any(model.values[d.name] is not None for model in ranking.models)]
    best = {
        d.name: (max if d.better == "up" else min)(
            value for model in ranking.models if (value := model.values[d.name]) is not None
        )
        for d in shown
    }
    lines = [[plain("#"), "model", "QUBA", *(f"{d.title} {arrows[d.better == 'down']}" for d in shown)]]
    for model in ranking.models:
        line = [str(model.rank), plain(model.model), f"{model.quba:.3f}"]
        for dimension in shown:
            value = model.values[dimension.name]
            text = "–" if value is None else dimension.shown(value)
            line.append(bold(text) if value is not None and value == best[dimension.name] else text)
        lines.append(line)
    return lines


def _ranking_figure(ranking: Ranking) -> Figure:
    from matplotlib.figure import Figure

    models = ranking.models[:SHOWN]
    figure = Figure(figsize=(5.5, 0.8 + 0.19 * len(models)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(models)), [model.quba for model in models], color=COLOURS[0])
    axes.set_yticks(range(len(models)), [f"{model.model}  {model.rank}" for model in models])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel("QUBA (standard deviations)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _scatter(store: Store, ranking: Ranking, suite: str) -> Figure:
    """QUBA against parameters, coloured by architecture."""
    from matplotlib.figure import Figure

    query = "select model, source, architecture from rankable where suite = ?"
    kinds = {(model, source): architecture or "unknown" for model, source, architecture in store.rows(query, [suite])}
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    points = [
        (kinds.get((model.model, model.source), "unknown"), model.values["parameters"], model.quba)
        for model in ranking.models
        if model.values["parameters"]
    ]
    for number, kind in enumerate(sorted({kind for kind, *_ in points})):
        mine = [point[1:] for point in points if point[0] == kind]
        x, y = zip(*mine, strict=True)
        marker = "os^Dvp*"[number % 7]
        axes.scatter(x, y, s=16, marker=marker, color=COLOURS[number % len(COLOURS)], alpha=0.8, label=kind)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("parameters (millions)")
    axes.set_ylabel("QUBA")
    axes.grid(alpha=0.25)
    if points:
        axes.legend(frameon=False)
    return figure


def _heat_map(store: Store, where: str | None, suite: str, *, without_known_faults: bool) -> Figure:
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    found = correlations(store, PoolRequest(suite, where=where, without_known_faults=without_known_faults))
    order = {d.name: number for number, d in enumerate(DIMENSIONS)}
    values = np.full((len(order), len(order)), np.nan)
    for one, other, rho, *_ in found.rows:
        values[order[one], order[other]] = values[order[other], order[one]] = math.nan if rho is None else rho
    figure = Figure(figsize=(5.5, 4.6), layout="constrained")
    axes = figure.subplots()
    colours = LinearSegmentedColormap.from_list("rho", [COLOURS[1], "#ffffff", COLOURS[0]])
    image = axes.imshow(values, cmap=colours, vmin=-1, vmax=1)
    titles = [d.title for d in DIMENSIONS]
    axes.set_xticks(range(len(titles)), titles, rotation=40, ha="right")
    axes.set_yticks(range(len(titles)), titles)
    for (one, other), rho in np.ndenumerate(values):
        if not np.isnan(rho):
            axes.text(other, one, f"{rho:+.2f}", ha="center", va="center", fontsize=7)
    figure.colorbar(image, label="Spearman's rho", shrink=0.8)
    return figure


def _reliability_bins(store: Store, models: Sequence[str], suite: str) -> dict[str, list[tuple[Any, ...]]]:
    rows = store.rows(
        """
        select bins.model, bins.low, bins.high, bins.accuracy, bins.confidence
        from reliability_bins as bins
        join dimension_runs as answer on answer.run_id = bins.run_id
        where answer.suite = ? and answer.role = 'clean' and list_contains(?, answer.model)
        order by all
        """,
        [suite, list(models)],
    )
    return {name: [row[1:] for row in rows if row[0] == name] for name in models if any(row[0] == name for row in rows)}


def _reliability(bins: dict[str, list[tuple[Any, ...]]]) -> Figure:
    from matplotlib.figure import Figure

    columns = min(4, len(bins))
    lines = math.ceil(len(bins) / columns)
    figure = Figure(figsize=(2.1 * columns + 0.6, 2.2 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (model, rows) in zip(grid.flat, bins.items(), strict=False):
        for low, high, accuracy, _ in rows:
            axes.bar(low, accuracy, high - low, align="edge", color=COLOURS[0], edgecolor="white", linewidth=0.5)
        axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=0.8)
        axes.set_title(model, fontsize=7, wrap=True)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    for axes in list(grid.flat)[len(bins) :]:
        axes.set_visible(False)
    figure.supxlabel("confidence")
    figure.supylabel("accuracy")
    return figure


def _bytes(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    # Without a date: the same store gives the same file.
    figure.savefig(file, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()
