"""What can be attached, under which names, from where."""

from __future__ import annotations

from pathlib import Path

import pytest

import qubastore
from qubastore.attachments.attach import attach, detach
from qubastore.errors import StoreError, UsageError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("measured", "reserved or already used"),
        ("hesse2025", "reserved or already used"),
        ("store", "reserved or already used"),
        ("outputs", "reserved or already used"),
        ("accuracy", "reserved or already used"),
        ("some", "reserved or already used"),
        ("parquet_lab", "functions of DuckDB"),
        ("Lab", "not a valid name of an attachment"),
        ("a-b", "not a valid name of an attachment"),
        ("a; drop table runs", "not a valid name of an attachment"),
        ("__ducklake_metadata_store", "not a valid name of an attachment"),
        ("", "not a valid name of an attachment"),
    ],
)
def test_names_that_cannot_be(name, message, timm, store):
    with pytest.raises(UsageError, match=message):
        attach(store, str(timm), name)


def test_a_name_is_taken_once(timm, store, tiny_suite):
    attach(store, str(timm), "lab")
    with pytest.raises(UsageError, match=r"lab is already attached(.|\n)*qubastore detach lab"):
        attach(store, str(tiny_suite.path), "lab")
    # Another process may have been quicker.
    before, store.attachments = store.attachments, ()
    with pytest.raises(UsageError, match="lab is already attached"):
        attach(store, str(tiny_suite.path), "lab")
    store.attachments = before
    with pytest.raises(UsageError, match=r"unknown attachment 'lob'(.|\n)*did you mean lab"):
        detach(store, "lob")
    detach(store, "lab")
    with pytest.raises(UsageError, match="nothing is attached"):
        detach(store, "lab")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/pytorch-image-models/results", "pytorch_image_models"),
        ("/data/lab2/store", "lab2"),
        ("/data/2026 figures.csv", "_2026_figures"),
        ("postgres://ann@db/quba?data=s3://b/x", "quba"),
        ("s3://bucket/Lab-Export/", "lab_export"),
    ],
)
def test_a_name_from_a_place(path, name):
    from qubastore.attachments.attach import _name_of

    assert _name_of(path) == name


def test_places_that_are_nothing(store, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="this store itself"):
        attach(store, str(store.path), "lab")
    for path, message in (("gone", "nothing at"), ("empty", "cannot be attached"), ("notes.txt", "cannot be attached")):
        with pytest.raises(StoreError, match=message):
            attach(store, str(tmp_path / path), "lab")
    with pytest.raises(UsageError, match="cannot be attached"):
        attach(store, "https://example.org/results.csv", "lab")
    with pytest.raises(UsageError, match="need no --table"):
        attach(store, str(_empty(tmp_path)), "lab", columns={"accuracy": "1"})


def _empty(tmp_path: Path) -> Path:
    qubastore.init(tmp_path / "other").close()
    return tmp_path / "other"
