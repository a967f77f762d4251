"""DuckDB with DuckLake: the one place that loads extensions and attaches a catalog.

The extensions come from PyPI wheels and are loaded by path, so nothing is downloaded at run time.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from qubastore.errors import StoreError

if TYPE_CHECKING:
    import duckdb

CATALOG = "store"
"""The name under which a store is attached; `from store.main.outputs` and `from outputs` mean the same."""

# Small transactions (a shard's row, a run's summary) live in the catalog instead of in tiny Parquet files of their own.
INLINE_ROWS = 256


def connect() -> duckdb.DuckDBPyConnection:
    """A fresh in-memory DuckDB connection with the DuckLake and SQLite extensions loaded.

    Raises:
        StoreError: where an extension's wheel is missing or made for another DuckDB.
    """
    import duckdb

    # DuckDB hashes the 70 MB of both extensions to check their signatures, a tenth of a second at every start. pip has
    # checked the wheels that they lie in; the switch goes off below, and cannot be put on while the database runs.
    config = dict.fromkeys(("autoinstall_known_extensions", "autoload_known_extensions"), "false")
    connection = duckdb.connect(":memory:", config={**config, "allow_unsigned_extensions": "true"})
    for extension in ("sqlite_scanner", "ducklake"):
        try:
            connection.execute(f"load {quote(str(_extension_path(extension)))}")
        except duckdb.Error as error:
            raise StoreError(
                f"the DuckDB extension {extension} does not load",
                expected=f"the wheel duckdb-extension-{extension.replace('_', '-')}=={duckdb.__version__}",
                found=str(error).splitlines()[0],
                hint=f"pip install duckdb-extension-{extension.replace('_', '-')}=={duckdb.__version__}",
            ) from None
    connection.execute("set allow_unsigned_extensions = false")
    return connection


def attach(connection: duckdb.DuckDBPyConnection, catalog: Path, data: Path, *, read_only: bool) -> None:
    """Attach the DuckLake whose SQLite catalog is `catalog` as `store` and make it the default.

    The data path noted in the catalog is overridden by where the files are now, so that a store can be moved.
    """
    options = f"data_path {quote(f'{data}/')}, override_data_path true" + (", read_only" if read_only else "")
    connection.execute(f"attach {quote(f'ducklake:sqlite:{catalog}')} as {CATALOG} ({options})")
    connection.execute(f"use {CATALOG}")


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
        raise StoreError(
            f"the DuckDB extension {extension} is not installed",
            expected=f"the PyPI package duckdb-extension-{name}, which qubastore depends on",
            hint="pip install --force-reinstall qubastore",
        )
    return next(Path(package.submodule_search_locations[0]).rglob("*.duckdb_extension"))
