"""Connecting to attachments: each is attached to DuckDB as a database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qubastore.attachments import manifest
from qubastore.attachments.attached import EXPORT, STORE, TABLE_FILES, AttachedDatabase, Attachment, is_file
from qubastore.attachments.columns import reader, table_name
from qubastore.errors import ImportDataError, QubastoreError, StoreError
from qubastore.lake import ducklake
from qubastore.lake.connection import attach_another
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.location import locate
from qubastore.lake.object_storage import DataFiles

if TYPE_CHECKING:
    import duckdb


def connect(store: AttachedDatabase, attachment: Attachment, *, thorough: bool = False) -> None:
    """Make the tables of an attachment available under its name.

    Raises:
        StoreError: If they cannot be read.
    """
    state, name = store.attachment_state, attachment.name
    if name in state.connected:
        return
    connection = store._connection
    with named(attachment), translate_errors():
        try:
            if attachment.kind == STORE:
                location = attach_another(connection, locate(attachment.location), name)
                state.folders.append(f"{location.data}/")
            else:
                files = _files(store, attachment, thorough=thorough)
                # Files may change while they are attached, which DuckDB's file cache may not notice in time.
                connection.execute("set enable_external_file_cache = false")
                connection.execute(f"attach ':memory:' as {name}")
                for table, path in files.items():
                    with _naming_file(path):
                        later = manifest.LATER_COLUMNS.get(table, {}) if attachment.kind == EXPORT else {}
                        columns = _with_later(connection, reader(path), later)
                        connection.execute(f'create view {name}.main."{table}" as select {columns} from {reader(path)}')
                if list(files.values()) == [attachment.location]:
                    state.files.append(attachment.location)
                else:
                    state.folders.append(f"{attachment.location}/")
        except BaseException:
            connection.execute(f"detach database if exists {name}")
            raise
    state.connected.add(name)


def _with_later(connection: duckdb.DuckDBPyConnection, table: str, later: Mapping[str, str]) -> str:
    """The columns to select from a table of an export, with those that were added after it was written."""
    if not later:
        return "*"
    found = {row[0] for row in connection.execute(f"describe from {table}").fetchall()}
    return ", ".join(["*", *(f"{value} as {column}" for column, value in later.items() if column not in found)])


def disconnect(store: AttachedDatabase, name: str) -> None:
    """Disconnect an attachment, if it is connected."""
    with translate_errors():
        store._connection.execute(f"detach database if exists {name}")
    store.attachment_state.connected.discard(name)


def tables_at(store: AttachedDatabase, attachment: Attachment) -> dict[str, list[str]]:
    """The tables of an attachment and their columns, in order.

    Raises:
        StoreError: If they cannot be read.
    """
    connect(store, attachment)
    with named(attachment):
        rows = store.rows(
            "select table_name, column_name from duckdb_columns() where database_name = ? order by all",
            [attachment.name],
        )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


@contextlib.contextmanager
def _naming_file(path: str) -> Iterator[None]:
    """Name the file in DuckDB's errors about it."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise StoreError(f"{path} cannot be read", found=str(error).strip().splitlines()[0]) from None


def _files(store: AttachedDatabase, attachment: Attachment, *, thorough: bool) -> dict[str, str]:
    """The file of each table, by the table's name."""
    location = attachment.location
    if location.startswith("s3://"):
        if ducklake.literal_path(location) != location:
            # In object storage, DuckDB's patterns do not match names that contain these characters.
            raise StoreError(f"{location} has one of * ? [ in its path", hint="copy it to another location")
        ducklake.load(store._connection, ducklake.S3)
    if attachment.kind == EXPORT:
        return manifest.checked_files(location, thorough=thorough)
    if is_file(location):
        return {table_name(location): location}
    root = DataFiles(location)
    paths = sorted(path for path in root.sizes() if TABLE_FILES.fullmatch(path.removeprefix(f"{location}/")))
    found: dict[str, str] = {}
    for path in paths:
        # A name with a slash is in a subfolder.
        if "/" in path.removeprefix(f"{location}/") or path.rpartition("/")[2].startswith("."):
            continue
        name = table_name(path)
        if name in found:
            raise StoreError(f"{path} and {found[name]} are both the table {name}", hint="rename one of them")
        found[name] = path
    if not found:
        raise StoreError(f"{location} does not contain a Parquet or CSV file")
    return found


@contextlib.contextmanager
def named(attachment: Attachment) -> Iterator[None]:
    """Name the attachment in errors about it."""
    try:
        yield
    except (_AttachedError, ImportDataError):
        # These errors already name the attachment or its table.
        raise
    except QubastoreError as error:
        raise _AttachedError(
            f"{attachment.name}, attached from {attachment.location}, cannot be used",
            expected=error.expected,
            found=error.what if error.found is None else f"{error.what}: {error.found}",
            hint=f"qubastore detach {attachment.name}, if it is attached; or attach it from its new location",
        ) from None


class _AttachedError(StoreError):
    """An error that already names its attachment."""
