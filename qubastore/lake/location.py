"""The location of a store: a folder, or a URL of a PostgreSQL catalog and of the Parquet files.

    store                                                     a folder: catalog.sqlite, data/
    postgres://USER@HOST:PORT/DATABASE?data=s3://BUCKET/DIR   for several machines
    postgres://USER@HOST/DATABASE?data=/shared/folder&schema=NAME

A URL never contains secrets: libpq takes the password from PGPASSWORD or ~/.pgpass, and S3 keys come from AWS's
environment variables or ~/.aws. So a location can be printed, logged and stored.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from qubastore.errors import UsageError, check_text, did_you_mean

STORE_VARIABLE = "QUBASTORE_STORE"


DEFAULT_STORE = "store"


DEFAULT_SCHEMA = "public"


_FORM = "postgres://USER@HOST:PORT/DATABASE?data=s3://BUCKET/FOLDER (or data=/shared/folder)"


_SCHEMES = ("postgres", "postgresql")


_OPTIONS = ("data", "schema", "sslmode", "sslrootcert", "connect_timeout", "service")


_PASSED_ON = ("sslmode", "sslrootcert", "connect_timeout", "service")


@dataclass(frozen=True)
class Location:
    """The locations of a store's catalog and data files.

    Attributes:
        text: The path or URL as the user typed it; safe to print.
        folder: The store's folder; None for a store at a URL.
        data: Location of the Parquet files: an absolute folder, or `s3://bucket/prefix`. Empty: as stored in the
            catalog.
        parameters: libpq's connection parameters; empty for a folder.
        schema: PostgreSQL schema of the catalog; several stores can share a database.
    """

    text: str
    folder: Path | None = None
    data: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    schema: str = DEFAULT_SCHEMA

    def __str__(self) -> str:
        return self.text

    @property
    def is_postgres(self) -> bool:
        """Whether the catalog is in PostgreSQL."""
        return self.folder is None

    @property
    def is_s3(self) -> bool:
        """Whether the files are in object storage."""
        return self.data.startswith("s3://")

    @property
    def catalog_file(self) -> Path:
        """The SQLite catalog of a store that is a folder."""
        assert self.folder is not None
        return self.folder / "catalog.sqlite"

    @property
    def connection_string(self) -> str:
        """The connection string for libpq, which finds the password itself."""
        return " ".join(f"{key}='{_escape(value)}'" for key, value in self.parameters)

    def with_data(self, data: str) -> Location:
        """This location with another location of the data files."""
        return replace(self, data=data)


def locate(text: str | os.PathLike[str] | None = None) -> Location:
    """Parse a path or URL; None means the environment variable QUBASTORE_STORE, or ./store if it is not set.

    Raises:
        UsageError: On a URL that is not supported, contains a password, or is incomplete.

    >>> locate("postgres://ann@db/results?data=s3://bucket/quba").data
    's3://bucket/quba'
    """
    chosen = os.fspath(text) if text is not None else os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", chosen):
        if not chosen or "\0" in chosen:
            raise UsageError(f"{chosen!r} is not a valid path", expected="a folder, or a URL", hint=_FORM)
        folder = Path(chosen)
        check_text("the path of the store", f"{folder.resolve()}{chosen}")
        return Location(chosen, folder, str(folder.resolve() / "data"))
    return _from_url(chosen)


def _from_url(url: str) -> Location:
    scheme = url.split("://", 1)[0].lower()
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        # The message does not repeat any part of the URL, which may contain a secret.
        raise UsageError("the store's URL is not valid", expected=_FORM) from None
    if "@" in parts.path or "@" in options.get("data", "") or "@" in parts.fragment:
        raise UsageError(
            "the store's URL has an @ in the wrong place: does it contain a password with a / in it?",
            expected=f"{_FORM}; the password in PGPASSWORD or ~/.pgpass, keys of S3 in ~/.aws",
        )
    if parts.password is not None or "password" in options:
        raise UsageError(
            "the store's URL contains a password, which process lists and logs would show",
            expected="the password in PGPASSWORD or in ~/.pgpass",
            hint=f"{scheme}://{parts.username or 'USER'}@{parts.hostname or 'HOST'}{parts.path}?data=...",
        )
    if scheme not in _SCHEMES:
        raise UsageError(f"a store cannot be at a URL that begins with {scheme}://", expected=f"a folder, or {_FORM}")
    for option in options:
        if option not in _OPTIONS:
            raise UsageError(
                f"unknown option {option!r} in the store's URL",
                expected=f"one of {', '.join(_OPTIONS)}",
                hint=did_you_mean(option, _OPTIONS),
            )
    database = unquote(parts.path.lstrip("/"))
    if not database and "service" not in options:
        raise UsageError("the store's URL does not name a database", expected=_FORM)
    data = options.get("data", "").rstrip("/")
    if data and not re.fullmatch(r"/.*|s3://[a-z0-9][a-z0-9.-]+(/.*)?", data):
        raise UsageError(
            f"{data} is not a valid location of a store's files",
            expected="s3://BUCKET/FOLDER, or the absolute path of a folder that every machine can access",
        )
    schema = options.get("schema", DEFAULT_SCHEMA)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise UsageError(
            f"{schema!r} is not a valid schema name",
            expected="lower-case letters, digits and _, beginning with a letter or _",
        )
    named = {
        "host": unquote(parts.hostname or ""),
        "port": str(port or ""),
        "user": unquote(parts.username or ""),
        "dbname": database,
        **{key: options[key] for key in _PASSED_ON if key in options},
    }
    if any("\0" in value for value in named.values()):
        raise UsageError("the store's URL contains a zero byte", expected=_FORM)
    parameters = tuple((key, value) for key, value in named.items() if value)
    return Location(url, None, data, parameters, schema)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
