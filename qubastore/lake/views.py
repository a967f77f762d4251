"""Views and macros from `sql/`: one SELECT per file, whose header is the documentation and becomes `COMMENT ON`.

The order in which they are created is derived from the SQL, as DuckDB parses it. `metrics`, `dimensions`,
`dimension_names`, `suites` and others are views too, generated from the tables in `qubastore.metrics`,
`qubastore.models.zoo` and `qubastore.published`, so that names and units are defined only once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

from qubastore.hashing import identifier
from qubastore.lake.ducklake import quote
from qubastore.lake.names import parse
from qubastore.lake.table_views import table_views
from qubastore.lake.view import View

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import duckdb


_READS: dict[View, frozenset[str]] = {}
"""View -> the names that it reads, for views that were parsed before."""


@cache
def all_views() -> Mapping[str, View]:
    """All views and macros by name, sorted. They are not parsed here: opening a store needs only their texts."""
    views = [*table_views(), *_read_files("views"), *_read_files("macros")]
    return MappingProxyType({view.name: view for view in sorted(views, key=lambda view: view.name)})


def reads(connection: duckdb.DuckDBPyConnection, views: Iterable[View]) -> dict[str, frozenset[str]]:
    """The names of tables, views and macros that each view reads, by the view's name.

    Args:
        connection: Any connection, for parsing.
        views: Views and macros.
    """
    views = list(views)
    _READS.update((view, view.tables) for view in views if view.tables is not None)
    if unknown := [view for view in views if view not in _READS]:
        trees = parse(connection, [view.select for view in unknown])
        _READS.update((view, view.reads(tree)) for view, tree in zip(unknown, trees, strict=True))
    return {view.name: _READS[view] for view in views}


def needed_views(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> tuple[View, ...]:
    """Views, and all views that they read, each after those that it reads.

    Args:
        connection: Any connection, for parsing.
        names: Names of views and macros.
    """
    views = all_views()
    graph: dict[str, list[str]] = {}
    waiting = sorted(names)
    while waiting:
        found = reads(connection, [views[name] for name in waiting])
        graph.update((name, sorted(views.keys() & read)) for name, read in found.items())
        waiting = sorted({name for name in chain(*graph.values()) if name not in graph})
    return tuple(views[name] for name in TopologicalSorter(graph).static_order())


def views_over(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[View, ...]:
    """The views and macros that read a view, directly or through others, each after those that it reads.

    Args:
        connection: Any connection, for parsing.
        name: Name of the view.
    """
    views = all_views()
    read = reads(connection, [views[each] for each in may_read(name)])
    found = {name}
    while more := {each for each, names in read.items() if names & found} - found:
        found |= more
    graph = {each: sorted(read[each] & found) for each in sorted(found)}
    return tuple(views[each] for each in TopologicalSorter(graph).static_order() if each != name)


@cache
def may_read(name: str) -> frozenset[str]:
    """A superset of the views that read a view, and the view itself, found by names in their texts without parsing.

    Args:
        name: Name of the view.
    """
    found = {name}
    while True:
        pattern = re.compile(rf"\b({'|'.join(found)})\b", re.IGNORECASE)
        more = {
            view.name
            for view in all_views().values()
            if (found & view.tables if view.tables is not None else pattern.search(view.select))
            or view.default_pool in found
        }
        if more <= found:
            return frozenset(found)
        found |= more


def views_hash() -> str:
    """Hash of all views and macros, to detect that a store has those of another release."""
    return identifier(*[[view.name, view.comment, view.select, view.parameters] for view in all_views().values()])


def create_views(connection: duckdb.DuckDBPyConnection, *, temporary: bool = False) -> None:
    """Create all views and macros, in the attached store or temporarily for this connection only."""
    for view in needed_views(connection, all_views()):
        view.create(connection, temporary=temporary)
        if view.parameters is None and not temporary:
            connection.execute(f"comment on view {view.name} is {quote(view.comment)}")


def _read_files(folder: str) -> list[View]:
    return [
        _parse(path.name.removesuffix(".sql"), path.read_text("utf-8"), is_macro=folder == "macros")
        for path in _sql_files(files("qubastore.sql").joinpath(folder))
    ]


def _sql_files(folder: Traversable) -> Iterator[Traversable]:
    for path in folder.iterdir():
        if path.name.endswith(".sql"):
            yield path
        elif path.is_dir():
            yield from _sql_files(path)


def _parse(name: str, text: str, *, is_macro: bool) -> View:
    lines = text.splitlines()
    length = next(index for index, line in enumerate(lines) if not line.startswith("--"))
    comment = "\n".join(line.removeprefix("--").removeprefix(" ") for line in lines[:length])
    parameters = None
    if is_macro:
        block = next(part for part in comment.split("\n\n") if part.startswith("Parameters:"))
        parameters = tuple(re.findall(r"^([a-z_]+(?: := [^:]+)?):", block, flags=re.MULTILINE))
    return View(name, comment, "\n".join(lines[length:]).strip(), parameters)
