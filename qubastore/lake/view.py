"""A view or table macro: a name, its documentation, and one SELECT."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qubastore.lake.names import Tree, names_in_tree

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class View:
    """A view or table macro.

    Attributes:
        name: Its name, which is also the name of its file.
        comment: The header, without the comment dashes.
        select: The SELECT.
        parameters: `name` or `name := default` for a macro; None for a view.
        tables: Tables that it reads, for views over rows in the code, which are too long to parse; else None.
    """

    name: str
    comment: str
    select: str
    parameters: tuple[str, ...] | None = None
    tables: frozenset[str] | None = None

    @property
    def summary(self) -> str:
        """The first paragraph of the comment, on one line."""
        return " ".join(self.comment.split("\n\n", 1)[0].split())

    @property
    def default_pool(self) -> str | None:
        """The table that a macro reads by default: the default of its parameter `pool`."""
        defaults = (re.fullmatch(r"pool := '(\w+)'", parameter) for parameter in self.parameters or ())
        return next((found[1] for found in defaults if found), None)

    def pool_argument(self, arguments: Sequence[Tree]) -> Tree | None:
        """The argument of a call that is the pool, passed by name or by position; None if the default applies."""
        parameters = [parameter.partition(" ")[0] for parameter in self.parameters or ()]
        for number, argument in enumerate(arguments):
            given = argument.get("alias") or (parameters[number] if number < len(parameters) else "")
            if given.lower() == "pool":
                return argument
        return None

    def reads(self, tree: Tree) -> frozenset[str]:
        """The names of tables, views and macros that it reads.

        Args:
            tree: Its parsed SELECT.

        Raises:
            ValueError: If DuckDB could not parse it.
        """
        if tree["error"]:
            raise ValueError(f"the view {self.name} is not a SELECT: {tree['error_message']}")
        names = names_in_tree(tree)
        default = {self.default_pool} if self.default_pool else set()
        return frozenset({*(name[-1] for name in names.tables), *(call.name for call in names.calls), *default})

    def create(self, connection: duckdb.DuckDBPyConnection, *, temporary: bool = False) -> None:
        """Create the view or macro in the connection's current schema."""
        scope = "temp " if temporary else ""
        if self.parameters is None:
            connection.execute(f"create or replace {scope}view {self.name} as {self.select}")
        else:
            signature = ", ".join(self.parameters)
            connection.execute(f"create or replace {scope}macro {self.name}({signature}) as table {self.select}")

    @property
    def columns(self) -> dict[str, str]:
        """The description of each column in the header, in the header's order."""
        block = self.comment.split("\n\n")
        lines = next((part for part in reversed(block) if re.match(r"[a-z_0-9]+: ", part)), "")
        return dict(re.findall(r"^([a-z_0-9]+): (.+(?:\n  .+)*)$", lines, flags=re.MULTILINE))
