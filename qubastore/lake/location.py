"""Where a store is: a folder, or a URL that names a PostgreSQL catalog and the place of the Parquet files.

    store                                                     a folder: catalog.sqlite, data/
    postgres://USER@HOST:PORT/DATABASE?data=s3://BUCKET/DIR   for several machines
    postgres://USER@HOST/DATABASE?data=/shared/folder&schema=NAME

Secrets never stand in a URL: libpq takes the password from PGPASSWORD or ~/.pgpass, S3 keys come from AWS's environment
variables or ~/.aws. So a location can be printed, logged and kept.
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
    """Where a store's catalog and files are.

    Attributes:
        text: As the user names it; safe to print.
        folder: The store's folder; None for a store by URL.
        data: Where the Parquet files lie: an absolute folder, or `s3://bucket/prefix`. Empty: as the catalog notes it.
        parameters: libpq's connection parameters; empty for a folder.
        schema: PostgreSQL schema of the catalog: several stores can share a database.
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
        """What libpq is given; it finds the password by itself."""
        return " ".join(f"{key}='{_escape(value)}'" for key, value in self.parameters)

    def with_data(self, data: str) -> Location:
        """The same, with the place of the files."""
        return replace(self, data=data)


def locate(text: str | os.PathLike[str] | None = None) -> Location:
    """Read a path or URL; None means the environment's QUBASTORE_STORE, else ./store.

    Raises:
        UsageError: on a URL of another kind, with a password, or without what is needed.

    >>> locate("postgres://ann@db/results?data=s3://bucket/quba").data
    's3://bucket/quba'
    """
    chosen = os.fspath(text) if text is not None else os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", chosen):
        if not chosen or "\0" in chosen:
            raise UsageError(f"{chosen!r} is no path", expected="a folder, or a URL", hint=_FORM)
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
        # Nothing of the URL is repeated: what is wrong with it may be a secret in it.
        raise UsageError("the store's URL cannot be read", expected=_FORM) from None
    if "@" in parts.path or "@" in options.get("data", "") or "@" in parts.fragment:
        raise UsageError(
            "the store's URL has an @ where none belongs: a password with a / in it?",
            expected=f"{_FORM}; the password in PGPASSWORD or ~/.pgpass, keys of S3 in ~/.aws",
        )
    if parts.password is not None or "password" in options:
        raise UsageError(
            "a store's URL has a password in it, which every process list and log would show",
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
        raise UsageError("the store's URL names no database", expected=_FORM)
    data = options.get("data", "").rstrip("/")
    if data and not re.fullmatch(r"/.*|s3://[a-z0-9][a-z0-9.-]+(/.*)?", data):
        raise UsageError(
            f"the data of a store cannot lie at {data}",
            expected="s3://BUCKET/FOLDER, or the absolute path of a folder that every machine sees",
        )
    schema = options.get("schema", DEFAULT_SCHEMA)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise UsageError(
            f"{schema!r} is no name of a schema", expected="small letters, digits and _, beginning with a letter or _"
        )
    named = {
        "host": unquote(parts.hostname or ""),
        "port": str(port or ""),
        "user": unquote(parts.username or ""),
        "dbname": database,
        **{key: options[key] for key in _PASSED_ON if key in options},
    }
    if any("\0" in value for value in named.values()):
        raise UsageError("the store's URL has a zero byte in it", expected=_FORM)
    parameters = tuple((key, value) for key, value in named.items() if value)
    return Location(url, None, data, parameters, schema)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
