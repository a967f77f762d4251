"""Creating stores, and migrating old ones to this release's schema."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.errors import StoreError, UsageError
from qubastore.lake import ducklake, migrations
from qubastore.lake.connection import attach, is_store, refresh_views
from qubastore.lake.database import Database
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.location import Location, locate
from qubastore.lake.object_storage import DataFiles
from qubastore.lake.rows import insert
from qubastore.lake.tidy import SMALL_TABLES
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.published import SOURCE, read_table

if TYPE_CHECKING:
    import duckdb

_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "lustre", "beegfs", "gpfs", "ceph")


def create(path: str | os.PathLike[str] | None = None) -> Location:
    """Create a store with its schema, views and the published table of the QUBA study.

    A folder is created under a temporary name in the same parent folder and renamed when it is complete; a catalog in
    PostgreSQL is filled in one transaction, before which it is not a store.

    Args:
        path: Folder to create as the store, or a URL; None means QUBASTORE_STORE or ./store.

    Returns:
        The store's location.

    Raises:
        StoreError: If the location is already in use or cannot be written to.
    """
    where = locate(path)
    if where.is_postgres:
        _create_in_postgres(where)
    else:
        _create_folder(where)
    return where


def _create_folder(location: Location) -> None:
    where = location.folder
    assert where is not None
    if location.catalog_file.exists():
        hint = f"qubastore show runs --store {shlex.quote(str(where))}"
        raise StoreError(f"there is already a store at {where}", hint=hint)
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise StoreError(f"{where} is not empty", expected="a new or empty folder", hint="choose another path")
    with translate_errors():
        where.parent.mkdir(parents=True, exist_ok=True)
        _refuse_network_file_system(where.parent.resolve())
        new = Path(tempfile.mkdtemp(prefix=f".{where.name}-", dir=where.parent)).resolve()
    try:
        with translate_errors():
            (new / "data").mkdir()
            new.chmod(0o777 & ~_umask())
            made = locate(new)
            connection = ducklake.connect(made)
            ducklake.attach(connection, made, read_only=False)
            # With the default journal mode, a reader with an unfetched result makes a writer's commit fail.
            with contextlib.closing(sqlite3.connect(made.catalog_file)) as catalog:
                catalog.execute("pragma journal_mode=wal")
            with Database(made, connection, read_only=False) as database:
                _fill(database)
            new.rename(where)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _create_in_postgres(location: Location) -> None:
    if not location.data:
        raise UsageError(
            "a new store in PostgreSQL needs a location for its files",
            expected="&data=s3://BUCKET/FOLDER or &data=/shared/folder in its URL",
            found=str(location),
        )
    if not location.is_s3:
        with translate_errors():
            Path(location.data).mkdir(parents=True, exist_ok=True)
    DataFiles(location.data).check()
    with Database(*attach(location, read_only=False, fresh=True), read_only=False) as database:
        if database.ask(is_store):
            raise StoreError(
                f"there is already a store at {location}",
                hint=f"qubastore show runs --store {shlex.quote(str(location))}",
            )
        if database.files.sizes():
            raise StoreError(f"{location.data} is not empty", expected="a new or empty location for a store's files")
        _fill(database)


def _fill(database: Database) -> None:
    """Add the schema, the views and the published table in one transaction."""

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        migrations.migrate(connection, migrations.migrations(), since=0)
        refresh_views(connection)
        load_published(connection)

    with translate_errors():
        option = f"call {ducklake.CATALOG}.set_option('data_inlining_row_limit', {ducklake.INLINE_ROWS})"
        database.ask(lambda connection: connection.execute(option))
    database.write(work)
    _set_options(database)


def _set_options(database: Database) -> None:
    """Set the options of tables, which DuckLake allows only once the tables exist.

    Runs are removed and replaced by whole files, however few rows these have. A deletion in the catalog would keep
    them.
    """

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        listed = connection.execute(f"select table_name from ducklake_table_info('{ducklake.CATALOG}')").fetchall()
        there = {table for (table,) in listed}
        limits = dict.fromkeys(ducklake.WHOLE_FILES, 0) | dict.fromkeys(SMALL_TABLES, ducklake.INLINE_ROWS_OF_RUNS)
        # A row of replicates has 8 KB: none of them belongs into the catalog, and few at once into memory.
        limits["replicates"] = 0
        options = [("data_inlining_row_limit", limit, table) for table, limit in limits.items()]
        options.append(("parquet_row_group_size", ducklake.REPLICATES_PER_GROUP, "replicates"))
        for option, value, table in options:
            if table in there:
                where = f"{ducklake.quote(option)}, {value}, table_name => {ducklake.quote(table)}"
                connection.execute(f"call {ducklake.CATALOG}.set_option({where})")

    database.write(work, repeatable=True)


def load_published(connection: duckdb.DuckDBPyConnection) -> None:
    """Insert the published rows into a new store."""
    columns = ("model", "label", "architecture", "pretraining", "paradigm", "paper", "loader", "loader_id")
    table = read_table(SOURCE)
    insert(connection, "published_models", [(SOURCE, *(row[column] for column in columns)) for row in table])
    results = [
        (SOURCE, row["model"], dimension.name, float(row[dimension.column]))
        for row in table
        for dimension in DIMENSIONS
    ]
    insert(connection, "published_results", results)


def migrate(path: str | os.PathLike[str] | None = None) -> tuple[int, int]:
    """Migrate a store's schema to this release's version in one transaction; return the versions before and after."""
    with Database(*attach(locate(path), read_only=False), read_only=False) as database:
        steps = migrations.migrations()
        before = migrations.schema_version(database.ask(migrations.store_facts))
        if before > max(steps):
            migrations.check_version(before, steps, str(database.location))

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            return migrations.migrate(connection, steps, since=before)

        after = database.write(work) if before < max(steps) else before
        _set_options(database)
        database.write(refresh_views)
        return before, after


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _refuse_network_file_system(path: Path) -> None:
    """Reject network file systems, where SQLite's locks are not reliable.

    Raises:
        StoreError: If `path` is on one.
    """
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return
    fields = [line.split() for line in mounts.read_text().splitlines()]
    inside = [(point, kind) for _, point, kind, *_ in fields if path.is_relative_to(point)]
    kind = max(inside, key=lambda mount: len(mount[0]))[1] if inside else ""
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        raise StoreError(
            f"{path} is on a network file system ({kind})",
            expected="a local disk: the SQLite catalog needs locks that are not reliable on network file systems",
            hint="qubastore init --store /local/path",
        )
