"""`qubastore compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, pool_options, store_option
from qubastore.cli.output.groups import p_text, print_comparison

if TYPE_CHECKING:
    from qubastore.analysis.table import Table
    from qubastore.store import Store


@click.command("compare")
@click.argument("names", nargs=-1, metavar="A B ...")
@click.option("--by", metavar="COLUMN", help="A and B are values of this column of `rankable`; none means all pairs.")
@click.option(
    "--groups",
    metavar="NAME",
    help="One of the study's comparisons, over listed pairs: adversarial-training, ...; all: every one.",
)
@click.option("--dataset", "-d", metavar="NAME", help="Models: only this dataset.")
@click.option(
    "--show",
    type=click.Choice(["agreement", "classes", "factors", "flips"]),
    default="agreement",
    show_default=True,
    help="Models: agreement and McNemar's test, differences by class or factor, or the images that flip.",
)
@pool_options
@store_option
@output_options
def command(
    names: tuple[str, ...],
    by: str | None,
    groups: str | None,
    dataset: str | None,
    show: str,
    source: str,
    suite: str,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Compare models image by image, or two groups of models dimension by dimension.

    With names of models of the store (or zoo:NAME): how often every two of them give the same answer, which images one
    alone gets right, and McNemar's test, on everything that both have been run on. --show goes into detail.

    With two SQL conditions over the view `rankable`, or with --by two values of a column (or of tuning: supervised,
    fine-tuned, linear probe, zero-shot): medians, effect size, a test corrected for nine. Where half of the smaller
    group stands in listed pairs of one backbone (qubastore sql "from study_pairs"), these are compared, with Wilcoxon's
    test and the medians of the pairs; else the test is Mann-Whitney's.

    With --groups, the study's own comparisons over such pairs: adversarial-training, self-supervised-end-to-end,
    self-supervised-linear-probe, linear-probe, semi-supervised, vision-language, imagenet-21k, transformer, b-cos,
    recipe-a1, recipe-a2, recipe-a3, recipe-a1-a2, recipe-a1-a3, recipe-a2-a3.

    \b
    Example:
      qubastore compare timm:resnet50.a1_in1k zoo:deit3-base-21k --dataset imagenet-val
      qubastore compare zoo:vit-clip zoo:convnext-clip --show flips --format csv
      qubastore compare "architecture = 'cnn'" "architecture = 'transformer'"
      qubastore compare supervised self-supervised --by paradigm
      qubastore compare --groups self-supervised-linear-probe
    """
    from itertools import combinations

    from qubastore.analysis.groups import comparison, study_comparison, values_of
    from qubastore.errors import check_name
    from qubastore.metrics.study_pairs import COMPARISONS
    from qubastore.store import open_store

    if groups is not None and (names or by or dataset is not None or show != "agreement"):
        raise click.UsageError("--groups is a comparison of its own: give no models, groups, --by, --dataset or --show")
    if groups is None and len(names) < 2 and not (by and not names):
        raise click.UsageError(
            "give two models or more, two groups, --by COLUMN to compare all its values, or --groups NAME"
        )
    with open_store(store_path) as store:
        if groups is not None:
            chosen = tuple(COMPARISONS) if groups == "all" else (check_name("comparison", groups, tuple(COMPARISONS)),)
            found = [(*COMPARISONS[name], study_comparison(store, name, suite=suite, source=source)) for name in chosen]
            _write_comparisons(found, format_, output)
            return
        if by is None and (len(names) > 2 or _are_models(store, names)):
            given = click.get_current_context().get_parameter_source
            if any(given(option) is not click.core.ParameterSource.DEFAULT for option in ("suite", "source")):
                raise click.UsageError("--suite and --source are for groups; models meet on what both were run on")
            _compare_models(store, names, dataset, show, format_, output)
            return
        if len(names) > 2:
            raise click.UsageError("with --by, give two values of the column, or none to compare all")
        if dataset is not None or show != "agreement":
            raise click.UsageError("--dataset and --show are for models, and these are no models of the store")
        group_a, group_b = names or (None, None)
        pairs: list[tuple[str, str]]
        if group_a is not None and group_b is not None:
            pairs = [(group_a, group_b)]
        else:
            pairs = list(combinations(values_of(store, str(by), suite, source), 2))
            if not pairs:
                raise click.UsageError(f"{by} has no two values with two models each")
        found = [(a, b, comparison(store, a, b, by=by, suite=suite, source=source)) for a, b in pairs]
        _write_comparisons(found, format_, output)


def _write_comparisons(tables: Sequence[tuple[str, str, Table]], format_: str, output: str | None) -> None:
    """Comparisons of two groups each, one below the other, or as one table of data."""
    from qubastore.cli.output.rows import write_rows

    if format_ == "table" and output is None:
        for _, _, table in tables:
            print_comparison(table)
        return
    columns = ("group_a", "group_b", *tables[0][2].columns)
    rows = [(a, b, *row) for a, b, table in tables for row in table.rows]
    write_rows(columns, rows, format_=format_, output=output)


def _are_models(store: Store, names: tuple[str, ...]) -> bool:
    """Whether the names mean models: one is of the store, of a loader or of the zoo; a slip in another is told then."""
    from qubastore.models.spec import LOADERS

    known = {row[0] for row in store.rows("select model from model_names union select name from models")}
    return any(name in known or name.startswith(("zoo:", *(f"{loader}:" for loader in LOADERS))) for name in names)


def _compare_models(
    store: Store, names: tuple[str, ...], dataset: str | None, show: str, format_: str, output: str | None
) -> None:
    from itertools import combinations

    from qubastore.analysis.agreement import TABLES
    from qubastore.analysis.pairs import pair
    from qubastore.cli.output.grid import print_note
    from qubastore.cli.output.rows import write_rows

    pairs = [pair(store, a, b, dataset=dataset) for a, b in combinations(names, 2)]
    table = TABLES[show](store, pairs)
    if format_ != "table" or output is not None:
        write_rows(table.columns, table.rows, format_=format_, output=output)
        return
    for models in pairs:
        click.echo(click.style(f"a: {models.a}\nb: {models.b}", bold=True))
        _print_pair(table.columns[2:], [row[2:] for row in table.rows if row[:2] == (models.a, models.b)])
        click.echo("")
    for note in table.notes:
        print_note(f"note: {note}")


_USUAL = {"condition": "clean", "framing": "model", "precision": "fp32"}
"""Columns that are shown only where a row has something else."""


def _print_pair(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """The rows of one pair; other formats have every column and digit."""
    from qubastore.cli.output.rows import write_rows

    named = [dict(zip(columns, row, strict=True)) for row in rows]
    shown = [name for name in columns if name != "p_value" and _is_news(name, named)]
    cells = [tuple(_cell(name, row[name]) for name in shown) for row in named]
    write_rows(shown, cells, format_="table")


def _is_news(name: str, rows: Sequence[dict[str, Any]]) -> bool:
    return name not in _USUAL or any(row[name] != _USUAL[name] for row in rows)


def _cell(name: str, value: Any) -> Any:
    if name == "p_holm":
        return p_text(value)
    return f"{value:{'+' if name == 'difference' else ''}.4f}" if isinstance(value, float) else value
