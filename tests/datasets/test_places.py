"""Places in S3 without a server: what is no URL, and what does not answer, is named without a traceback."""

from __future__ import annotations

import pytest

from qubastore import s3
from qubastore.datasets.locating import own_datasets
from qubastore.datasets.places import S3Path, place, read_file
from qubastore.errors import DatasetError, UsageError
from qubastore.evaluators.cluster.preflight import problems
from qubastore.s3 import is_refused
from qubastore.version import __version__


@pytest.mark.parametrize("text", ["s3://", "s3:///pets", "s3://bucket//pets"])
def test_what_is_no_url_is_refused(text):
    with pytest.raises(UsageError, match="does not name a place in S3"):
        own_datasets("pets", text)


def test_a_place_has_the_parts_of_a_path():
    found = place("s3://bucket/a b/list.csv/")
    assert (str(found), found.name, found.suffix) == ("s3://bucket/a b/list.csv", "list.csv", ".csv")
    assert (str(found.parent), found / "x") == ("s3://bucket/a b", S3Path("s3://bucket/a b/list.csv/x"))


@pytest.fixture
def silent(monkeypatch):
    """An endpoint where nobody answers, and no patience."""
    monkeypatch.setattr(s3, "PATIENCE", 0.1)
    for name, value in (("ENDPOINT_URL", "http://127.0.0.1:9"), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_server_that_does_not_answer_is_named(silent, tmp_path):
    for path in ("s3://bucket/pets", "s3://bucket/pets/list.csv", "s3://bucket/pets,split=test"):
        with pytest.raises(DatasetError, match=r"S3 does not answer for s3://bucket/pets(?s:.*)AWS_ENDPOINT_URL"):
            own_datasets("pets", path)
    with pytest.raises(DatasetError, match="does not answer"):
        read_file("s3://bucket/pets/0.png")
    found = problems(__version__, str(tmp_path), "", ["s3://bucket/pets"])
    assert [each.partition(" (")[0] for each in found] == ["it does not see the images in s3://bucket/pets"]


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("AWS Error ACCESS_DENIED during GetObject operation: Access Denied.", True),
        ("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response body.", True),
        ("AWS Error UNKNOWN (HTTP status 301) during HeadBucket operation: No response body.", True),
        ("AWS Error REQUEST_TIME_TOO_SKEWED during ListObjectsV2 operation", True),
        ("AWS Error UNKNOWN (HTTP status 503) during GetObject operation: SlowDown", False),
        ("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7", False),
    ],
)
def test_a_retry_does_not_help_where_access_is_denied(message, refused):
    assert is_refused(OSError(message)) is refused
