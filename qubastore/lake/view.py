"""A view or table macro: a name, its documentation, and one SELECT."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class View:
    """A view or table macro.

    Attributes:
        name: Its name; the file's name.
        comment: The header, without the comment dashes.
        select: The SELECT.
        parameters: `name` or `name := default` for a macro; None for a view.
    """

    name: str
    comment: str
    select: str
    parameters: tuple[str, ...] | None = None

    @property
    def summary(self) -> str:
        """The first paragraph of the comment, on one line."""
        return " ".join(self.comment.split("\n\n", 1)[0].split())

    @property
    def reads(self) -> set[str]:
        """The words after FROM and JOIN: names of views, tables and CTEs."""
        words = re.findall(r"(?:from|join)\s+([a-z_0-9]+)", self.select)
        # A macro's quoted default may name a view.
        return {*words, *re.findall(r"'([a-z_0-9]+)'", " ".join(self.parameters or ()))} - {self.name}

    def create(self, connection: duckdb.DuckDBPyConnection, *, temporary: bool = False) -> None:
        """Make the view or macro in the schema that the connection uses."""
        scope = "temp " if temporary else ""
        if self.parameters is None:
            connection.execute(f"create or replace {scope}view {self.name} as {self.select}")
        else:
            signature = ", ".join(self.parameters)
            connection.execute(f"create or replace {scope}macro {self.name}({signature}) as table {self.select}")

    @property
    def columns(self) -> dict[str, str]:
        """Column -> its line in the header, in the header's order."""
        block = self.comment.split("\n\n")
        lines = next((part for part in reversed(block) if re.match(r"[a-z_0-9]+: ", part)), "")
        return dict(re.findall(r"^([a-z_0-9]+): (.+(?:\n  .+)*)$", lines, flags=re.MULTILINE))
