"""The Parquet files of a store, in a folder or in S3: written whole or not at all, listed, removed.

S3 goes through Arrow's file system, whose credentials come from AWS's chain: environment, ~/.aws, the machine's role.
"""

from __future__ import annotations

import configparser
import contextlib
import errno
import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qubastore.errors import StoreError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


T = TypeVar("T")


PATIENCE = 120.0
"""Seconds that an object store may be out of reach before work on it fails."""


_REFUSALS = (
    "ACCESS_DENIED",
    "SIGNATURE_DOES_NOT_MATCH",
    "INVALID_ACCESS_KEY_ID",
    "NO_SUCH_BUCKET",
)
"""What Arrow says where waiting does not help."""


class DataFiles:
    """Files below one place.

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

    def write(self, path: str, data: bytes) -> None:
        """Write a file, flushed to the disk (what is registered later must outlive a power cut), or leave nothing.

        Raises:
            OSError: on a full disk, and where an object store stays out of reach for two minutes.
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
            FileNotFoundError: where there is none.
        """
        if not self.is_s3:
            return Path(path).read_bytes()
        return bytes(self._patiently(lambda: self._download(path)))

    def remove(self, path: str) -> None:
        """Remove a file; it need not be there."""
        if not self.is_s3:
            Path(path).unlink(missing_ok=True)
            return
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self._system.delete_file(_key(path)))

    def sizes(self) -> dict[str, int]:
        """Full name -> bytes, of every file below the root."""
        if not self.is_s3:
            return {str(file): file.stat().st_size for file in Path(self.root).rglob("*") if file.is_file()}
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(_key(self.root), recursive=True, allow_not_found=True)
        found = self._patiently(lambda: self._system.get_file_info(selector))
        return {f"s3://{info.path}": info.size for info in found if info.type == FileType.File}

    def modified(self, path: str) -> float:
        """When a file was last written, seconds since the epoch."""
        if not self.is_s3:
            return Path(path).stat().st_mtime
        return float(self._patiently(lambda: self._system.get_file_info(_key(path))).mtime_ns) / 1e9

    def check(self) -> None:
        """Write, read and remove a small file.

        Raises:
            StoreError: where that fails, with what was said.
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
            raise StoreError(f"a file written to {self.root} came back as another one")

    @cached_property
    def _system(self) -> FileSystem:
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        endpoint = s3_endpoint()
        scheme, _, host = endpoint.rpartition("://")
        return S3FileSystem(
            endpoint_override=host or None,
            scheme=scheme or "https",
            region=s3_region(),
            # Addressing of servers that are no AWS: host/bucket, not bucket.host.
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
        """Repeat what an unreachable object store makes fail; everything here may be done twice."""
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


_S3_HINT = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials; AWS_ENDPOINT_URL where it is not AWS"


def _key(path: str) -> str:
    return path.removeprefix("s3://")


def s3_endpoint() -> str:
    """Where S3 is, as a URL; empty means AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or _configured("endpoint_url")


def s3_region() -> str:
    """AWS's region; servers that are no AWS take any."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _configured("region") or "us-east-1"


def _configured(key: str) -> str:
    """An entry of ~/.aws/config for the profile in use."""
    file = Path(os.environ.get("AWS_CONFIG_FILE") or Path("~/.aws/config").expanduser())
    profile = os.environ.get("AWS_PROFILE") or "default"
    section = "default" if profile == "default" else f"profile {profile}"
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
        parser.read(file)
    return parser.get(section, key, fallback="")
