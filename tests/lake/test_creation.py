"""Stores: made whole or not at all, found, opened, moved; places that cannot be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest

import qubastore
from qubastore.errors import (
    QueryError,
    StoreError,
    StoreNotFoundError,
    UsageError,
)
from qubastore.lake import views
from tests.support.runs import add_run


def test_a_new_store_holds_the_published_table(store):
    assert store.rows("select count(*) from published_models") == [(326,)]
    assert store.rows("select count(*) from published_results where source = 'hesse2025'") == [(326 * 9,)]
    catalog = sqlite3.connect(store.path / "catalog.sqlite")
    assert catalog.execute("pragma journal_mode").fetchone() == ("wal",)


def test_init_refuses_what_is_there(store, tmp_path):
    with pytest.raises(StoreError, match="there is already a store at"):
        qubastore.init(store.path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not empty"):
        qubastore.init(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    qubastore.init(tmp_path / "empty").close()


def test_init_leaves_nothing_when_it_fails(tmp_path, monkeypatch):
    def fail(connection):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(views, "create_views", fail)
    with pytest.raises(RuntimeError):
        qubastore.init(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_store_says_what_to_type(tmp_path):
    with pytest.raises(StoreNotFoundError, match=f"qubastore init --store {tmp_path / 'nowhere'}"):
        qubastore.open(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_found_by_environment(store, monkeypatch):
    monkeypatch.setenv("QUBASTORE_STORE", str(store.path))
    with qubastore.open() as found:
        assert found.path == store.path
    monkeypatch.setenv("QUBASTORE_STORE", "mysql://somewhere/db")
    with pytest.raises(UsageError, match="begins with mysql"):
        qubastore.open()


def test_a_moved_store_is_whole(store, tmp_path):
    run_id = add_run(store, np.eye(4) * 3, [0, 1, 2, 3])
    before = store.rows("select * from outputs order by sample_id")
    store.close()
    shutil.move(store.path, tmp_path / "elsewhere" / "moved")
    with qubastore.open(tmp_path / "elsewhere" / "moved", read_only=False) as moved:
        assert moved.rows("select * from outputs order by sample_id") == before
        assert sum(len(batch) for batch in moved.logits(run_id)) == 4
        add_run(moved, np.eye(4), [0, 1, 2, 3], name="another")
        assert moved.rows("select count(*) from accuracy") == [(2,)]


def test_reading_only_cannot_write(store):
    with qubastore.open(store.path) as reader:
        with pytest.raises(QueryError, match="open for reading only"):
            reader.execute("delete from published_models")
        with pytest.raises(StoreError, match="open for reading only"):
            reader.write(lambda c: None)
        assert reader.rows("select count(*) from published_models") == [(326,)]


def test_an_error_in_a_query_is_ours(store):
    with pytest.raises(QueryError, match="accuracyy"):
        store.sql("select accuracyy from accuracy")


@contextlib.contextmanager
def as_nobody():
    """Drop root's rights for a moment: root may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unwritable_store(store, tmp_path):
    store.close()
    for path in [store.path, *store.path.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    for parent in tmp_path.parents[:3]:
        if os.geteuid() == 0 and parent != Path("/tmp"):
            parent.chmod(0o755)
    tmp_path.chmod(0o555)
    with as_nobody():
        with pytest.raises(StoreError, match="Permission denied") as caught:
            qubastore.open(store.path, read_only=False)
        with pytest.raises(StoreError, match="Permission denied"):
            qubastore.init(tmp_path / "new")
    assert "--store PATH" in str(caught.value)
    for path in [tmp_path, store.path, *store.path.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def test_a_full_disk(tmp_path, empty_store):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        shutil.copytree(empty_store, small / "store")
        with qubastore.open(small / "store", read_only=False) as store:
            add_run(store, np.eye(4), [0, 1, 2, 3], name="fits")
            with pytest.raises((StoreError, OSError), match="No space left"):
                add_run(store, np.random.default_rng(0).normal(size=(1500, 1000)), [0] * 1500, name="too large")
            left = list((small / "store" / "data").glob("main/logits/*/*.parquet"))
        with qubastore.open(small / "store") as store:
            assert store.rows("select model, accuracy from accuracy") == [("fits", 1.0)]
            assert store.rows("select count(*) from shards") == [(1,)]
        assert len(left) == 1, "the file that fits, and no part of the other"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_network_file_systems_are_refused(tmp_path, monkeypatch):
    mounts = f"server:/export {tmp_path} nfs4 rw 0 0\n/dev/vda / ext4 rw 0 0\n"
    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda p, *a, **k: mounts if str(p) == "/proc/self/mounts" else real(p, *a, **k)
    )
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        qubastore.init(tmp_path / "store")


def test_a_store_made_by_a_relative_path_can_be_moved(tmp_path, empty_store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(empty_store, "store")
    with qubastore.open("store", read_only=False) as store:
        add_run(store, np.eye(4), [0, 1, 2, 3])
    (tmp_path / "store").rename(tmp_path / "moved")
    with qubastore.open("moved") as moved:
        assert moved.rows("select count(distinct confidence) from outputs") == [(1,)]
    catalog = sqlite3.connect(tmp_path / "moved" / "catalog.sqlite")
    assert {row[0] for row in catalog.execute("select path_is_relative from ducklake_data_file")} == {1}
    catalog.close()
