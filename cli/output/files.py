"""Files that commands write: a file appears only when it is complete, so a failure leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from qubastore.errors import StoreError, UsageError


@contextlib.contextmanager
def open_target(output: str | None) -> Iterator[IO[Any]]:
    """Open a file for writing, which appears only when it is complete; None means standard output.

    Raises:
        StoreError: if it cannot be written.
    """
    if output is None:
        yield sys.stdout
        return
    path = Path(output)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise StoreError(f"{output} cannot be written", found=error.strerror, hint="choose another -o FILE") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
        Path(temporary).replace(path)
        path.chmod(0o644)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(text: str, output: str) -> None:
    """Write a text to a file, which appears only when it is complete.

    Raises:
        StoreError: if it cannot be written.
    """
    with open_target(output) as file:
        file.write(text)


def check_writable(output: str) -> None:
    """Check that a file can be written, before the work whose result it is for.

    Raises:
        StoreError: if it cannot.
    """
    folder = Path(output).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "no permission" if folder.is_dir() else f"{folder} is not a folder"
        raise StoreError(f"{output} cannot be written", found=found, hint="choose another -o FILE")


class ParquetTarget:
    """A temporary path for a Parquet file, which `finish` moves to its place or copies to standard output.

    Args:
        output: File; None means standard output.

    Attributes:
        path: Where DuckDB writes the file.

    Raises:
        UsageError: if there is no file and standard output is a terminal.
        StoreError: if the file cannot be written.
    """

    def __init__(self, output: str | None) -> None:
        if output is None and sys.stdout.isatty():
            raise UsageError("Parquet cannot be printed on a terminal", hint="-o FILE.parquet, or | another-program")
        if output is not None:
            check_writable(output)
        self._output = output
        self._folder = tempfile.mkdtemp(prefix=".qubastore-", dir=Path(output).parent if output else None)
        self.path = Path(self._folder, "result.parquet").resolve()

    def finish(self) -> None:
        """Move the complete file to its place, or copy it to standard output."""
        if self._output is None:
            with self.path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
        else:
            self.path.replace(self._output)
            Path(self._output).chmod(0o644)

    def __enter__(self) -> ParquetTarget:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
