"""Translating errors of DuckDB and of the operating system into qubastore's own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from qubastore.errors import QubastoreError, QueryError, StoreBusyError, StoreError


@contextlib.contextmanager
def translate_errors(query: str | None = None) -> Iterator[None]:
    """Translate errors of DuckDB and of the operating system that are raised in the block into qubastore's own.

    Args:
        query: The user's query; None if the error is not about one.
    """
    import duckdb

    try:
        yield
    except (QubastoreError, BrokenPipeError):
        raise
    except RuntimeError as error:
        # DuckDB's message for Ctrl-C.
        if "Query interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise StoreError(f"{place}{error.strerror or error}", hint=_disk_hint(str(error))) from error
    except duckdb.Error as error:
        message = str(error).strip()
        read_only = re.search(r'database "(\w+)" which is attached in read-only mode', message)
        if read_only and read_only[1] != "store":
            raise QueryError(f"{read_only[1]} is attached for reading only", found=_first_line(query)) from None
        if "attached in read-only mode" in message:
            raise QueryError(
                "the store is open for reading only",
                found=_first_line(query),
                hint="qubastore sql --write, to change it",
            ) from None
        if "disabled by configuration" in message or "disabled through configuration" in message:
            raise QueryError(
                "the query accesses data outside the store",
                found=_first_line(message),
                hint="qubastore sql --allow-files, if the query is your own",
            ) from None
        if "database is locked" in message:
            raise StoreBusyError("the catalog stayed locked by another process", hint="run the command again") from None
        if isinstance(error, duckdb.IOException):
            raise StoreError(_first_line(message) or "I/O error", hint=_disk_hint(message)) from error
        if query is None:
            raise StoreError(_first_line(message) or "DuckDB failed", hint="qubastore show runs") from error
        raise QueryError(message, hint="qubastore show views, for the views and their columns") from None


def _disk_hint(message: str) -> str | None:
    if "No space left" in message:
        return "free some space, then run the same command again: what was committed is kept"
    if "Permission denied" in message or "Read-only file system" in message:
        return "choose a location that you may write to: --store PATH"
    return None


def _first_line(text: str | None) -> str | None:
    return text.strip().splitlines()[0] if text and text.strip() else None
