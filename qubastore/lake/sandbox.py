"""A fence around questions from outside: no files but the store's, no other databases, no extensions, no secrets.

DuckDB itself refuses files, extensions and settings once it is told to. But it lets a query write the files that it may
read, and it cannot refuse functions of extensions that open files and servers by themselves. So statements and table
functions are those of a list, and what is on no list is refused. Names are looked for in the parsed query, where no
quoting hides them; of statements that DuckDB parses into no tree (it does SELECTs alone), the text must do: no name
can be put together there without a function that is refused too.
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
"""Kinds of statements that are answered, and those that change rows."""


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
"""Table functions that reach no further than the store; the store's own macros come on top."""


_OUTSIDE = re.compile(
    r"\b((sqlite|postgres|read|parquet|sniff|arrow|pandas|python|json_execute|iceberg|delta|which)\w*(?=\W)|glob|query"
    r"|query_table|current_setting|getvariable|duckdb_(?!tables|views|columns)\w+|__ducklake\w+|writer_locks|secret)\b",
    re.IGNORECASE,
)


_SCALARS = frozenset({"current_setting", "getenv", "json_execute_serialized_sql"})
"""Functions of one value that tell what is none of a query's business."""


_CATALOGS = r"__ducklake_.*|writer_locks"
"""Databases that are attached, and are neither a store nor tables: DuckLake's own, and what writers wait in."""


HINT = "qubastore sql --allow-files, if the query is your own"


def restrict(connection: duckdb.DuckDBPyConnection, folders: Sequence[str], files: Sequence[str] = ()) -> None:
    """Have DuckDB refuse, for good, all files but these and those in these folders, extensions, changes of settings."""
    # DuckDB checks the pattern that a query names, and then the file that it finds.
    folders, files = ([*paths, *(p for p in map(literal_path, paths) if p not in paths)] for paths in (folders, files))
    connection.execute(f"set allowed_directories = [{', '.join(map(quote, folders))}]")
    if files:
        connection.execute(f"set allowed_paths = [{', '.join(map(quote, files))}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def check(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Refuse a statement that reaches outside. Whether the store may be written is DuckDB's to say.

    Raises:
        QueryError: naming what does.
    """
    kind, query = statement.type.name, _bare(statement.query)
    if kind not in READING | WRITING and not (kind == "CREATE" and _CREATE.match(query)):
        raise QueryError(
            f"a statement of the kind {kind} is not answered",
            expected="SELECT, EXPLAIN, CREATE TABLE, VIEW or MACRO, and changes of rows in a store open for writing",
            found=query.strip().splitlines()[0][:200] if query.strip() else None,
            hint=HINT,
        )
    (tree,) = parse(connection, [statement.query])
    outsider = _text_outsider(query) if tree["error"] else next(_outsiders(tree), None)
    if outsider:
        raise QueryError(
            f"{outsider} reaches outside the store", expected="questions of the store's tables and views", hint=HINT
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
    """Refuse a text for a query that is no single expression, or reads more than tables and views of the store.

    Args:
        connection: A connection, to parse with.
        condition: The text.
        named: What the user typed, for messages.
        kind: What it should be, as in `SQL condition`.
        expected: The same at length, with an example.
        hint: What to look at.

    Raises:
        QueryError: naming what DuckDB found, or what it reads.
    """
    import duckdb

    try:
        # An expression alone: nothing that closes the parenthesis or begins another statement gets through.
        duckdb.SQLExpression(condition)
    except duckdb.Error as error:
        found = str(error).strip().splitlines()[0]
        raise QueryError(f"{named} is no {kind}", expected=expected, found=found, hint=hint) from None
    (tree,) = parse(connection, [f"select 1 where ({condition}\n)"])
    if tree["error"]:
        raise QueryError(f"the condition {condition!r} cannot be read", found=str(tree.get("error_message")))
    for name in _outsiders(tree):
        raise QueryError(
            f"the condition {condition!r} reads {name}",
            expected="a condition over columns, or over tables and views of the store",
            hint="qubastore sql --allow-files, for a question of your own",
        )


def _outsiders(node: Any) -> Iterator[str]:
    """Functions, tables and databases in a parsed query that are not the store's."""
    if isinstance(node, list):
        for value in node:
            yield from _outsiders(value)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        called = str(node.get("function", {}).get("function_name", "a table function"))
        if macro := all_views().get(called.lower()):
            yield from _outside_pools(macro, node.get("function", {}).get("children", []))
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
        yield from _outsiders(value)


def _outside_pools(macro: View, arguments: Sequence[Tree]) -> Iterator[str]:
    """Pools of a macro that are no names of tables: DuckDB would take a path for one."""
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
    """Whether a text holds a name that stands for something outside, where no parsed query tells more."""
    return bool(_text_outsider(text))


def _text_outsider(query: str) -> str | None:
    found = _OUTSIDE.search(query)
    return found[0] if found else None


def _bare(query: str) -> str:
    """A statement without the comments at its beginning."""
    return re.sub(r"\A(\s|--[^\n]*\n|/\*.*?\*/)+", "", query, flags=re.DOTALL)
