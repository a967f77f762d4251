"""Views and macros from `sql/`: one SELECT a file, whose header is the documentation and becomes `COMMENT ON`.

The order in which they are made is derived from the SQL. `metrics`, `dimensions`, `dimension_names`, `suites` and
others are views too, made from the tables in `qubastore.metrics`, `qubastore.models.zoo` and `qubastore.published`, so
that a name or a unit stands in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import TYPE_CHECKING

from qubastore.hashing import identifier
from qubastore.lake.ducklake import quote
from qubastore.lake.table_views import table_views
from qubastore.lake.view import View

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import duckdb


@cache
def all_views() -> tuple[View, ...]:
    """Every view and macro, each after those that it reads."""
    views = [*table_views(), *_read_files("views"), *_read_files("macros")]
    by_name = {view.name: view for view in views}
    graph = {view.name: view.reads & set(by_name) for view in views}
    return tuple(by_name[name] for name in TopologicalSorter(graph).static_order())


def needed_views(names: Sequence[str]) -> tuple[View, ...]:
    """Views and all that they read, each after those that it reads."""
    by_name = {view.name: view for view in all_views()}
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += by_name[name].reads & set(by_name)
    return tuple(view for view in all_views() if view.name in needed)


def views_hash() -> str:
    """Hash of all views and macros, to notice that a store holds those of another release."""
    return identifier(*[[view.name, view.comment, view.select, view.parameters] for view in all_views()])


def create_views(connection: duckdb.DuckDBPyConnection, *, temporary: bool = False) -> None:
    """Make all views and macros in the attached store, or in this connection alone."""
    for view in all_views():
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
