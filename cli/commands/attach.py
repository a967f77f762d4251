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
    "--as",
    "name",
    metavar="NAME",
    help="Name of its schema in SQL and of its source in rankings.  [default: from the path]",
)
@click.option("--table", metavar="NAME", help="For tables: the one to rank.  [default: the one that can be ranked]")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN=SQL",
    help="For tables: how to compute a column of `rankable`, as in accuracy=top1/100. Repeatable.",
)
@click.option(
    "--suite",
    metavar="NAME",
    help="For tables without a column suite: the suite of their figures.  [default: quba]",
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
    """Query and rank another store, an export, or tables of any origin together with this store.

    Attached data is read in place and never written. Its tables are NAME.table in SQL; its figures are a separate
    source in rank, compare, correlate and report. Tables are Parquet and CSV files, a single file or a folder, local or
    in S3. The table that is ranked has a column model and columns named like dimensions; timm's results-imagenet.csv
    works without options.

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

    expressions = _parse_columns(columns)
    with open_store(store_path, read_only=False) as store:
        attachment = attach(store, location, name, suite=suite, table=table, columns=expressions)
        for line in _messages(store, attachment):
            click.echo(line)


def _parse_columns(columns: tuple[str, ...]) -> dict[str, str]:
    expressions: dict[str, str] = {}
    for text in columns:
        column, equals, expression = text.partition("=")
        if not equals or not expression.strip():
            raise click.UsageError(f"--column {text} is not COLUMN=SQL, as in accuracy=top1/100")
        expressions[column.strip()] = expression.strip()
    return expressions


def _messages(store: Store, attachment: Attachment) -> list[str]:
    """The lines to print: what was attached, how many of its models can be ranked, and what to type next."""
    from qubastore.attachments.connect import tables_at
    from qubastore.attachments.gather import ROWS
    from qubastore.metrics.dimensions import DIMENSIONS

    tables = tables_at(store, attachment)
    is_partial = " or ".join(f"{d.column} is null" for d in DIMENSIONS)
    rows = f"from {ROWS} where source = ? group by suite order by suite"
    counts = store.rows(f"select suite, count(*), bool_or({is_partial}) {rows}", [attachment.name])
    counted = "1 table" if len(tables) == 1 else f"{len(tables)} tables"
    what = {"store": "the store", "export": "the export", "tables": counted}[attachment.kind]
    lines = [f"attached {attachment.name}: {what} at {attachment.location}, read in place"]
    if attachment.kind == "tables":
        lines += [f"  {attachment.name}.{table}" for table in list(tables)[:12]]
    lines += [f"note: {text}" for source, text in store.attachment_state.notes if source == attachment.name]
    if not counts:
        lines.append("none of it can be ranked: it has no figures of a suite")
        if attachment.kind == "tables":
            lines.append(
                "next: detach it, then attach it with --table and --column, which name the table and its columns"
            )
        return lines
    for suite, n, _ in counts:
        lines.append(f"{n} {'model' if n == 1 else 'models'} in suite {suite}")
    suite, _, partial = counts[0]
    words = ["qubastore rank --source all", *([f"--suite {shlex.quote(suite)}"] if suite != "quba" else [])]
    lines.append(f"next: {' '.join([*words, *(['--partial'] if partial else [])])}")
    return lines
