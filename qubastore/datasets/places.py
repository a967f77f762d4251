"""Where images are: a folder, or a prefix in S3. Listing, opening and reading their files."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from qubastore.errors import DatasetError, DatasetNotFoundError, UsageError
from qubastore.s3 import CREDENTIALS, is_refused, is_s3, patiently, s3_files, s3_key

if TYPE_CHECKING:
    from pyarrow import NativeFile


T = TypeVar("T")


READ_AHEAD = 1 << 18
"""Bytes of a file in S3 that are fetched at a time: the headers and the small images of a tar file in one request."""


@dataclass(frozen=True)
class S3Path:
    """A file or a prefix in S3, with those parts of `Path` that readers of datasets use."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> S3Path:
        return S3Path(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(s3_key(self.url)).name

    @property
    def suffix(self) -> str:
        """The last ending of the name."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> S3Path:
        """The prefix around it."""
        return S3Path(self.url.rpartition("/")[0])

    def resolve(self) -> S3Path:
        """Itself: a URL is whole."""
        return self

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return self._kind() == "File"

    def is_dir(self) -> bool:
        """Whether there are objects below this prefix."""
        return self._kind() == "Directory"

    def exists(self) -> bool:
        """Whether it is one of both."""
        return self._kind() != "NotFound"

    def _kind(self) -> str:
        found = asked(self.url, lambda: s3_files().get_file_info(s3_key(self.url)))
        return str(found.type.name)


Place = Path | S3Path
"""A folder or a file, on a disk or in S3."""


def place(path: str | os.PathLike[str] | S3Path) -> Place:
    """The place that a user names.

    Raises:
        UsageError: If a URL of S3 has no bucket, or an empty part.
    """
    if isinstance(path, S3Path):
        return path
    text = os.fspath(path)
    if not is_s3(text):
        return Path(text)
    url = text.rstrip("/")
    if not is_s3(url) or not all(s3_key(url).split("/")):
        raise UsageError(f"{text!r} does not name a place in S3", expected="s3://BUCKET, or s3://BUCKET/PREFIX")
    return S3Path(url)


def s3_listing(root: S3Path) -> dict[str, int]:
    """The size in bytes of every file below a prefix, by its name relative to it.

    Raises:
        DatasetNotFoundError: If there is none.
        DatasetError: If access is denied, or S3 does not answer.
    """
    from pyarrow.fs import FileSelector, FileType

    selector = FileSelector(s3_key(root.url), recursive=True, allow_not_found=True)
    found = asked(root.url, lambda: s3_files().get_file_info(selector))
    prefix = f"{s3_key(root.url)}/"
    sizes = {each.path.removeprefix(prefix): int(each.size) for each in found if each.type == FileType.File}
    if not sizes:
        raise DatasetNotFoundError(f"there are no files below {root}", hint=f"aws s3 ls {shlex.quote(root.url)}/")
    return sizes


def open_file(path: str) -> BinaryIO:
    """Open a file for reading, anywhere in it.

    Raises:
        OSError: If it cannot be read.
        DatasetError: If S3 denies access, or does not answer.
    """
    if not is_s3(path):
        return Path(path).open("rb")
    return cast(BinaryIO, io.BufferedReader(s3_file(path), READ_AHEAD))


def s3_file(path: str) -> NativeFile:
    """A file in S3 for Arrow, which fetches the ranges that it reads.

    Raises:
        OSError: If it cannot be read.
        DatasetError: If S3 denies access, or does not answer.
    """
    return asked(path, lambda: s3_files().open_input_file(s3_key(path)))


def read_file(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: If it cannot be read.
        DatasetError: If S3 denies access, or does not answer.
    """
    if not is_s3(path):
        return Path(path).read_bytes()

    def read() -> bytes:
        with s3_files().open_input_stream(s3_key(path)) as stream:
            return bytes(stream.read())

    return asked(path, read)


def asked(url: str, work: Callable[[], T]) -> T:
    """What S3 answers, after waiting for a server that cannot be reached.

    Raises:
        FileNotFoundError: If there is no such object.
        DatasetError: If it denies access, cannot be reached for two minutes, or the URL is none.
    """
    try:
        return patiently(work)
    except FileNotFoundError:
        raise
    except OSError as error:
        refuses = is_refused(error)
        raise DatasetError(
            f"S3 refuses access to {url}" if refuses else f"S3 does not answer for {url}",
            found=str(error).splitlines()[0][:300],
            hint=CREDENTIALS if refuses else "is AWS_ENDPOINT_URL right, and the server up?",
        ) from None
    except ValueError as error:  # Arrow's, of a path that it does not take
        raise DatasetError(f"{url} cannot be read", found=str(error).splitlines()[0][:300]) from None
