"""Connections to stores: attaching the catalog at a location, and checking that it is a store of this release."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.errors import StoreError, StoreNotFoundError, StoreUnreachableError
from qubastore.lake import ducklake, migrations, views
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.location import Location

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Opened:
    """A connection to a store of this release's schema.

    Attributes:
        location: Where the store and its files are.
        connection: The connection; the store is its default catalog.
        has_old_views: Whether the store has another release's views, so that a writer must refresh them.
    """

    location: Location
    connection: duckdb.DuckDBPyConnection
    has_old_views: bool


def open_connection(location: Location, *, read_only: bool) -> Opened:
    """Connect to a store; a reader of a store with another release's views gets this release's as temporary views.

    Raises:
        StoreNotFoundError: If there is no store at the location.
        StoreVersionError: If the store has the schema version of another release.
    """
    location, connection = attach(location, read_only=read_only)
    try:
        with translate_errors(), _lost_server(location):
            if location.is_postgres and not is_store(connection):
                raise StoreNotFoundError(
                    f"there is no store at {location}",
                    found="a catalog without tables: an init that was interrupted",
                    hint=f"qubastore init --store {shlex.quote(str(location))}",
                )
            facts = migrations.store_facts(connection)
            migrations.check_version(migrations.schema_version(facts), migrations.migrations(), str(location))
            has_old_views = facts.get("views_hash") != views.views_hash()
            if has_old_views and read_only:
                views.create_views(connection, temporary=True)
    except BaseException:
        ducklake.close(connection, location)
        raise
    return Opened(location, connection, has_old_views)


def is_store(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the attached catalog has the tables of a store."""
    query = "select count(*) from duckdb_tables() where database_name = ? and table_name = 'store_info'"
    row = connection.execute(query, [ducklake.CATALOG]).fetchone()
    return row is not None and bool(row[0])


def attach(location: Location, *, read_only: bool, fresh: bool = False) -> tuple[Location, duckdb.DuckDBPyConnection]:
    """Attach the catalog at a location; return the location, with that of the data files, and the connection.

    Args:
        location: Location of the store.
        read_only: Whether to open it for reading only.
        fresh: For a catalog in PostgreSQL: create it if it does not exist yet.

    Raises:
        StoreNotFoundError: If there is no store at the location.
        StoreUnreachableError: If its server cannot be reached.
    """
    _check_there(location)
    connection = ducklake.connect(location)
    try:
        if location.is_postgres:
            location = _attach_postgres(connection, location, read_only=read_only, fresh=fresh)
        else:
            with translate_errors():
                if not read_only:
                    lock_file(location).open("a").close()
                ducklake.attach(connection, location, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return location, connection


def attach_another(connection: duckdb.DuckDBPyConnection, location: Location, name: str) -> Location:
    """Attach another store under a name, for reading only; return its location, with that of its data files.

    Raises:
        StoreNotFoundError: If there is no store at the location.
        StoreVersionError: If the store has the schema version of another release.
    """
    _check_there(location)
    ducklake.load(connection, ducklake.needed(location))
    if location.is_postgres:
        location = _attach_postgres(connection, location, read_only=True, fresh=False, name=name)
    else:
        ducklake.attach(connection, location, read_only=True, name=name)
    facts = migrations.store_facts(connection, name)
    migrations.check_version(migrations.schema_version(facts), migrations.migrations(), str(location))
    return location


def _check_there(location: Location) -> None:
    if not location.is_postgres and not location.catalog_file.is_file():
        raise StoreNotFoundError(
            f"there is no store at {location}",
            expected="a folder that contains catalog.sqlite",
            hint=f"qubastore init --store {shlex.quote(str(location))}",
        )


def _attach_postgres(
    connection: duckdb.DuckDBPyConnection,
    location: Location,
    *,
    read_only: bool,
    fresh: bool,
    name: str = ducklake.CATALOG,
) -> Location:
    import duckdb

    # DuckLake creates a missing catalog by default.
    options = "" if fresh else "create_if_not_exists false"
    try:
        with _lost_server(location):
            ducklake.attach(connection, location, read_only=read_only, options=options, name=name)
            noted = ducklake.noted_data(connection, name)
    except duckdb.Error as error:
        message = ducklake.plain(error)
        if "authentication failed" in message or "no password" in message:
            raise StoreError(
                f"PostgreSQL denies access to {location}",
                found=message,
                hint="put the password in PGPASSWORD or ~/.pgpass",
            ) from None
        if "does not exist" in message:
            hint = f"qubastore init --store {shlex.quote(str(location))}"
            raise StoreNotFoundError(f"there is no store at {location}", found=message, hint=hint) from None
        if "DATA_PATH" in message.upper():
            raise StoreError(
                f"the files of the store {location} are elsewhere",
                found=message,
                hint="leave data= out: the catalog contains their location",
            ) from None
        raise StoreError(f"the store {location} cannot be opened", found=message) from None
    return location.with_data(noted)


@contextlib.contextmanager
def _lost_server(location: Location) -> Iterator[None]:
    """Recognise the errors of a server that stops inside the block, DuckDB's internal ones included.

    Raises:
        StoreUnreachableError: For each of them; other errors are passed on.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if not ducklake.is_cut(error, location):
            raise
        raise StoreUnreachableError(
            f"the PostgreSQL server of {location} cannot be reached",
            found=ducklake.plain(error),
            hint="is it up? pg_isready -h HOST",
        ) from None


def lock_file(location: Location) -> Path:
    """The lock file of a store in a folder, which a writer locks."""
    assert location.folder is not None
    return location.folder / "commit.lock"


def refresh_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace the store's views by this release's, inside the caller's transaction."""
    views.create_views(connection)
    connection.execute("delete from store_info where key = 'views_hash'")
    connection.execute("insert into store_info values ('views_hash', ?)", [views.views_hash()])
