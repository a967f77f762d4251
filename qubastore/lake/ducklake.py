"""DuckDB with DuckLake: the one place that loads extensions and attaches a catalog.

The extensions come from PyPI wheels and are loaded by path, so nothing is downloaded at run time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.errors import StoreError
from qubastore.lake.location import Location
from qubastore.lake.object_storage import s3_endpoint, s3_region

if TYPE_CHECKING:
    import duckdb


CATALOG = "store"
"""The name under which a store is attached; `from store.main.outputs` and `from outputs` mean the same."""


METADATA = f"__ducklake_metadata_{CATALOG}"
"""The name under which DuckLake attaches the catalog's own tables."""


# Small transactions (a shard's row, a run's summary) live in the catalog instead of in tiny Parquet files of their own.
INLINE_ROWS = 256


S3 = ("httpfs", "aws")
"""The extensions that files in S3 need."""


_CORE = ("sqlite_scanner", "ducklake")


_LOST = re.compile(
    r"closed the connection|connection to server|could not connect|Connection refused|terminating connection"
    r"|no connection to the server|connection has been closed|starting up|shutting down|in recovery mode"
    r"|could not receive data|could not send data|Connection reset|Broken pipe|Connection timed out"
    # What DuckDB says of a transaction whose server went away while it ended.
    r"|Failed to execute query \"(?:BEGIN|COMMIT|ROLLBACK)|not currently part of a transaction",
    re.IGNORECASE,
)


_REFUSED = re.compile(
    r"authentication failed|no password supplied|pg_hba|does not exist|permission denied", re.IGNORECASE
)


def connect(location: Location) -> duckdb.DuckDBPyConnection:
    """A fresh in-memory DuckDB connection with the extensions loaded that a store there needs.

    Raises:
        StoreError: where an extension's wheel is missing or made for another DuckDB.
    """
    import duckdb

    # DuckDB hashes the 70 MB of both extensions to check their signatures, a tenth of a second at every start. pip has
    # checked the wheels that they lie in; the switch goes off below, and cannot be put on while the database runs.
    config = dict.fromkeys(("autoinstall_known_extensions", "autoload_known_extensions"), "false")
    # A name in a query means a table, never a variable of the program.
    config["python_enable_replacements"] = "false"
    connection = duckdb.connect(":memory:", config={**config, "allow_unsigned_extensions": "true"})
    load(connection, needed(location))
    connection.execute("set allow_unsigned_extensions = false")
    return connection


def needed(location: Location) -> tuple[str, ...]:
    """The extensions that a store at a place needs."""
    wanted = ("postgres_scanner", "ducklake") if location.is_postgres else _CORE
    return (*wanted, *S3) if location.is_s3 or (location.is_postgres and not location.data) else wanted


def load(connection: duckdb.DuckDBPyConnection, extensions: Sequence[str]) -> None:
    """Load extensions; those that are loaded already stay.

    Raises:
        StoreError: where an extension's wheel is missing or made for another DuckDB.
    """
    import duckdb

    for extension in extensions:
        try:
            connection.execute(f"load {quote(str(_extension_path(extension)))}")
        except duckdb.Error as error:
            raise StoreError(
                f"the DuckDB extension {extension} does not load",
                expected=f"the wheel duckdb-extension-{extension.replace('_', '-')}=={duckdb.__version__}",
                found=str(error).splitlines()[0],
                hint=f"pip install duckdb-extension-{extension.replace('_', '-')}=={duckdb.__version__}",
            ) from None
    if "httpfs" in extensions:
        _use_s3(connection)


def _use_s3(connection: duckdb.DuckDBPyConnection) -> None:
    """Where S3 is, and whose keys open it, in memory alone; what is out of reach is asked for again for a minute."""
    scheme, _, host = s3_endpoint().rpartition("://")
    options = ["type s3", "provider credential_chain", "validation 'none'", f"region {quote(s3_region())}"]
    if host:
        options += [f"endpoint {quote(host)}", "url_style 'path'", f"use_ssl {'false' if scheme == 'http' else 'true'}"]
    connection.execute(f"create or replace temporary secret store_files ({', '.join(options)})")
    # httpfs puts the keys of the environment into settings that any query may read; the secret is enough.
    for setting in ("s3_access_key_id", "s3_secret_access_key", "s3_session_token"):
        connection.execute(f"set {setting} = ''")
    connection.execute("set http_retries = 8; set http_retry_wait_ms = 250; set http_retry_backoff = 2")


