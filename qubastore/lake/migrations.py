"""The schema of a store: numbered files in `sql/schema/`, applied in order, each once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from qubastore.errors import StoreVersionError
from qubastore.lake.ducklake import CATALOG

if TYPE_CHECKING:
    import duckdb


Migrations = Mapping[int, str]
"""Version -> the SQL that migrates to it from the previous version."""


@cache
def migrations() -> Migrations:
    """The migrations of this release."""
    found = {}
    for path in files("qubastore.sql").joinpath("schema").iterdir():
        if match := re.fullmatch(r"(\d{4})_\w+\.sql", path.name):
            found[int(match[1])] = path.read_text("utf-8")
    return dict(sorted(found.items()))


def store_facts(connection: duckdb.DuckDBPyConnection, name: str = CATALOG) -> dict[str, str]:
    """The properties of a store that is attached under a name: `schema_version`, `views_hash`."""
    return dict(connection.execute(f"select key, value from {name}.store_info").fetchall())


def schema_version(facts: Mapping[str, str]) -> int:
    """The version of a store's schema, from its facts.

    Raises:
        StoreVersionError: If the store does not contain it.
    """
    if "schema_version" not in facts:
        raise StoreVersionError("the store does not contain its schema version", hint="restore it from a copy")
    return int(facts["schema_version"])


def migrate(connection: duckdb.DuckDBPyConnection, steps: Migrations, *, since: int) -> int:
    """Apply every step after version `since`, inside the caller's transaction; return the version reached."""
    version = since
    for version, sql in steps.items():
        if version > since:
            connection.execute(sql)
    connection.execute("delete from store_info where key = 'schema_version'")
    connection.execute("insert into store_info values ('schema_version', ?)", [str(version)])
    return version


def check_version(found: int, steps: Migrations, where: str) -> None:
    """Reject a store of another schema version.

    Raises:
        StoreVersionError: If the store is newer (it needs a newer release) or older (it needs `qubastore migrate`).
    """
    known = max(steps)
    if found > known:
        raise StoreVersionError(
            f"the store {where} was written by a newer qubastore",
            expected=f"schema version {known} or older",
            found=f"schema version {found}",
            hint="pip install --upgrade qubastore",
        )
    if found < known:
        raise StoreVersionError(
            f"the store {where} has an older schema",
            expected=f"schema version {known}",
            found=f"schema version {found}",
            hint=f"qubastore migrate --store {shlex.quote(where)}",
        )
