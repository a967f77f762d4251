"""Every error that qubastore raises on purpose, as one tree.

    QubastoreError                 something a user can fix; exit code 1
     ├── UsageError                the request itself is wrong; exit code 2
     ├── StoreError                the store is missing, damaged, locked or cannot be written
     │    ├── StoreNotFoundError
     │    ├── StoreVersionError    written by another release
     │    ├── StoreBusyError       locked by another process for too long
     │    └── StoreUnreachableError its catalog's server does not answer
     ├── QueryError                SQL that DuckDB rejects
     ├── DatasetError              images or labels that are not as expected
     │    └── DatasetNotFoundError a dataset that is not at its expected path
     ├── ModelError                a model that cannot be found, loaded or trusted
     │    └── ResolutionError      a network that cannot take inputs of another size
     ├── OutputError               a model returned something that is not a valid classifier output
     ├── ImportDataError           a file to import that is not valid
     └── IngestError               an ingest that could not finish all its work

Errors of DuckDB, the operating system, torch and Ray are translated where they enter: `lake.duckdb_errors`, the model
loaders, `evaluators.cluster.pool`. Any other traceback that reaches a user is a bug in qubastore.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from collections.abc import Collection, Iterable


class QubastoreError(Exception):
    """The base of all errors: what went wrong and where, what was expected, what was found, and what to do next.

    Args:
        what: One sentence that names the place (file, model, option, row).
        expected: What would have been correct.
        found: What was found instead.
        hint: What to do, or the command to type next.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, expected: str | None = None, found: str | None = None, hint: str | None = None
    ) -> None:
        self.what, self.expected, self.found, self.hint = what, expected, found, hint
        parts = [("expected", expected), ("found", found), ("try", hint)]
        super().__init__("\n".join([what] + [f"  {label}: {text}" for label, text in parts if text]))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the parts when an error is sent from a Ray worker to the driver."""
        return (_rebuild, (type(self), self.what, self.expected, self.found, self.hint))


def _rebuild(
    kind: type[QubastoreError], what: str, expected: str | None, found: str | None, hint: str | None
) -> QubastoreError:
    return kind(what, expected=expected, found=found, hint=hint)


class UsageError(QubastoreError):
    """The request itself is invalid: an unknown name, a negative weight, options that exclude each other."""

    exit_code = 2


class StoreError(QubastoreError):
    """The store is damaged or cannot be written."""


class StoreNotFoundError(StoreError):
    """There is no store at the given location."""


class StoreVersionError(StoreError):
    """The store was written by a release with another schema."""


class StoreBusyError(StoreError):
    """Another process kept the store locked until the time limit."""


class StoreUnreachableError(StoreError):
    """The PostgreSQL server of the store's catalog does not answer at present."""


class QueryError(QubastoreError):
    """SQL that DuckDB rejects: a syntax error, an unknown column, a write to a read-only store."""


class DatasetError(QubastoreError):
    """Images or labels that are missing, misplaced, or changed since they were first read."""


class DatasetNotFoundError(DatasetError):
    """A dataset that is not at its expected path; an ingest of a suite continues with the others."""


class ModelError(QubastoreError):
    """A model that cannot be found, loaded, or distinguished from another."""


class ResolutionError(ModelError):
    """A network that accepts inputs of its own size only."""


class OutputError(QubastoreError):
    """A model returned something that is not a valid classifier output (NaN, wrong shape, softmaxed logits)."""


class ImportDataError(QubastoreError):
    """A file to import that is not valid: missing columns, values out of range, unknown images."""


class IngestError(QubastoreError):
    """An ingest that could not finish all its work; what was committed is kept."""


def check_text(what: str, text: str) -> str:
    """Return `text` if it can be stored as UTF-8; file names may contain other bytes.

    Raises:
        UsageError: If it cannot; the error shows the bytes.
    """
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        data = os.fsencode(text)
        with contextlib.suppress(UnicodeDecodeError):
            raise UsageError(
                f"{what} cannot be read in this locale: {data.decode()!r}",
                expected="a locale whose encoding is UTF-8",
                found=sys.getfilesystemencoding(),
                hint="export PYTHONUTF8=1",
            )
        raise UsageError(
            f"{what} is not UTF-8: {data!r}",
            expected="a path, name or query in UTF-8, because it is stored as text",
            hint="rename the file or folder, or refer to it by another path, such as a symbolic link",
        )
    return text


def in_one_line(error: BaseException) -> str:
    """The type and the first line of another library's error, for `found`.

    >>> in_one_line(ValueError("no luck\\nand more"))
    'ValueError: no luck'
    """
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def did_you_mean(name: str, known: Iterable[str], *, count: int = 3) -> str | None:
    """A hint with the known names most similar to `name`, or None if none is similar.

    >>> did_you_mean("calibraton", ["calibration", "accuracy"])
    'did you mean calibration?'
    """
    near = difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
    return f"did you mean {', '.join(near)}?" if near else None


def check_name(kind: str, name: str, known: Collection[str]) -> str:
    """Return `name` if it is one of the known names.

    Raises:
        UsageError: If it is not; the error lists the known names.
    """
    if name not in known:
        raise UsageError(
            f"unknown {kind} {name!r}", expected=f"one of {', '.join(known)}", hint=did_you_mean(name, known)
        )
    return name