def attach(
    connection: duckdb.DuckDBPyConnection,
    location: Location,
    *,
    read_only: bool,
    options: str = "",
    name: str = CATALOG,
) -> None:
    """Attach the DuckLake at a location; as `store`, it becomes the default.

    The data path noted in the catalog of a folder is overridden by where the files are now, so that a store can be
    moved; a catalog in PostgreSQL says itself where its files are.
    """
    if location.is_postgres:
        catalog = f"ducklake:postgres:{location.connection_string}"
        chosen = [f"metadata_schema {quote(location.schema)}"]
        if location.data:
            chosen.append(f"data_path {quote(f'{location.data}/')}")
    else:
        catalog = f"ducklake:sqlite:{location.catalog_file.resolve()}"
        chosen = [f"data_path {quote(f'{location.data}/')}", "override_data_path true"]
    chosen += [option for option in ("read_only" if read_only else "", options) if option]
    connection.execute(f"attach {quote(catalog)} as {name} ({', '.join(chosen)})")
    if name == CATALOG:
        connection.execute(f"use {name}")


def noted_data(connection: duckdb.DuckDBPyConnection, name: str = CATALOG) -> str:
    """Where an attached catalog says that its files lie, without a slash at the end."""
    query = f"select data_path from ducklake_settings({quote(name)})"
    row = connection.execute(query).fetchone()
    assert row is not None
    return str(row[0]).rstrip("/")


def is_lost(error: Exception) -> bool:
    """Whether an error says that the catalog's server is gone, or not there yet: what a later try may cure."""
    return bool(_LOST.search(str(error))) and not _REFUSED.search(str(error))


def may_be_lost(error: Exception) -> bool:
    """Whether an error may come of a server that died and is back already: DuckDB then says many things."""
    import duckdb

    kinds = (duckdb.IOException, duckdb.TransactionException, duckdb.InvalidInputException)
    return isinstance(error, kinds) and not _REFUSED.search(str(error))


def close(connection: duckdb.DuckDBPyConnection, location: Location) -> None:
    """Close a connection; one to a PostgreSQL server that went away is left to the end of the process instead.

    DuckDB rolls back what is open when a connection is closed, and ends the whole process where that fails in a
    destructor. So a connection that does not answer is never destroyed.
    """
    import duckdb

    if location.is_postgres:
        try:
            with contextlib.suppress(duckdb.TransactionException):
                connection.execute("rollback")
            connection.execute(f"from postgres_query({quote(METADATA)}, 'select 1')").fetchall()
        except duckdb.Error:
            keep_for_good(connection)
            return
    connection.close()


def keep_for_good(connection: duckdb.DuckDBPyConnection) -> None:
    """Have a connection outlive everything: one reference more than will ever be let go."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def plain(error: Exception) -> str:
    """What PostgreSQL itself said, without what DuckLake puts around it."""
    first = str(error).strip().splitlines()[0]
    return re.sub(r'^.*Unable to connect to Postgres at "[^"]*": ', "", first)


def literal_path(path: str) -> str:
    """A path as a pattern that means this file alone: DuckDB takes `*`, `?` and `[` for patterns.

    >>> literal_path("/data/lab*")
    '/data/lab[*]'
    """
    return re.sub(r"([*?\[])", r"[\1]", path)


def quote(text: str) -> str:
    """`text` as a SQL string literal.

    >>> quote("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _extension_path(extension: str) -> Path:
    package = importlib.util.find_spec(f"duckdb_extension_{extension}")
    if package is None or not package.submodule_search_locations:
        name = extension.replace("_", "-")
        core = extension in _CORE
        raise StoreError(
            f"the DuckDB extension {extension} is not installed",
            expected=f"the PyPI package duckdb-extension-{name}, which "
            + ("qubastore depends on" if core else "stores in PostgreSQL and S3 need"),
            hint="pip install --force-reinstall qubastore" if core else "pip install 'qubastore[cluster]'",
        )
    return next(Path(package.submodule_search_locations[0]).rglob("*.duckdb_extension"))
