"""Connecting to what is attached: a catalog of DuckDB stands for each attachment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from qubastore.attachments import manifest
from qubastore.attachments.attached import EXPORT, STORE, TABLE_FILES, AttachedDatabase, Attachment, is_file
from qubastore.attachments.columns import reader, table_name
from qubastore.errors import ImportDataError, QubastoreError, StoreError
from qubastore.lake import ducklake
from qubastore.lake.connection import attach_another
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.location import locate
from qubastore.lake.object_storage import DataFiles


def connect(store: AttachedDatabase, attachment: Attachment, *, thorough: bool = False) -> None:
    """Have the tables of an attachment ready under its name.

    Raises:
        StoreError: where they cannot be read.
    """
    at_hand, name = store.at_hand, attachment.name
    if name in at_hand.connected:
        return
    connection = store._connection
    with named(attachment), translate_errors():
        try:
            if attachment.kind == STORE:
                location = attach_another(connection, locate(attachment.location), name)
                at_hand.folders.append(f"{location.data}/")
            else:
                files = _files(store, attachment, thorough=thorough)
                # Files may change while they are attached, sooner than DuckDB's cache of files notices.
                connection.execute("set enable_external_file_cache = false")
                connection.execute(f"attach ':memory:' as {name}")
                for table, path in files.items():
                    with _told(path):
                        connection.execute(f'create view {name}.main."{table}" as from {reader(path)}')
                if list(files.values()) == [attachment.location]:
                    at_hand.files.append(attachment.location)
                else:
                    at_hand.folders.append(f"{attachment.location}/")
        except BaseException:
            connection.execute(f"detach database if exists {name}")
            raise
    at_hand.connected.add(name)


def disconnect(store: AttachedDatabase, name: str) -> None:
    """Let an attachment go, where it is at hand."""
    with translate_errors():
        store._connection.execute(f"detach database if exists {name}")
    store.at_hand.connected.discard(name)


def tables_at(store: AttachedDatabase, attachment: Attachment) -> dict[str, list[str]]:
    """The tables of an attachment and their columns, in order.

    Raises:
        StoreError: where they cannot be read.
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
def _told(path: str) -> Iterator[None]:
    """Name the file in what DuckDB says of it."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise StoreError(f"{path} cannot be read", found=str(error).strip().splitlines()[0]) from None


def _files(store: AttachedDatabase, attachment: Attachment, *, thorough: bool) -> dict[str, str]:
    """Table -> file."""
    location = attachment.location
    if location.startswith("s3://"):
        if ducklake.literal_path(location) != location:
            # Object storage lists what a pattern may mean, and a name with a bracket is none of it.
            raise StoreError(f"{location} has one of * ? [ in its path", hint="copy it to another place")
        ducklake.load(store._connection, ducklake.S3)
    if attachment.kind == EXPORT:
        return manifest.checked_files(location, thorough=thorough)
    if is_file(location):
        return {table_name(location): location}
    root = DataFiles(location)
    paths = sorted(path for path in root.sizes() if TABLE_FILES.fullmatch(path.removeprefix(f"{location}/")))
    found: dict[str, str] = {}
    for path in paths:
        # A name with a slash is in a folder below.
        if "/" in path.removeprefix(f"{location}/") or path.rpartition("/")[2].startswith("."):
            continue
        name = table_name(path)
        if name in found:
            raise StoreError(f"{path} and {found[name]} are both the table {name}", hint="rename one of them")
        found[name] = path
    if not found:
        raise StoreError(f"{location} holds no Parquet or CSV file")
    return found


@contextlib.contextmanager
def named(attachment: Attachment) -> Iterator[None]:
    """Name the attachment in whatever goes wrong with it."""
    try:
        yield
    except (_AttachedError, ImportDataError):
        # They name the attachment, or its table, already.
        raise
    except QubastoreError as error:
        raise _AttachedError(
            f"{attachment.name}, attached from {attachment.location}, cannot be used",
            expected=error.expected,
            found=error.what if error.found is None else f"{error.what}: {error.found}",
            hint=f"qubastore detach {attachment.name}, if it is attached; or attach it from where it is now",
        ) from None


class _AttachedError(StoreError):
    """An error that names its attachment already."""
