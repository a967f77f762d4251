"""A sandbox for untrusted queries: no files but the store's, no other databases, no extensions, no secrets.

DuckDB itself can disallow files, extensions and settings. But it lets a query write the files that it may read, and it
cannot disallow functions of extensions that open files and servers themselves. So only the statements and table
functions of an allow-list are run. Names are taken from the parsed query, where no quoting can hide them. DuckDB
returns a tree only for SELECTs; for other statements the text is searched, which suffices because a name cannot be
composed there without a function that is disallowed too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qubastore.errors import QueryError
from qubastore.lake.ducklake import literal_path, quote
from qubastore.lake.names import Tree, constant_texts, parse
from qubastore.lake.view import View
from qubastore.lake.views import all_views

if TYPE_CHECKING:
    import duckdb


READING = frozenset({"SELECT", "EXPLAIN", "RELATION"})


WRITING = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE_INTO", "ALTER", "DROP", "TRANSACTION"})
"""Types of statements that change rows; those in `READING` only read."""


_CREATE = re.compile(r"\s*create\s+(or\s+replace\s+)?(temp(orary)?\s+)?(table|view|macro|function)\b", re.IGNORECASE)


_FUNCTIONS = frozenset(
    [
        "range",
        "generate_series",
        "unnest",
        "repeat",
        "json_each",
        "json_tree",
        "summary",
        "ducklake_snapshots",
        "ducklake_table_info",
        "ducklake_list_files",
        "ducklake_settings",
        "duckdb_tables",
        "duckdb_views",
        "duckdb_columns",
        "duckdb_functions",
        "duckdb_schemas",
        "duckdb_types",
        "duckdb_keywords",
        "pragma_table_info",
        "pragma_version",
    ]
)
"""Table functions that read only the store; the store's own macros are allowed in addition."""


_OUTSIDE = re.compile(
    r"\b((sqlite|postgres|read|parquet|sniff|arrow|pandas|python|json_execute|iceberg|delta|which)\w*(?=\W)|glob|query"
    r"|query_table|current_setting|getvariable|duckdb_(?!tables|views|columns)\w+|__ducklake\w+|writer_locks|secret)\b",
    re.IGNORECASE,
)


_SCALARS = frozenset({"current_setting", "getenv", "json_execute_serialized_sql"})
"""Scalar functions that would reveal settings or the environment, or run other queries."""


_CATALOGS = r"__ducklake_.*|writer_locks"
"""Attached databases that are not for queries: DuckLake's own, and that of the writers' lock."""


HINT = "qubastore sql --allow-files, if the query is your own"


def restrict(connection: duckdb.DuckDBPyConnection, folders: Sequence[str], files: Sequence[str] = ()) -> None:
    """Irrevocably disallow all files but these and those in these folders, extensions, and changes of settings."""
    # DuckDB checks both the pattern in a query and the file that it matches.
    folders, files = ([*paths, *(p for p in map(literal_path, paths) if p not in paths)] for paths in (folders, files))
    connection.execute(f"set allowed_directories = [{', '.join(map(quote, folders))}]")
    if files:
        connection.execute(f"set allowed_paths = [{', '.join(map(quote, files))}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def check(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Reject a statement that accesses anything outside the store. DuckDB itself checks whether the store is read-only.

    Raises:
        QueryError: If it does; the error names the disallowed reference.
    """
    kind, query = statement.type.name, _bare(statement.query)
    if kind not in READING | WRITING and not (kind == "CREATE" and _CREATE.match(query)):
        raise QueryError(
            f"statements of the type {kind} are not allowed",
            expected="SELECT, EXPLAIN, CREATE TABLE, VIEW or MACRO, or a change of rows in a store open for writing",
            found=query.strip().splitlines()[0][:200] if query.strip() else None,
            hint=HINT,
        )
    (tree,) = parse(connection, [statement.query])
    disallowed = _disallowed_in_text(query) if tree["error"] else next(_disallowed(tree), None)
    if disallowed:
        raise QueryError(
            f"{disallowed} accesses data outside the store",
            expected="a query over the store's tables and views",
            hint=HINT,
        )


def check_condition(
    connection: duckdb.DuckDBPyConnection,
    condition: str,
    *,
    named: str,
    kind: str,
    expected: str,
    hint: str | None = None,
) -> None:
    """Reject a user's SQL that is not a single expression, or reads more than tables and views of the store.

    Args:
        connection: Any connection, for parsing.
        condition: The SQL.
        named: The text as the user typed it, for messages.
        kind: What it should be, as in `SQL condition`.
        expected: A longer description of the same, with an example.
        hint: The hint of the error.

    Raises:
        QueryError: If it is rejected; the error has DuckDB's message, or the disallowed reference.
    """
    import duckdb

    try:
        # This accepts only an expression, so that the text cannot close the parenthesis or begin another statement.
        duckdb.SQLExpression(condition)
    except duckdb.Error as error:
        found = str(error).strip().splitlines()[0]
        raise QueryError(f"{named} is not a valid {kind}", expected=expected, found=found, hint=hint) from None
    (tree,) = parse(connection, [f"select 1 where ({condition}\n)"])
    if tree["error"]:
        raise QueryError(f"the condition {condition!r} cannot be parsed", found=str(tree.get("error_message")))
    for name in _disallowed(tree):
        raise QueryError(
            f"the condition {condition!r} reads {name}",
            expected="a condition over columns, or over tables and views of the store",
            hint="qubastore sql --allow-files, for a query of your own",
        )


def _disallowed(node: Any) -> Iterator[str]:
    """Yield functions, tables and databases in a parsed query that are not the store's."""
    if isinstance(node, list):
        for value in node:
            yield from _disallowed(value)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        called = str(node.get("function", {}).get("function_name", "a table function"))
        if macro := all_views().get(called.lower()):
            yield from _disallowed_pools(macro, node.get("function", {}).get("children", []))
        elif called.lower() not in _FUNCTIONS:
            yield called
    if str(node.get("function_name", "")).lower() in _SCALARS:
        yield str(node["function_name"])
    if kind == "BASE_TABLE":
        for part in ("catalog_name", "schema_name"):
            if re.fullmatch(_CATALOGS, str(node.get(part, "")), re.IGNORECASE):
                yield str(node[part])
        if not re.fullmatch(r"\w+", str(node.get("table_name"))):
            yield str(node.get("table_name"))
        if re.fullmatch(r"duckdb_(settings|secrets|databases|logs)", str(node.get("table_name")), re.IGNORECASE):
            yield str(node["table_name"])
    for value in node.values():
        yield from _disallowed(value)


def _disallowed_pools(macro: View, arguments: Sequence[Tree]) -> Iterator[str]:
    """Yield the pools of a macro that are not names of tables: DuckDB would read a file of that name."""
    argument = macro.pool_argument(arguments)
    if argument is None:
        return
    texts = constant_texts(argument)
    if not texts:
        yield f"{macro.name} with a pool that is computed"
    for text in texts:
        if not re.fullmatch(r"\w+", text):
            yield f"{macro.name} with pool {text}"


def is_outside(text: str) -> bool:
    """Whether a text that is not a parsed query contains a name of something outside the store."""
    return bool(_disallowed_in_text(text))


def _disallowed_in_text(query: str) -> str | None:
    found = _OUTSIDE.search(query)
    return found[0] if found else None


def _bare(query: str) -> str:
    """A statement without leading comments."""
    return re.sub(r"\A(\s|--[^\n]*\n|/\*.*?\*/)+", "", query, flags=re.DOTALL)
