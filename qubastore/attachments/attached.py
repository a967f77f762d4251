"""The attachments of a store, and the state of a connection to them."""

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
"""The file of an export that describes the others."""


TABLE_FILES = re.compile(r"(.+)\.(parquet|csv|csv\.gz|tsv)", re.IGNORECASE)
"""File names of tables."""


@dataclass(frozen=True)
class Attachment:
    """A row of the table `attachments`.

    Attributes:
        name: Schema name, and name of the source in rankings.
        kind: `STORE`, `EXPORT` or `TABLES`.
        location: Absolute folder or file, or URL.
        suite: For tables: the suite of their figures, if they have no column `suite`.
        ranked_table: For tables: the one whose rows are ranked; None if there is none.
        columns: For tables: column of `rankable` -> SQL expression over the ranked table.
    """

    name: str
    kind: str
    location: str
    suite: str
    ranked_table: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass
class AttachmentState:
    """The state of a connection to the attachments of a store.

    Attributes:
        connected: Names of attachments whose tables can be queried.
        folders: Folders of their files, each with a trailing slash.
        files: Files that are attached individually.
        in_views: Whether the views over `rankable` include the rows of `memory.main.attached_rows`.
        notes: Notes for readers of a ranking: source, sentence.
        errors: Errors of attachments that could not be read and were left out.
        suites: Attachment -> suite -> its roles, of the attachments whose figures were gathered.
    """

    connected: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    in_views: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)
    errors: list[QubastoreError] = field(default_factory=list)
    suites: dict[str, dict[str, set[tuple[Any, ...]]]] = field(default_factory=dict)


def noted(connection: duckdb.DuckDBPyConnection) -> tuple[Attachment, ...]:
    """The attachments that are stored in an open store, sorted by name."""
    query = "select name, kind, location, suite, ranked_table, columns from attachments order by name"
    return tuple(Attachment(*row) for row in connection.execute(query).fetchall())


class AttachedDatabase(Database):
    """The database of a store with its attachments.

    Attributes:
        attachments: The store's attachments, sorted by name.
    """

    def __init__(self, location: Location, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        super().__init__(location, connection, read_only=read_only)
        self.attachments: tuple[Attachment, ...] = self.ask(noted)
        self._attachment_state = connection, AttachmentState()

    @property
    def attachment_state(self) -> AttachmentState:
        """The state of the current connection to the attachments; empty for a new connection."""
        if self._attachment_state[0] is not self._connection:
            self._attachment_state = self._connection, AttachmentState()
        return self._attachment_state[1]

    def restrict(self, folders: Sequence[str] = (), files: Sequence[str] = ()) -> None:
        """Allow queries to read only the store and the connected attachments; see `Database.restrict`."""
        super().restrict([*folders, *self.attachment_state.folders], [*files, *self.attachment_state.files])


def table_stem(name: str) -> str:
    """The name of a file without the extension of a table; other names are unchanged."""
    match = TABLE_FILES.fullmatch(name)
    return match[1] if match else name


def is_file(location: str) -> bool:
    """Whether a location is a single file; in S3, where folders do not exist, this is decided by its name."""
    if location.startswith("s3://"):
        return bool(TABLE_FILES.fullmatch(location.rpartition("/")[2]))
    return Path(location).is_file()
