"""What is attached to a store, and what of it a connection has at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.errors import QubastoreError
from qubastore.lake.database import Database
from qubastore.lake.location import Location

if TYPE_CHECKING:
    import duckdb


STORE, EXPORT, TABLES = "store", "export", "tables"
"""Kinds of attachments."""


MANIFEST = "manifest.json"
"""The file of an export that says what the others are."""


TABLE_FILES = re.compile(r"(.+)\.(parquet|csv|csv\.gz|tsv)", re.IGNORECASE)
"""Names of files that are tables."""


@dataclass(frozen=True)
class Attachment:
    """A row of the table `attachments`.

    Attributes:
        name: Schema name, and name of the source in rankings.
        kind: `STORE`, `EXPORT` or `TABLES`.
        location: Absolute folder or file, or URL.
        suite: Tables: the suite that their figures belong to, where they do not say.
        ranked_table: Tables: the one whose rows are ranked; None where none is.
        columns: Tables: column of `rankable` -> SQL expression over the ranked table.
    """

    name: str
    kind: str
    location: str
    suite: str
    ranked_table: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass
class AtHand:
    """What of the attached a connection has at hand.

    Attributes:
        connected: Names of attachments whose tables can be asked.
        folders: Where their files lie, each with a slash at its end.
        files: Files that are attached alone.
        in_views: Whether the views that rank see what is in `memory.main.attached_rows`.
        notes: What a reader of a ranking must know: source, sentence.
        errors: Of attachments that could not be read and were left out.
        suites: Attachment -> suite -> its roles, of those whose figures were gathered.
    """

    connected: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    in_views: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)
    errors: list[QubastoreError] = field(default_factory=list)
    suites: dict[str, dict[str, set[tuple[Any, ...]]]] = field(default_factory=dict)


def noted(connection: duckdb.DuckDBPyConnection) -> tuple[Attachment, ...]:
    """The attachments of an open store, in the order of their names."""
    query = "select name, kind, location, suite, ranked_table, columns from attachments order by name"
    return tuple(Attachment(*row) for row in connection.execute(query).fetchall())


class AttachedDatabase(Database):
    """The database of a store, and what is attached to it.

    Attributes:
        attachments: What is attached, in the order of the names.
    """

    def __init__(self, location: Location, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        super().__init__(location, connection, read_only=read_only)
        self.attachments: tuple[Attachment, ...] = self.ask(noted)
        self._at_hand = connection, AtHand()

    @property
    def at_hand(self) -> AtHand:
        """What the connection has at hand; nothing yet where it is a new one."""
        if self._at_hand[0] is not self._connection:
            self._at_hand = self._connection, AtHand()
        return self._at_hand[1]

    def restrict(self, folders: Sequence[str] = (), files: Sequence[str] = ()) -> None:
        """Answer from the store, and from what is at hand of the attached, alone; see `Database.restrict`."""
        super().restrict([*folders, *self.at_hand.folders], [*files, *self.at_hand.files])


def table_stem(name: str) -> str:
    """The name of a file without what makes it a table; other names as they are."""
    match = TABLE_FILES.fullmatch(name)
    return match[1] if match else name


def is_file(location: str) -> bool:
    """Whether a location is one table: in S3, where folders are names alone, by its name."""
    if location.startswith("s3://"):
        return bool(TABLE_FILES.fullmatch(location.rpartition("/")[2]))
    return Path(location).is_file()
