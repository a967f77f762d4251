"""Stores by URL: PostgreSQL and S3, both real processes; what is asked of a folder is asked of them."""

from __future__ import annotations

import pytest

import qubastore
from qubastore.attachments.attach import attach
from qubastore.attachments.export import export
from qubastore.errors import StoreError, StoreNotFoundError
from qubastore.lake.object_storage import DataFiles
from qubastore.maintenance.copy import copy_store
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.gc import collect
from tests.maintenance.small_run import LABELS, logits, tables
from tests.support.commands import command
from tests.support.runs import add_run, write_shard

pytestmark = pytest.mark.cluster


def test_a_store_by_url_is_a_store_like_any_other(url, store, postgres, s3):
    with qubastore.init(url) as remote:
        for each in (store, remote):
            add_run(each, logits(), LABELS, shard_size=4)
        assert tables(remote) == tables(store)
        assert list(examine(remote, deep=True)) == []
        assert all(path.startswith("s3://") for path in remote.files.sizes())
        with pytest.raises(StoreError, match="there is already a store at"):
            qubastore.init(url)
    with qubastore.open(url.partition("?")[0]) as again:
        assert again.location.data == url.partition("data=")[2]
        assert len(again.rank(source="published").models) == 326
        assert [len(batch) for batch in again.logits(again.rows("select run_id from runs")[0][0])] == [12]


def test_a_store_by_url_and_an_export_in_s3_are_attached(url, store, tmp_path, postgres, s3, monkeypatch):
    """To a store that is a folder: its connection loads PostgreSQL and S3 when needed, and its sandbox allows them."""
    with qubastore.init(url) as remote:
        add_run(remote, logits(), LABELS, shard_size=4)
        folder = export(remote, tmp_path / "export").folder
    at = DataFiles(f"{url.partition('data=')[2]}-export")
    for path in folder.iterdir():
        at.write(at.path(path.name), path.read_bytes())
    at.write(f"{at.root}-tables/results.csv", b"model,accuracy\nA,0.5\n")
    attach(store, url.partition("?")[0], "lab")
    attach(store, at.root, "export")
    attach(store, f"{at.root}-tables", "figures")
    assert [each.kind for each in store.attachments] == ["export", "tables", "store"]
    with qubastore.open(store.path) as again:
        assert again.rows("select count(*) from lab.outputs") == [(12,)]
        assert again.rows("from export.run_metrics order by all") == again.rows("from lab.run_metrics order by all")
        assert again.rows("select source, accuracy from rankable where origin = 'attached'") == [("figures", 0.5)]
    for query in ("select count(*) from lab.outputs", "select count(*) from export.runs", "from figures.results"):
        asked = command("sql", query, "--store", store.path)
        assert (asked.returncode, asked.stderr) == (0, "")
    for query in ("insert into lab.store_info values ('a', 'b')", "from __ducklake_metadata_lab.ducklake_table"):
        assert command("sql", query, "--store", store.path, "--write").returncode == 1
    postgres.kill()
    try:
        failed = command("sql", "from lab.runs", "--store", store.path)
        assert failed.returncode == 1
        assert "lab, attached from" in failed.stderr
        assert "cannot be reached" in failed.stderr
        assert command("sql", "select 1", "--store", store.path).returncode == 0
    finally:
        postgres.start()


