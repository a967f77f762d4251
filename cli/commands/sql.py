"""`qubastore sql`: run a query and print its rows in any format; without a query, start a prompt."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.cli.output.files import ParquetTarget
    from qubastore.store import Store


@click.command("sql")
@click.argument("query", required=False)
@click.option("--file", "-f", "file", type=click.File(encoding="utf-8"), help="Read the query from a file.")
@click.option("--write", is_flag=True, help="Open the store for writing.")
@click.option(
    "--allow-files",
    is_flag=True,
    help="Allow the query to read and write other files, attach databases and load extensions.",
)
@store_option
@output_options
def command(
    query: str | None,
    file: Any,
    write: bool,
    allow_files: bool,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Query the store in DuckDB's SQL: QUERY, a file or standard input; without them, on a terminal, a prompt.

    The store is open for reading only, unless --write is given, and the query can access only the store's own files,
    unless --allow-files is given. Several statements are separated by `;`: the rows of the last one are printed.

    \b
    Example:
      qubastore sql "select model, accuracy from accuracy order by accuracy desc"
      qubastore sql "from quba_ranking(map {'calibration': 2})" --format csv
      qubastore sql -f question.sql --format parquet -o answer.parquet
    """
    from qubastore.cli.output.files import ParquetTarget
    from qubastore.store import open_store

    if query is not None and file is not None:
        raise click.UsageError("give a query or a file, not both")
    if query is None and file is not None:
        query = file.read()
    interactive = query is None and sys.stdin.isatty()
    if query is None and not interactive:
        query = sys.stdin.read()
    with contextlib.ExitStack() as opened:
        target = opened.enter_context(ParquetTarget(output)) if format_ == "parquet" else None
        store = opened.enter_context(open_store(store_path, read_only=not write))
        # Attachments must be loaded before the store is restricted.
        if interactive:
            _prepare_all(store)
        else:
            store.prepare(str(query))
        if not allow_files:
            store.restrict(files=[str(target.path)] if target else [])
        if interactive:
            from qubastore.cli.output.prompt import run_prompt

            run_prompt(store, lambda text: answer(store, text, format_, output, target))
            return
        answer(store, str(query), format_, output, target)


def _prepare_all(store: Store) -> None:
    """Load everything attached; report attachments that cannot be loaded and carry on."""
    from qubastore.cli.output.errors import report

    if store.attachments:
        from qubastore.attachments.gather import prepare_all

        for error in prepare_all(store):
            report(error)


def answer(store: Store, query: str, format_: str, output: str | None, target: ParquetTarget | None = None) -> None:
    """Run the statements of `query` and print the rows of the last.

    Args:
        store: An open store.
        query: One or more statements.
        format_: How to print rows.
        output: File; None means the screen.
        target: For Parquet, where DuckDB writes.
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.lake.duckdb_errors import translate_errors

    connection = store._connection
    last = store.last_statement(query)
    with translate_errors(query):
        if target is not None:
            # None where the statement has no rows.
            relation = connection.sql(last.query)
            if relation is not None:
                relation.write_parquet(str(target.path), compression="zstd")
                target.finish()
            return
        cursor: Any = connection.execute(last)
        if cursor.description is None:
            return
        columns = [column[0] for column in cursor.description]
        write_rows(columns, _stream(cursor), format_=format_, output=output)


def _stream(cursor: Any) -> Iterator[tuple[Any, ...]]:
    while block := cursor.fetchmany(10_000):
        yield from block
