"""Files in S3, through Arrow's file system: the connection, patience with outages, and where credentials come from.

They come from AWS's default chain: environment, ~/.aws, the machine's role.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


T = TypeVar("T")


PATIENCE = 120.0
"""Seconds that a server or object store may be unreachable before work on it fails."""


CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials; AWS_ENDPOINT_URL if it is not AWS"
)
"""What to do where access is denied."""


_REFUSED = re.compile(
    r"ACCESS_DENIED|SIGNATURE|ACCESS_KEY_ID|CLIENT_TOKEN|AUTHENTICATION_TOKEN|UNRECOGNIZED_CLIENT|TIME_TOO_SKEWED"
    r"|NO_SUCH_BUCKET|ExpiredToken|InvalidToken|PermanentRedirect|HTTP status (?:301|400|401|403)"
)
"""Parts of Arrow's error messages for which a retry does not help."""


def is_s3(path: str) -> bool:
    """Whether a path is a URL of S3."""
    return path.startswith("s3://")


def s3_key(path: str) -> str:
    """Bucket and key of a URL, as Arrow's file system names files."""
    return path.removeprefix("s3://")


def s3_files() -> FileSystem:
    """Arrow's file system for S3, as the environment says; it can be used by several threads."""
    keys = tuple(os.environ.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    return _connected(s3_endpoint(), s3_region(), keys)


@cache
def _connected(endpoint: str, region: str, keys: tuple[str | None, ...]) -> FileSystem:
    """A connection per endpoint and credentials, which Arrow takes from the environment itself."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    del keys
    scheme, _, host = endpoint.rpartition("://")
    return S3FileSystem(
        endpoint_override=host or None,
        scheme=scheme or "https",
        region=region,
        # Servers other than AWS are addressed as host/bucket, not bucket.host.
        force_virtual_addressing=False,
        connect_timeout=5,
        request_timeout=30,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=2),
    )


def patiently(work: Callable[[], T]) -> T:
    """Call `work`, which must be idempotent, again while the object store is unreachable, for two minutes.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it is unreachable for longer, or access is denied.
    """
    deadline, pause = time.monotonic() + PATIENCE, 0.2
    while True:
        try:
            return work()
        except FileNotFoundError:
            raise
        except OSError as error:
            if time.monotonic() > deadline or is_refused(error):
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def is_refused(error: OSError) -> bool:
    """Whether an object store denies access or has no such bucket, so that a retry does not help."""
    return bool(_REFUSED.search(str(error)))


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
    try:
        changed = file.stat().st_mtime_ns
    except OSError:
        return ""
    return _parsed(file, changed).get(section, key, fallback="")


@cache
def _parsed(file: Path, changed: int) -> configparser.ConfigParser:
    """A configuration file as it was at a time: it is asked for with every file that is read."""
    del changed
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
        parser.read(file)
    return parser
