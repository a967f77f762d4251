"""The Parquet files of a store, in a folder or in S3: writing (completely or not at all), listing, removing.

S3 is accessed through Arrow's file system, which uses AWS's default credential chain: environment, ~/.aws, the
machine's role.
"""

from __future__ import annotations

import configparser
import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qubastore.errors import StoreError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


T = TypeVar("T")


PATIENCE = 120.0
"""Seconds that a server or object store may be unreachable before work on it fails."""


_REFUSALS = (
    "ACCESS_DENIED",
    "SIGNATURE_DOES_NOT_MATCH",
    "INVALID_ACCESS_KEY_ID",
    "NO_SUCH_BUCKET",
)
"""Parts of Arrow's error messages for which a retry does not help."""


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
        return self.root.startswith("s3://")

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
            self._patiently(lambda: self._upload(path, data))
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
        return bytes(self._patiently(lambda: self._download(path)))

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        if not self.is_s3:
            Path(path).unlink(missing_ok=True)
            return
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self._system.delete_file(_key(path)))

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

        selector = FileSelector(_key(self.root), recursive=True, allow_not_found=True)
        found = self._patiently(lambda: self._system.get_file_info(selector))
        return {f"s3://{info.path}": info.size for info in found if info.type == FileType.File}

    def modified(self, path: str) -> float:
        """The time of a file's last modification, in seconds since the epoch."""
        if not self.is_s3:
            return Path(path).stat().st_mtime
        return float(self._patiently(lambda: self._system.get_file_info(_key(path))).mtime_ns) / 1e9

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
                hint=_S3_HINT if self.is_s3 else hint,
            ) from None
        if not same:
            raise StoreError(f"a file written to {self.root} has other content when it is read")

    @cached_property
    def _system(self) -> FileSystem:
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        endpoint = s3_endpoint()
        scheme, _, host = endpoint.rpartition("://")
        return S3FileSystem(
            endpoint_override=host or None,
            scheme=scheme or "https",
            region=s3_region(),
            # Servers other than AWS are addressed as host/bucket, not bucket.host.
            force_virtual_addressing=False,
            connect_timeout=5,
            request_timeout=30,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=2),
        )

    def _upload(self, path: str, data: bytes) -> None:
        with self._system.open_output_stream(_key(path)) as stream:
            stream.write(data)

    def _download(self, path: str) -> bytes:
        with self._system.open_input_stream(_key(path)) as stream:
            return bytes(stream.read())

    def _patiently(self, work: Callable[[], T]) -> T:
        """Call `work`, which must be idempotent, again while the object store is unreachable."""
        deadline, pause = time.monotonic() + PATIENCE, 0.2
        while True:
            try:
                return work()
            except FileNotFoundError:
                raise
            except OSError as error:
                if time.monotonic() > deadline or any(refusal in str(error) for refusal in _REFUSALS):
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


_S3_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials; AWS_ENDPOINT_URL if it is not AWS"


def _key(path: str) -> str:
    return path.removeprefix("s3://")


def s3_endpoint() -> str:
    """The URL of the S3 server; empty means AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or _configured("endpoint_url")


def s3_region() -> str:
    """AWS's region; other servers accept any."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _configured("region") or "us-east-1"


def _configured(key: str) -> str:
    """The value of a key in ~/.aws/config for the active profile."""
    file = Path(os.environ.get("AWS_CONFIG_FILE") or Path("~/.aws/config").expanduser())
    profile = os.environ.get("AWS_PROFILE") or "default"
    section = "default" if profile == "default" else f"profile {profile}"
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
        parser.read(file)
    return parser.get(section, key, fallback="")
