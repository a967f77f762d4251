"""Where a store is: paths and URLs, and that secrets are never printed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qubastore.errors import UsageError
from qubastore.lake.location import locate


def test_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QUBASTORE_STORE", str(tmp_path / "here"))
    found = locate()
    assert (found.folder, found.is_postgres, found.is_s3) == (tmp_path / "here", False, False)
    assert found.data == str(tmp_path / "here" / "data")
    monkeypatch.delenv("QUBASTORE_STORE")
    assert str(locate()) == "store"


@pytest.mark.parametrize(
    ("url", "parameters", "data", "schema"),
    [
        (
            "postgres://ann@db:5433/quba?data=s3://bucket/a/b/",
            {"host": "db", "port": "5433", "user": "ann", "dbname": "quba"},
            "s3://bucket/a/b",
            "public",
        ),
        (
            "postgresql://db/quba?data=/shared/it&schema=mine&sslmode=require",
            {"host": "db", "dbname": "quba", "sslmode": "require"},
            "/shared/it",
            "mine",
        ),
        ("postgres://a%40b@[::1]/q", {"host": "::1", "user": "a@b", "dbname": "q"}, "", "public"),
        ("postgres:///quba", {"dbname": "quba"}, "", "public"),
    ],
)
def test_urls(url, parameters, data, schema):
    found = locate(url)
    assert (dict(found.parameters), found.data, found.schema, str(found)) == (parameters, data, schema, url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://db/quba", "begins with mysql://"),
        ("postgres://ann:secret@db/quba", "PGPASSWORD"),
        ("postgres://ann@db/quba?password=secret", "PGPASSWORD"),
        ("postgres://ann@db/quba?dta=s3://b/c", "did you mean data"),
        ("postgres://ann@db", "does not name a database"),
        ("postgres://ann@db/quba?data=relative", "relative is not a valid location"),
        ("postgres://ann@db/quba?data=gs://b", "is not a valid location"),
        ("postgres://ann@db/quba?schema=Drop%20it", "not a valid schema name"),
        ("postgres://ann@db:port/quba", "the store's URL is not valid"),
        ("postgres://ann@db/quba?data", "the store's URL is not valid"),
        ("postgres://ann:sec/secret@db/quba", "is not valid|an @ in the wrong place"),
        ("postgres://ann:12/34secret@db/quba", "an @ in the wrong place"),
        ("postgres://ann@db/quba?data=s3://KEY:secret@bucket/x", "an @ in the wrong place"),
    ],
)
def test_wrong_urls(url, message):
    with pytest.raises(UsageError, match=message) as caught:
        locate(url)
    assert "secret" not in str(caught.value)


def test_quotes_cannot_leave_a_connection_string():
    found = locate("postgres://o'neil%5C@db/quba")
    assert found.connection_string == r"host='db' user='o\'neil\\' dbname='quba'"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=30))
def test_any_text_is_a_place_or_an_error(host, user, rest):
    for text in (f"postgres://{user}:hunter2@{host}/{rest}", f"postgres://{user}@{host}/{rest}?data={rest}", rest):
        with contextlib.suppress(UsageError):
            locate(text or "x")
    with pytest.raises(UsageError) as caught:
        locate(f"postgres://ann:hunter2@db/{rest}")
    assert "hunter2" not in str(caught.value)
