"""DuckDB with DuckLake: the one place that loads extensions and attaches a catalog.

The extensions come from PyPI wheels and are loaded by path, so nothing is downloaded at run time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.errors import StoreError
from qubastore.lake.location import Location
from qubastore.s3 import s3_endpoint, s3_region
from qubastore.statistics.threads import n_threads

if TYPE_CHECKING:
    import duckdb


CATALOG = "store"
"""The name under which a store is attached; `from store.main.outputs` and `from outputs` mean the same."""


METADATA_PREFIX = "__ducklake_metadata_"
"""Before the name of an attached store: the name under which DuckLake attaches its catalog's own tables."""


METADATA = f"{METADATA_PREFIX}{CATALOG}"
"""That name for the store."""


# Small transactions (a shard's row, a run's summary) are stored in the catalog instead of in tiny Parquet files.
INLINE_ROWS = 256


INLINE_ROWS_OF_RUNS = 16
"""The same for the small tables with rows of runs: they are read with every question, and merged (`lake.tidy`)."""


KEEP_DAYS = 7.0
"""Days of time travel: older snapshots may be expired (`qubastore.maintenance.gc`)."""


REPLICATES_PER_GROUP = 2048
"""Rows of a row group of the table `replicates`: 16 MB in memory."""


WHOLE_FILES = ("outputs", "logits", "features")
"""The tables whose files are written, replaced and removed as a whole, one run at a time."""


S3 = ("httpfs", "aws")
"""The extensions that files in S3 need."""


_CORE = ("sqlite_scanner", "ducklake")


_LOST = re.compile(
    r"closed the connection|connection to server|could not connect|Connection refused|terminating connection"
    r"|no connection to the server|connection has been closed|starting up|shutting down|in recovery mode"
    r"|could not receive data|could not send data|Connection reset|Broken pipe|Connection timed out"
    # DuckDB's messages for a transaction that was ending when the connection to its server was lost.
    r"|Failed to execute query \"(?:BEGIN|COMMIT|ROLLBACK)|not currently part of a transaction",
    re.IGNORECASE,
)


_REFUSED = re.compile(
    r"authentication failed|no password supplied|pg_hba|does not exist|permission denied", re.IGNORECASE
)


def connect(location: Location) -> duckdb.DuckDBPyConnection:
    """A new in-memory DuckDB connection with the extensions loaded that a store at the location needs.

    Raises:
        StoreError: If an extension's wheel is missing or built for another DuckDB.
    """
    import duckdb

    # To check their signatures, DuckDB would hash the 70 MB of both extensions, 0.1 s at every start. pip has checked
    # the wheels that contain them. The setting is disabled below and cannot be enabled while the database is running.
    config = dict.fromkeys(("autoinstall_known_extensions", "autoload_known_extensions"), "false")
    # A name in a query always refers to a table, never to a Python variable.
    config["python_enable_replacements"] = "false"
    config["threads"] = str(n_threads())
    connection = duckdb.connect(":memory:", config={**config, "allow_unsigned_extensions": "true"})
    load(connection, needed(location))
    connection.execute("set allow_unsigned_extensions = false")
    return connection


def needed(location: Location) -> tuple[str, ...]:
    """The names of the extensions that a store at a location needs."""
    wanted = ("postgres_scanner", "ducklake") if location.is_postgres else _CORE
    return (*wanted, *S3) if location.is_s3 or (location.is_postgres and not location.data) else wanted


def load(connection: duckdb.DuckDBPyConnection, extensions: Sequence[str]) -> None:
    """Load extensions; those that are already loaded are not affected.

    Raises:
        StoreError: If an extension's wheel is missing or built for another DuckDB.
    """
    import duckdb

    for extension in extensions:
        try:
            connection.execute(f"load {quote(str(_extension_path(extension)))}")
        except duckdb.Error as error:
            raise StoreError(
                f"the DuckDB extension {extension} cannot be loaded",
                expected=f"the wheel duckdb-extension-{extension.replace('_', '-')}=={duckdb.__version__}",
                found=str(error).splitlines()[0],
                hint=f"pip install duckdb-extension-{extension.replace('_', '-')}=={duckdb.__version__}",
            ) from None
    if "httpfs" in extensions:
        _use_s3(connection)