def test_every_command_works_by_url_and_says_no_secret(url, tmp_path, postgres, s3, tiny_models, images):
    assert command("init", "--store", url).returncode == 0
    ingested = command(
        "ingest",
        "--store",
        url,
        "--model",
        f"python:{tiny_models}:first",
        "--dataset",
        f"noise={images}",
        "--num-cpus",
        1,
    )
    assert ingested.returncode == 0, ingested.stderr
    (tmp_path / "theirs.csv").write_text("file_name,predicted_class,predicted_probability\na.png,0,0.9\nb.png,1,0.8\n")
    (tmp_path / "labels.csv").write_text("file_name,label\na.png,0\nb.png,0\n")
    done = [ingested]
    for arguments in (
        ("sql", "select model, n_outputs from accuracy", "--format", "csv"),
        ("sql", "from duckdb_secrets()", "--allow-files"),
        ("sql", "select name, value from duckdb_settings()", "--allow-files"),
        ("sql", "create table mine as select 41 + 1 as answer", "--write"),
        ("sql", "from mine", "--format", "csv"),
        ("rank", "--top", 3),
        (
            "import",
            "predictions",
            tmp_path / "theirs.csv",
            "--model",
            "theirs",
            "--dataset",
            "imagenet-val",
            "--labels",
            tmp_path / "labels.csv",
        ),
        ("show", "runs"),
        ("status",),
        ("doctor", "--deep"),
        ("gc",),
    ):
        done.append(command(*arguments, "--store", url))
        assert done[-1].returncode == 0, (arguments, done[-1].stderr)
    assert "tiny_models.py:first,150" in done[1].stdout
    said = "".join(each.stdout + each.stderr for each in done)
    assert postgres.password not in said
    assert s3.environment["AWS_SECRET_ACCESS_KEY"] not in said
    # And none of it is kept: neither in the catalog nor in the files.
    with qubastore.open(url) as opened:
        for (table,) in opened.rows("select table_name from duckdb_tables() where database_name = 'store'"):
            assert postgres.password not in str(opened.rows(f"from {table}"))


def test_wrong_places_are_told_apart(url, postgres, monkeypatch):
    with pytest.raises(StoreNotFoundError, match="qubastore init --store 'postgres"):
        qubastore.open(url)
    with pytest.raises(StoreNotFoundError, match="there is no store"):
        qubastore.open(f"postgres://quba@127.0.0.1:{postgres.port}/nowhere")
    qubastore.init(url).close()
    with pytest.raises(StoreError, match="are elsewhere"):
        qubastore.open(f"{url}x")
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(StoreError, match="denies access") as caught:
        qubastore.open(url)
    assert "PGPASSWORD" in str(caught.value)
    with pytest.raises(StoreError, match="cannot be reached"):
        qubastore.open("postgres://quba@127.0.0.1:1/x")


def test_a_place_for_files_that_cannot_be_written(postgres, s3):
    with pytest.raises(StoreError, match="cannot be written at s3://no-such-bucket"):
        qubastore.init(postgres.url(postgres.database(), "s3://no-such-bucket/x"))


def test_keys_that_the_object_store_does_not_take(url, monkeypatch, tiny_models, images):
    """Said at once: no waiting helps, and no model need be loaded."""
    qubastore.init(url).close()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-key")
    with qubastore.open(url, read_only=False) as store, pytest.raises(OSError, match="SIGNATURE_DOES_NOT_MATCH"):
        add_run(store, logits(), LABELS)
    ingest = ("ingest", "--store", url, "--model", f"python:{tiny_models}:first", "--dataset", f"noise={images}")
    done = command(*ingest)
    assert done.returncode == 1
    assert "cannot be written at s3://quba/" in done.stderr
    assert "not-the-key" not in done.stderr
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StoreError, match="INVALID_ACCESS_KEY_ID"):
        qubastore.init(url)


def test_stores_share_a_database_by_schema(url, postgres, s3, tmp_path):
    other = url.partition("?")[0] + f"?data={tmp_path / 'files'}&schema=second"
    with qubastore.init(url) as one, qubastore.init(other) as two:
        add_run(one, logits(), LABELS)
        assert two.rows("select count(*) from runs") == [(0,)]
        assert one.rows("select count(*) from runs") == [(1,)]


def test_from_laptop_to_cluster_and_back(url, store, tmp_path):
    add_run(store, logits(), LABELS, name="one", shard_size=5)
    add_run(store, logits(1), LABELS, name="two", keep=("outputs",))
    with qubastore.init(url) as remote, qubastore.init(tmp_path / "back") as back:
        assert copy_store(store, remote).shards == 4
        assert copy_store(remote, back).shards == 4
        assert tables(remote) == tables(store) == tables(back)


def test_garbage_in_a_bucket(url):
    with qubastore.init(url) as remote:
        run = add_run(remote, logits(), LABELS)
        kept = set(remote.files.sizes())
        write_shard(remote, run, 0, 0, logits(), LABELS)
        assert [fault.check for fault in examine(remote)] == ["orphans"]
        assert len(collect(remote, keep_days=7, older_than=0).files) == 2
        assert set(remote.files.sizes()) == kept
