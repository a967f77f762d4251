"""The names of tables and views that a query reads, from DuckDB's own parser.

A word in a comment or a string is not a name, a common table expression is not the view of the same name, and names can
follow commas or PIVOT and can be quoted. DuckDB parses SELECTs into trees that account for all of this. For other
statements it returns only tokens; then every word that could be a name counts as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

Tree = dict[str, Any]
"""A parsed query, as returned by DuckDB's json_serialize_sql."""


@dataclass(frozen=True)
class Call:
    """A call of a table function or table macro.

    Attributes:
        name: The function's name, in lower case.
        arguments: The parsed arguments; a named one has its name under `alias`.
    """

    name: str
    arguments: list[Tree]


@dataclass(frozen=True)
class Names:
    """The names that a query reads, all in lower case.

    Attributes:
        tables: Tables and views, each as it is written: (name,), (schema or database, name), or all three.
        calls: Calls of table functions and macros.
    """

    tables: frozenset[tuple[str, ...]]
    calls: tuple[Call, ...] = ()


def parse(connection: duckdb.DuckDBPyConnection, queries: Sequence[str]) -> list[Tree]:
    """Parse several queries; if a query cannot be parsed or is not a SELECT, `error` is true in its tree."""
    # A tree without empty parts is half as long to read.
    serialized = (
        "select json_serialize_sql(query, skip_null := true, skip_empty := true, skip_default := true)"
        " from (select unnest(?::varchar[]) as query)"
    )
    return [json.loads(row[0]) for row in connection.execute(serialized, [list(queries)]).fetchall()]


def names_in_tree(tree: Tree) -> Names:
    """The names that a parsed query reads, without those of common table expressions."""
    found = list(_references(tree, frozenset()))
    calls = tuple(each for each in found if isinstance(each, Call))
    return Names(frozenset(each for each in found if not isinstance(each, Call)), calls)


def names_in_query(connection: duckdb.DuckDBPyConnection, query: str) -> Names:
    """The names that any statement reads; possibly more, if DuckDB has no tree of it or it computes names."""
    (tree,) = parse(connection, [query])
    if tree["error"] or any(_is_computed(call) for call in names_in_tree(tree).calls):
        return _names_in_tokens(query)
    return names_in_tree(tree)


def constant_texts(argument: Tree) -> list[str]:
    """The strings in an argument that is a constant string or a list of them; empty if any part is something else."""
    if argument.get("class") == "CONSTANT" and isinstance(value := argument["value"].get("value"), str):
        return [value]
    if argument.get("function_name") == "list_value":
        parts = [constant_texts(child) for child in argument.get("children", [])]
        return [text for part in parts for text in part] if all(parts) else []
    return []


def written_names(text: str) -> tuple[str, ...]:
    """The parts of a name that is given as a string, as in `lab.results`, in lower case."""
    return tuple(part.strip('"').lower() for part in text.split("."))


def _references(node: Any, ctes: frozenset[str]) -> Iterator[tuple[str, ...] | Call]:
    """Yield every table that a part of a tree reads, with the schema and database written before it, and every call."""
    if isinstance(node, list):
        for part in node:
            yield from _references(part, ctes)
    if not isinstance(node, dict):
        return
    if node.get("type") == "BASE_TABLE":
        written = (node.get("catalog_name"), node.get("schema_name"), node["table_name"])
        names = tuple(name.lower() for name in written if name)
        if len(names) > 1 or names[0] not in ctes:
            yield names
    if node.get("type") == "TABLE_FUNCTION":
        yield from _called(node["function"], ctes)
    # A recursive CTE can refer to itself; any other only to those before it.
    if name := node.get("cte_name"):
        ctes |= {name.lower()}
    for cte in node.get("cte_map", {}).get("map", []):
        yield from _references(cte["value"], ctes)
        ctes |= {cte["key"].lower()}
    for key, part in node.items():
        if key != "cte_map":
            yield from _references(part, ctes)


def _called(function: Tree, ctes: frozenset[str]) -> Iterator[tuple[str, ...] | Call]:
    name, arguments = function["function_name"].lower(), function.get("children", [])
    yield Call(name, arguments)
    if qualifiers := [part.lower() for part in (function.get("catalog"), function.get("schema")) if part]:
        yield (*qualifiers, name)
    if name == "query_table":
        for names in map(written_names, (text for argument in arguments for text in constant_texts(argument))):
            if len(names) > 1 or names[0] not in ctes:
                yield names


def _is_computed(call: Call) -> bool:
    """Whether the names that a call reads are known only when it is evaluated."""
    return call.name == "query" or (call.name == "query_table" and not all(map(constant_texts, call.arguments)))


def _names_in_tokens(query: str) -> Names:
    """The words of a statement that could be names, including those in strings, which may be queries themselves."""
    import duckdb

    written = query.encode()
    tokens = duckdb.tokenize(query)
    ends = [offset for offset, _ in tokens[1:]] + [len(written)]
    found: list[tuple[str, ...]] = []
    after_a_dot = False
    for (start, kind), end in zip(tokens, ends, strict=True):
        # A token includes the white space and comments after it.
        token = written[start:end].decode()
        if kind == duckdb.token_type.string_const:
            found += [tuple(re.split(r"\W+", name)) for name in re.findall(r"\w+(?:\W*\.\W*\w+)*", token.lower())]
        elif word := re.match(r'"((?:[^"]|"")*)"|\w+', token):
            name = (word[1] or word[0]).replace('""', '"').lower()
            found.append((*found[-1], name) if after_a_dot and found else (name,))
        after_a_dot = token.startswith(".")
    return Names(frozenset(found))
