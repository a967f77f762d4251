"""A fence around questions from outside: no files but the store's, no extensions, no other databases.

DuckDB itself refuses files, extensions and settings once it is told to. What it cannot refuse are functions of the
extensions that read a catalog: they open SQLite files and ask PostgreSQL servers by themselves. These are looked for in
the parsed query, where no quoting hides a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qubastore.engine import quote
from qubastore.errors import QueryError
from qubastore.location import Location

if TYPE_CHECKING:
    import duckdb

# `query` runs text as SQL, so that a name could be put together at run time.
_OUTSIDE = re.compile(r"(sqlite|postgres|ducklake)_\w+|query", re.IGNORECASE)
_HARMLESS = frozenset({"ducklake_snapshots", "ducklake_table_info", "ducklake_list_files", "ducklake_settings"})

HINT = "qubastore sql --allow-files, if the query is your own"


def put_up(connection: duckdb.DuckDBPyConnection, location: Location) -> None:
    """Have DuckDB refuse files outside the store, extensions, and changes of its settings, for good."""
    connection.execute(f"set allowed_directories = [{quote(f'{location.data}/')}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def check(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Refuse a statement that attaches a database, or calls a function which reaches outside.

    Raises:
        QueryError: naming the function.
    """
    import duckdb

    query = statement.query
    # Nothing but a SELECT is of use here, and an ATTACH of another kind of database asks no one.
    if statement.type == duckdb.StatementType.ATTACH:
        raise QueryError("ATTACH reaches outside the store", found=query.strip().splitlines()[0], hint=HINT)
    if _OUTSIDE.search(query):
        _check_functions(connection, query)


def check_condition(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Refuse a condition that reads anything but tables and views of the store.

    Raises:
        QueryError: naming what it reads.
    """
    row = connection.execute("select json_serialize_sql(?)", [f"select 1 where ({condition}\n)"]).fetchone()
    for name in _outsiders(json.loads(row[0]) if row else {}):
        raise QueryError(
            f"the condition {condition!r} reads {name}",
            expected="a condition over columns, or over tables and views of the store",
            hint="qubastore sql --allow-files, for a question of your own",
        )


def _outsiders(node: Any) -> Iterator[str]:
    """Table functions, and tables whose names are those of files, that a parsed query reads."""
    if isinstance(node, dict):
        if node.get("type") == "TABLE_FUNCTION":
            yield str(next(_functions(node), "a table function"))
        if node.get("type") == "BASE_TABLE" and not re.fullmatch(r"\w+", str(node.get("table_name"))):
            yield str(node.get("table_name"))
        for value in node.values():
            yield from _outsiders(value)
    elif isinstance(node, list):
        for value in node:
            yield from _outsiders(value)


def _check_functions(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    # Only SELECTs can be parsed into JSON; of the others the text must do.
    row = connection.execute("select json_serialize_sql(?)", [query]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    called = set(_functions(tree)) if not tree.get("error") else {found[0] for found in _OUTSIDE.finditer(query)}
    for name in sorted(called):
        if _OUTSIDE.fullmatch(name) and name.lower() not in _HARMLESS:
            raise QueryError(
                f"{name} reaches outside the store",
                expected="questions of the store's tables and views",
                hint=HINT,
            )


def _functions(node: Any) -> Iterator[str]:
    """Names of all functions that a parsed query calls."""
    if isinstance(node, dict):
        if isinstance(node.get("function_name"), str):
            yield node["function_name"]
        for value in node.values():
            yield from _functions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _functions(value)
