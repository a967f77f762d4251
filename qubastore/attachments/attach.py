"""Attaching other stores, exports of stores, and tables of any origin to a store, so that they can be queried with it.

Attachments are listed in the store and read in place, for reading only, by every connection that needs them
(`qubastore.attachments.gather`). Nothing is copied, so nothing goes out of date; for a permanent copy, see
`qubastore copy`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.attachments.attached import (
    EXPORT,
    MANIFEST,
    STORE,
    TABLE_FILES,
    TABLES,
    Attachment,
    is_file,
    noted,
    table_stem,
)
from qubastore.errors import StoreError, UsageError, check_name
from qubastore.lake import ducklake, sandbox
from qubastore.lake.location import locate
from qubastore.lake.object_storage import DataFiles

if TYPE_CHECKING:
    import duckdb

    from qubastore.attachments.attached import AttachedDatabase


_SOURCES = frozenset({"auto", "all", "measured", "published", "attached"})


_DATABASES = frozenset(
    {"main", "store", "memory", "temp", "system", "writer_locks", "information_schema", "pg_catalog"}
)


def attach(
    store: AttachedDatabase,
    location: str,
    name: str | None = None,
    *,
    suite: str | None = None,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Attachment:
    """Add an attachment to the store, after checking that it can be read and used.

    Args:
        store: A store open for writing.
        location: Another store (folder or URL), an export, a folder of Parquet or CSV files, or one such file; the
            last three may be in S3.
        name: Schema name; None derives one from the last part of the location.
        suite: For tables: the suite of their figures, if they have no column `suite`; None means `quba`.
        table: For tables: the one to rank; None finds it.
        columns: For tables: column of `rankable` -> SQL expression over the table, in addition to the columns that are
            recognised by their names.

    Returns:
        The attachment as stored.

    Raises:
        UsageError: On a name that is not valid or already used, a location that cannot be attached, or unknown columns.
        StoreError: If the location cannot be read.
    """
    from qubastore.attachments import connect, gather
    from qubastore.attachments.columns import choose_columns

    kind, where = _kind(store, location)
    chosen = _checked_name(store, _name_of(where) if name is None else name, given=name is not None)
    if kind != TABLES and (table or columns or suite is not None):
        whose = "a store" if kind == STORE else "an export"
        raise UsageError(f"{where} is {whose}: its figures need no --table, --column and --suite")
    if suite is not None and not suite.strip():
        raise UsageError("the name of --suite is empty", hint="--suite NAME, or leave it out for quba")
    made = Attachment(chosen, kind, where, suite or "quba")
    # This connection may still have one of that name, which another process detached.
    connect.disconnect(store, chosen)
    try:
        if kind == TABLES:
            ranked, expressions = choose_columns(store, connect.tables_at(store, made), table, columns or {})
            made = Attachment(chosen, kind, where, made.suite, ranked, expressions)
        gather.gather(store, only=made, thorough=True)
    except BaseException:
        connect.disconnect(store, chosen)
        raise

    def work(connection: duckdb.DuckDBPyConnection) -> tuple[Attachment, ...]:
        from qubastore.lake.rows import insert

        there = noted(connection)
        _check_free(chosen, there)
        values = (made.name, made.kind, made.location, made.suite, made.ranked_table, dict(made.columns))
        insert(connection, "attachments", [(*values, datetime.now(UTC))])
        return noted(connection)

    store.attachments = store.write(work)
    return made


def detach(store: AttachedDatabase, name: str) -> Attachment:
    """Remove an attachment from the store; the attached data is not changed.

    Args:
        store: A store open for writing.
        name: Name of the attachment.

    Raises:
        UsageError: If there is no attachment of that name.
    """

    def work(connection: duckdb.DuckDBPyConnection) -> Attachment:
        there = {each.name: each for each in noted(connection)}
        if not there:
            raise UsageError("nothing is attached to this store", hint="qubastore attach PATH --as NAME")
        check_name("attachment", name, there)
        connection.execute("delete from attachments where name = ?", [name])
        return there[name]

    from qubastore.attachments.connect import disconnect

    removed = store.write(work)
    disconnect(store, name)
    store.attachments = tuple(each for each in store.attachments if each.name != name)
    return removed


def _kind(store: AttachedDatabase, location: str) -> tuple[str, str]:
    """The kind of attachment at a location, and the full location."""
    from qubastore.attachments import manifest

    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", location)
    if not location.strip():
        raise UsageError("the location is empty", hint="qubastore attach PATH, or a store's URL")
    if scheme and scheme[1].lower() in ("http", "https", "file"):
        raise UsageError(
            f"{scheme[1]}:// locations cannot be attached",
            expected="a path, s3://, or postgres:// for a store",
            hint="download it, and attach the file",
        )
    if scheme and scheme[1].lower() != "s3":
        place = locate(location)
        if str(place) == str(store.location):
            raise UsageError(f"{location} is this store itself")
        return STORE, place.text
    if scheme:
        root = location.rstrip("/")
        if is_file(root):
            return TABLES, root
        names = [path.removeprefix(f"{root}/") for path in DataFiles(root).sizes()]
    else:
        path = Path(location).expanduser().resolve()
        root = str(path)
        if path.is_file() and TABLE_FILES.fullmatch(path.name):
            return TABLES, root
        if not path.exists():
            raise StoreError(f"there is nothing at {location}", hint="qubastore attach PATH, or a store's URL")
        names = [each.name for each in path.iterdir()] if path.is_dir() else []
    if "catalog.sqlite" in names and not scheme:
        if store.location.folder is not None and store.location.folder.resolve() == Path(root):
            raise UsageError(f"{location} is this store itself")
        return STORE, root
    if MANIFEST in names and manifest.is_export(root):
        return EXPORT, root
    if any(TABLE_FILES.fullmatch(each) for each in names):
        return TABLES, root
    raise StoreError(
        f"{location} cannot be attached",
        expected="a store, an export of one, a folder with Parquet or CSV files, or one such file",
        found=", ".join(sorted(names)[:5]) or "none of these",
    )


def _name_of(location: str) -> str:
    """A schema name derived from a location: its last part that is not a generic name."""
    parts = [part for part in re.split(r"[/\\]", location.partition("?")[0]) if part]
    while len(parts) > 1 and parts[-1] in ("store", "export", "results", "data"):
        parts.pop()
    name = re.sub(r"\W+", "_", table_stem(parts[-1]).lower(), flags=re.ASCII).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def _checked_name(store: AttachedDatabase, name: str, *, given: bool) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name) or name.startswith("__"):
        raise UsageError(
            f"{name!r} is not a valid name of an attachment"
            if given
            else "no name of an attachment can be derived from the location",
            expected="lower-case letters, digits and _, beginning with a letter",
            hint="--as NAME",
        )
    # DuckLake's own tables have the names: duckdb_tables() also reads the statistics of every table, which takes long.
    taken = store.rows(
        "select distinct source from published_models"
        f" union select table_name from {ducklake.METADATA}.ducklake_table where end_snapshot is null"
        f" union select view_name from {ducklake.METADATA}.ducklake_view where end_snapshot is null"
        " union select keyword_name from duckdb_keywords() where keyword_category <> 'unreserved'"
    )
    if sandbox.is_outside(f"{name}.x"):
        raise UsageError(f"the name {name} is reserved for functions of DuckDB", hint="choose another --as NAME")
    if name in _SOURCES | _DATABASES or (name,) in taken:
        raise UsageError(f"the name {name} is reserved or already used", hint="choose another --as NAME")
    store.attachments = store.ask(noted)
    _check_free(name, store.attachments)
    return name


def _check_free(name: str, there: tuple[Attachment, ...]) -> None:
    for each in there:
        if each.name == name:
            raise UsageError(
                f"{name} is already attached",
                found=f"{each.kind} at {each.location}",
                hint=f"choose another --as NAME, or qubastore detach {name}",
            )
