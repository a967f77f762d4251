"""The SQL prompt, with history, colours, and completion of views and columns (prompt_toolkit)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from qubastore.errors import QubastoreError

if TYPE_CHECKING:
    from qubastore.store import Store


KEYWORDS = [
    "select",
    "from",
    "where",
    "group",
    "by",
    "order",
    "limit",
    "join",
    "left",
    "using",
    "on",
    "having",
    "with",
    "as",
    "and",
    "or",
    "not",
    "null",
    "is",
    "in",
    "between",
    "distinct",
    "count",
    "avg",
    "sum",
    "min",
    "max",
    "median",
    "case",
    "when",
    "then",
    "else",
    "end",
    "desc",
    "asc",
    "union",
    "all",
    "describe",
    "summarize",
]


HELP = """\
end a query with ; and press Enter
.views   list the views
.help    show this
.quit    leave (Ctrl-D does too)"""


def run_prompt(store: Store, answer: Callable[[str], None]) -> None:
    """Read queries and answer them until the user quits; an error is printed and the prompt continues."""
    from qubastore.cli.output.errors import report

    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(_history_file())),
        lexer=PygmentsLexer(SqlLexer),
        completer=WordCompleter(completions(store), ignore_case=True, pattern=re.compile(r"[A-Za-z0-9_]+")),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        multiline=Condition(lambda: not is_whole(session.default_buffer.text)),
        prompt_continuation="      ... ",
    )
    click.echo(f"{store.location} ({'read-only' if store.read_only else 'open for writing'}); .help for help")
    while True:
        try:
            text = session.prompt("qubastore> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text in (".quit", ".exit"):
            return
        if text == ".help":
            click.echo(HELP)
        elif text == ".views":
            from qubastore.lake.views import all_views

            for view in all_views().values():
                click.echo(f"{click.style(view.name, bold=True)}  {view.summary}")
        elif text.strip(";"):
            try:
                answer(text)
            except QubastoreError as error:
                report(error)


def is_whole(text: str) -> bool:
    """Whether Enter runs the text: it ends with `;`, starts with a dot, or is empty."""
    text = text.strip()
    return not text or text.endswith(";") or text.startswith(".")


def completions(store: Store) -> list[str]:
    """Words to complete: tables, views, their columns, macros, SQL keywords."""
    from qubastore.lake.views import all_views

    columns = store.rows("select distinct column_name from duckdb_columns() where not internal")
    tables = store.rows("select table_name from duckdb_tables() where not internal")
    names = {row[0] for row in (*columns, *tables)} | set(all_views())
    return sorted(names) + KEYWORDS


def _history_file() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = state / "qubastore"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "sql_history"
