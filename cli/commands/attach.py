"""`qubastore attach`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from qubastore.cli.options import store_option

if TYPE_CHECKING:
    from qubastore.attachments.attached import Attachment
    from qubastore.store import Store


@click.command("attach")
@click.argument("location", metavar="PATH|URL")
@click.option(
    "--as", "name", metavar="NAME", help="Its schema in SQL, its source in rankings.  [default: from the path]"
)
@click.option("--table", metavar="NAME", help="Tables: which one is ranked.  [default: the one that can be]")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN=SQL",
    help="Tables: what a column of `rankable` is there, as in accuracy=top1/100. Repeatable.",
)
@click.option(
    "--suite",
    metavar="NAME",
    help="Tables: the suite of their figures, where no column says it.  [default: quba]",
)
@store_option
def command(
    location: str,
    name: str | None,
    table: str | None,
    columns: tuple[str, ...],
    suite: str | None,
    store_path: str | None,
) -> None:
    """Ask and rank another store, an export, or tables of any origin beside this store.

    What is attached is read where it is, and never written. Its tables are NAME.table in SQL; its figures are a source
    of their own in rank, compare, correlate and report. Tables are Parquet and CSV files, one or a folder of them, here
    or in S3. The one is ranked that has a column model and columns named as dimensions; timm's results-imagenet.csv is
    known.

    \b
    Example:
      qubastore attach 'postgres://ann@db.example.org/quba' --as ann
      qubastore attach lab2-export --as lab2
      qubastore attach pytorch-image-models/results --as timm
      qubastore attach figures.csv --column model=network --column accuracy=top1/100
      qubastore rank --source measured,lab2
      qubastore sql "select model, accuracy from lab2.dimensions"
    """
    from qubastore.attachments.attach import attach
    from qubastore.store import open_store

    given = _parsed(columns)
    with open_store(store_path, read_only=False) as store:
        made = attach(store, location, name, suite=suite, table=table, columns=given)
        for line in _said(store, made):
            click.echo(line)


def _parsed(columns: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in columns:
        column, equals, expression = text.partition("=")
        if not equals or not expression.strip():
            raise click.UsageError(f"--column {text} is not COLUMN=SQL, as in accuracy=top1/100")
        given[column.strip()] = expression.strip()
    return given


def _said(store: Store, made: Attachment) -> list[str]:
    """What was attached, what of it is ranked, and what to type next."""
    from qubastore.attachments.connect import tables_at
    from qubastore.attachments.gather import ROWS
    from qubastore.metrics.dimensions import DIMENSIONS

    tables = tables_at(store, made)
    lacks = " or ".join(f"{d.column} is null" for d in DIMENSIONS)
    rows = f"from {ROWS} where source = ? group by suite order by suite"
    counts = store.rows(f"select suite, count(*), bool_or({lacks}) {rows}", [made.name])
    counted = "1 table" if len(tables) == 1 else f"{len(tables)} tables"
    what = {"store": "the store", "export": "the export", "tables": counted}[made.kind]
    lines = [f"attached {made.name}: {what} at {made.location}, read where it is"]
    if made.kind == "tables":
        lines += [f"  {made.name}.{table}" for table in list(tables)[:12]]
    lines += [f"note: {text}" for source, text in store.at_hand.notes if source == made.name]
    if not counts:
        lines.append("nothing of it is ranked: it has no figures of a suite")
        if made.kind == "tables":
            lines.append("next: --table and --column say which table and what its columns are, once it is detached")
        return lines
    for suite, n, _ in counts:
        lines.append(f"{n} {'model' if n == 1 else 'models'} in suite {suite}")
    suite, _, partial = counts[0]
    words = ["qubastore rank --source all", *([f"--suite {shlex.quote(suite)}"] if suite != "quba" else [])]
    lines.append(f"next: {' '.join([*words, *(['--partial'] if partial else [])])}")
    return lines
