"""The Parquet files of a store, in a folder or in S3: writing (completely or not at all), listing, removing."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from qubastore.errors import StoreError
from qubastore.s3 import CREDENTIALS, is_s3, patiently, s3_files, s3_key


class DataFiles:
    """The files below a root folder.

    Args:
        root: Absolute folder, or `s3://bucket/prefix`.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    @property
    def is_s3(self) -> bool:
        """Whether the files are in object storage."""
        return is_s3(self.root)

    def __reduce__(self) -> tuple[type[DataFiles], tuple[str]]:
        return DataFiles, (self.root,)

    def path(self, *parts: str) -> str:
        """The full name of a file below the root."""
        return "/".join((self.root, *parts))

    def below(self, path: str) -> str:
        """The name of a file below the root, without the root: it stays the same if the store is moved."""
        return path.removeprefix(f"{self.root}/")

    def write(self, path: str, data: bytes) -> None:
        """Write a file and flush it to the disk, because it must survive a power failure; on error, leave no file.

        Raises:
            OSError: On a full disk, or if an object store is unreachable for two minutes.
        """
        if self.is_s3:
            patiently(lambda: self._upload(path, data))
            return
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
        except BaseException:
            file.unlink(missing_ok=True)
            raise

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: If the file does not exist.
        """
        if not self.is_s3:
            return Path(path).read_bytes()
        return bytes(patiently(lambda: self._download(path)))

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        if not self.is_s3:
            Path(path).unlink(missing_ok=True)
            return
        with contextlib.suppress(FileNotFoundError):
            patiently(lambda: s3_files().delete_file(s3_key(path)))

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove files; in object storage several at a time, because each takes a round trip."""
        from concurrent.futures import ThreadPoolExecutor

        if self.is_s3 and len(paths) > 1:
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(self.remove, paths))
        else:
            for path in paths:
                self.remove(path)

    def sizes(self) -> dict[str, int]:
        """The size in bytes of every file below the root, by full name."""
        if not self.is_s3:
            found_here = {}
            for file in Path(self.root).rglob("*"):
                with contextlib.suppress(FileNotFoundError):  # an ingest removes staged files
                    if file.is_file():
                        found_here[str(file)] = file.stat().st_size
            return found_here
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(s3_key(self.root), recursive=True, allow_not_found=True)
        found = patiently(lambda: s3_files().get_file_info(selector))
        return {f"s3://{info.path}": info.size for info in found if info.type == FileType.File}

    def modified(self, path: str) -> float:
        """The time of a file's last modification, in seconds since the epoch."""
        if not self.is_s3:
            return Path(path).stat().st_mtime
        return float(patiently(lambda: s3_files().get_file_info(s3_key(path))).mtime_ns) / 1e9

    def check(self) -> None:
        """Check that files can be written: write, read and remove a small one.

        Raises:
            StoreError: If that fails, with the reason.
        """
        probe = self.path(f".probe-{os.getpid()}-{time.time_ns()}")
        try:
            if self.is_s3:
                self._upload(probe, b"qubastore")
            else:
                self.write(probe, b"qubastore")
            same = self.read(probe) == b"qubastore"
            self.remove(probe)
        except OSError as error:
            hint = "free some space" if error.errno == errno.ENOSPC else f"ls -ld {self.root}"
            raise StoreError(
                f"the store's files cannot be written at {self.root}",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                hint=CREDENTIALS if self.is_s3 else hint,
            ) from None
        if not same:
            raise StoreError(f"a file written to {self.root} has other content when it is read")

    def _upload(self, path: str, data: bytes) -> None:
        with s3_files().open_output_stream(s3_key(path)) as stream:
            stream.write(data)

    def _download(self, path: str) -> bytes:
        with s3_files().open_input_stream(s3_key(path)) as stream:
            return bytes(stream.read())