def _use_s3(connection: duckdb.DuckDBPyConnection) -> None:
    """Configure S3's endpoint and credentials, in memory only; failed requests are retried for about a minute."""
    scheme, _, host = s3_endpoint().rpartition("://")
    options = ["type s3", "provider credential_chain", "validation 'none'", f"region {quote(s3_region())}"]
    if host:
        options += [f"endpoint {quote(host)}", "url_style 'path'", f"use_ssl {'false' if scheme == 'http' else 'true'}"]
    connection.execute(f"create or replace temporary secret store_files ({', '.join(options)})")
    # httpfs copies the environment's keys into settings that any query can read; the secret makes them unnecessary.
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
    """Attach the DuckLake at a location under a name; under the name `store`, it becomes the default database.

    For a folder, the current data path overrides the one stored in the catalog, so that a store can be moved; for
    PostgreSQL, the data path is the one stored in the catalog.
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
    """The data path stored in an attached catalog, without a trailing slash."""
    query = f"select data_path from ducklake_settings({quote(name)})"
    row = connection.execute(query).fetchone()
    assert row is not None
    return str(row[0]).rstrip("/")


def is_lost(error: Exception) -> bool:
    """Whether an error means that the catalog's server cannot be reached at present, so that a retry may succeed."""
    return bool(_LOST.search(str(error))) and not _REFUSED.search(str(error))


def may_be_lost(error: Exception) -> bool:
    """Whether an error may be due to a server that was restarted, for which DuckDB has many different messages."""
    import duckdb

    kinds = (duckdb.IOException, duckdb.TransactionException, duckdb.InvalidInputException)
    return (isinstance(error, kinds) or is_broken(error)) and not _REFUSED.search(str(error))


def is_broken(error: Exception) -> bool:
    """Whether DuckDB has broken down: it rejects every further statement of the connection.

    DuckLake reads the first row of each answer of its server without looking whether there is one, so a server that
    stops at the wrong moment ends in an internal error ("attempted to access index 0 within vector of size 0").
    """
    import duckdb

    return isinstance(error, duckdb.InternalException | duckdb.FatalException)


def is_cut(error: Exception, location: Location) -> bool:
    """Whether a connection must be made anew: its catalog's server is lost, or DuckDB has broken down over it."""
    return location.is_postgres and (is_lost(error) or is_broken(error))


def close(connection: duckdb.DuckDBPyConnection, location: Location) -> None:
    """Close a connection, unless it was to a PostgreSQL server that cannot be reached any more.

    DuckDB rolls back an open transaction when a connection is closed, and terminates the process if that fails in a
    destructor. So a connection that does not respond is never destroyed.
    """
    import duckdb

    if location.is_postgres:
        try:
            with contextlib.suppress(duckdb.TransactionException):
                connection.execute("rollback")
            connection.execute(f"from postgres_query({quote(METADATA)}, 'select 1')").fetchall()
        except duckdb.Error:
            never_destroy(connection)
            return
    connection.close()


def never_destroy(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep a connection until the process ends, by an extra reference that is never released."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def plain(error: Exception) -> str:
    """PostgreSQL's own message, without the text that DuckLake adds to it."""
    first = str(error).strip().splitlines()[0]
    return re.sub(r'^.*Unable to connect to Postgres at "[^"]*": ', "", first)


def literal_path(path: str) -> str:
    """A path as a glob pattern that matches only this file: DuckDB interprets `*`, `?` and `[` in paths.

    >>> literal_path("/data/lab*")
    '/data/lab[*]'
    """
    return re.sub(r"([*?\[])", r"[\1]", path)


def quote_name(name: str) -> str:
    """`name` as a SQL identifier: in double quotes, with those inside it doubled."""
    return '"' + name.replace('"', '""') + '"'


def quote(text: str) -> str:
    """`text` as a SQL string literal.

    >>> quote("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def is_one_of(column: str, values: Iterable[str]) -> str:
    """The SQL condition that a column is one of some texts.

    They are literals: for a parameter or a join, DuckLake would not leave out files that cannot have them. And DuckDB
    takes 0.2 ms for each value of a list that is a parameter, as it looks for pandas each time.

    >>> is_one_of("run_id", ["a", "b"])
    "run_id in ('a', 'b')"
    """
    texts = ", ".join(map(quote, values))
    return f"{column} in ({texts})" if texts else "false"


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
