"""Stores by URL: PostgreSQL and S3, both real processes; what is asked of a folder is asked of them."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import qubastore
from qubastore.attachments.attach import attach
from qubastore.attachments.export import export
from qubastore.errors import StoreBusyError, StoreError, StoreNotFoundError
from qubastore.lake.object_storage import DataFiles
from qubastore.maintenance.copy import copy_store
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.gc import collect
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import complete_runs
from tests.maintenance.small_run import LABELS, logits, tables
from tests.support.runs import add_run, write_shard

pytestmark = pytest.mark.cluster


def planned_run(store, values=None, labels=LABELS, **options):
    """A run that is there without any shard."""
    run = add_run(store, logits() if values is None else values, labels, complete=False, **options)
    forget_shards(store)
    return run


def forget_shards(store):
    store.write(lambda c: [c.execute(f"delete from {table}") for table in ("shards", "outputs", "logits")])


def stand_still(store, shard, won):
    """Commit as `a` in a thread that stands still inside its transaction; the thread, and what lets it go on."""
    inside, go = threading.Event(), threading.Event()

    def stop(connection):
        inside.set()
        assert go.wait(60)

    thread = threading.Thread(target=lambda: won.update(a=commit_shard(store, shard, dataset_id="x", check=stop)))
    thread.start()
    assert inside.wait(60)
    return thread, go


@pytest.fixture
def url(postgres, s3):
    database = postgres.database()
    return postgres.url(database, f"s3://{s3.BUCKET}/{database}")


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "qubastore.cli.main", *map(str, arguments)], capture_output=True, text=True
    )


def test_a_store_by_url_is_a_store_like_any_other(url, store, postgres, s3):
    with qubastore.init(url) as remote:
        for each in (store, remote):
            add_run(each, logits(), LABELS, shard_size=4)
        assert tables(remote) == tables(store)
        assert list(examine(remote, deep=True)) == []
        assert all(path.startswith("s3://") for path in remote.files.sizes())
        with pytest.raises(StoreError, match="there is a store at"):
            qubastore.init(url)
    with qubastore.open(url.partition("?")[0]) as again:
        assert again.location.data == url.partition("data=")[2]
        assert again.rank(source="published").height == 326
        assert [len(batch) for batch in again.logits(again.rows("select run_id from runs")[0][0])] == [12]


def test_a_store_by_url_and_an_export_in_s3_are_attached(url, store, tmp_path, postgres, s3, monkeypatch):
    """To a store that is a folder: its connection loads PostgreSQL and S3 when it asks, and its fence lets them be."""
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
        asked = run_command("sql", query, "--store", store.path)
        assert (asked.returncode, asked.stderr) == (0, "")
    for query in ("insert into lab.store_info values ('a', 'b')", "from __ducklake_metadata_lab.ducklake_table"):
        assert run_command("sql", query, "--store", store.path, "--write").returncode == 1
    postgres.kill()
    try:
        failed = run_command("sql", "from lab.runs", "--store", store.path)
        assert failed.returncode == 1
        assert "lab, attached from" in failed.stderr
        assert "cannot be reached" in failed.stderr
        assert run_command("sql", "select 1", "--store", store.path).returncode == 0
    finally:
        postgres.start()


def test_every_command_works_by_url_and_says_no_secret(url, tmp_path, postgres, s3, tiny_models, images):
    assert run_command("init", "--store", url).returncode == 0
    ingested = run_command(
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
        done.append(run_command(*arguments, "--store", url))
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
    with pytest.raises(StoreError, match="lie elsewhere"):
        qubastore.open(f"{url}x")
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(StoreError, match="does not let you in") as caught:
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
    command = ("ingest", "--store", url, "--model", f"python:{tiny_models}:first", "--dataset", f"noise={images}")
    done = run_command(*command)
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


# Several drivers ------------------------------------------------------------------------------------------------
def _driver(url, run, barrier, results, number):
    with qubastore.open(url, read_only=False) as remote:
        shards = [
            write_shard(remote, run, n, n * 4, logits()[n * 4 : n * 4 + 4], LABELS[n * 4 : n * 4 + 4]) for n in range(3)
        ]
        for shard in shards:
            barrier.wait()
            results.put((number, shard.shard, commit_shard(remote, shard, dataset_id="pets")))


def test_two_drivers_commit_one_shard_at_the_same_moment_and_one_wins(url):
    with qubastore.init(url) as remote:
        run = planned_run(remote, shard_size=4)
        context = multiprocessing.get_context("spawn")
        barrier, results = context.Barrier(2), context.Queue()
        drivers = [context.Process(target=_driver, args=(url, run, barrier, results, n)) for n in range(2)]
        for driver in drivers:
            driver.start()
        said = [results.get(timeout=120) for _ in range(6)]
        for driver in drivers:
            driver.join()
        for shard in range(3):
            assert sorted(won for _, number, won in said if number == shard) == [False, True]
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
        assert remote.rows("select count(*) from shards") == [(3,)]
        # What the losers wrote is gone.
        complete_runs(remote)
        assert list(examine(remote, deep=True)) == []


def test_who_comes_second_waits_until_the_first_has_committed(url):
    """The lock itself: the first driver stands still inside its transaction, after the look and before the commit."""
    with qubastore.init(url) as first, qubastore.open(url, read_only=False) as second:
        run = planned_run(first)
        mine, theirs = (write_shard(each, run, 0, 0, logits(), LABELS) for each in (first, second))
        won = {}
        standing, go = stand_still(first, mine, won)
        waiting = threading.Thread(target=lambda: won.update(b=commit_shard(second, theirs, dataset_id="x")))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
        go.set()
        for thread in (standing, waiting):
            thread.join(60)
        assert won == {"a": True, "b": False}
        assert first.rows("select count(*) from outputs") == [(12,)]


def test_a_turn_that_never_ends_is_told_with_its_holder(url, monkeypatch):
    from qubastore.lake import database

    with qubastore.init(url) as first, qubastore.open(url, read_only=False) as second:
        monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.5)
        with first._writer_lock().held(time.monotonic() + 9), pytest.raises(StoreBusyError, match=r"PID \d+ from 127"):
            second.write(lambda c: None)
        second.write(lambda c: None)


def test_who_stands_still_inside_a_transaction_keeps_others_out_without_the_lock(url, postgres, monkeypatch):
    """An operator ends the session with the first lock; the second lives in the transaction itself."""
    from qubastore.lake import database

    with qubastore.init(url) as first, qubastore.open(url, read_only=False) as second:
        run = planned_run(first)
        mine, theirs = (write_shard(each, run, 0, 0, logits(), LABELS) for each in (first, second))
        won = {}
        thread, go = stand_still(first, mine, won)
        key = first._writer_lock()._key
        second.rows(
            "from postgres_query('__ducklake_metadata_store', 'select pg_terminate_backend(pid) from pg_locks"
            f" where locktype = ''advisory'' and (classid::bigint << 32 | objid::bigint) = {key}')"
        )
        with monkeypatch.context() as hurry:
            hurry.setattr(database, "LOCK_TIMEOUT", 2.0)
            with pytest.raises(StoreError):
                commit_shard(second, theirs, dataset_id="x")
        go.set()
        thread.join(60)
        assert won == {"a": True}
        assert first.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
        assert first.rows("select count(*) from shards") == [(1,)]


def _copier(source, url, barrier):
    with qubastore.open(source) as here, qubastore.open(url, read_only=False) as there:
        barrier.wait()
        copy_store(here, there)


def test_two_copies_at_once_copy_everything_once(url, store):
    add_run(store, logits(), LABELS, shard_size=4)
    qubastore.init(url).close()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    copiers = [context.Process(target=_copier, args=(str(store.path), url, barrier)) for _ in range(2)]
    for copier in copiers:
        copier.start()
    for copier in copiers:
        copier.join(120)
    assert [copier.exitcode for copier in copiers] == [0, 0]
    with qubastore.open(url) as remote:
        assert tables(remote) == tables(store)
        assert list(examine(remote, deep=True)) == []


KILLED_INIT = """
import os, signal, sys
from qubastore.lake import creation
creation.load_published = lambda connection: os.kill(os.getpid(), signal.SIGKILL)
creation.create(sys.argv[1])
"""


def test_an_init_that_was_killed_is_begun_again(url):
    killed = subprocess.run([sys.executable, "-c", KILLED_INIT, url], capture_output=True)
    assert killed.returncode == -9
    with pytest.raises(StoreNotFoundError, match="an init that was stopped"):
        qubastore.open(url)
    with qubastore.init(url) as made:
        assert made.rows("select count(*) from published_models") == [(326,)]


# Whatever dies ----------------------------------------------------------------------------------------------------
def test_postgres_is_killed_in_the_middle_of_a_commit(url, postgres):
    with qubastore.init(url) as remote:
        run = planned_run(remote, shard_size=4)
        kills = []

        def kill_once(connection):
            if not kills:
                kills.append(1)
                postgres.kill()
                threading.Timer(1.0, postgres.start).start()

        for number in range(3):
            shard = write_shard(remote, run, number, number * 4, logits()[number * 4 :][:4], LABELS[number * 4 :][:4])
            assert commit_shard(remote, shard, dataset_id="pets", check=kill_once)
        complete_runs(remote)
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
        assert list(examine(remote, deep=True)) == []


@pytest.mark.parametrize("replace", [False, True], ids=["new", "forced"])
def test_a_commit_whose_answer_is_lost_is_found_and_not_made_twice(url, postgres, replace):
    """The server dies after it has committed and before it says so: the second try finds the first."""
    with qubastore.init(url) as remote:
        run = planned_run(remote)
        shard = write_shard(remote, run, 0, 0, logits(), LABELS)
        real = remote._connection

        class LosesAnswer:
            """Passes everything on; after the first commit the server is dead."""

            lost = False

            def __getattr__(self, name):
                return getattr(real, name)

            def execute(self, query, *rest):
                answer = real.execute(query, *rest)
                if query == "commit" and not LosesAnswer.lost:
                    import duckdb

                    LosesAnswer.lost = True
                    postgres.kill()
                    threading.Timer(0.5, postgres.start).start()
                    raise duckdb.IOException("server closed the connection unexpectedly")
                return answer

        remote._connection = LosesAnswer()
        assert commit_shard(remote, shard, dataset_id="pets", replace=replace)
        assert LosesAnswer.lost
        registered = "select count(*) from __ducklake_metadata_store.ducklake_data_file where path like ?"
        # Of outputs and of logits, which share the name.
        assert remote.rows(registered, ["%" + shard.files["outputs"].rpartition("/")[2]]) == [(2,)]
        collect(remote, keep_days=0, older_than=0)
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
        complete_runs(remote)
        assert list(examine(remote, deep=True)) == []


def test_postgres_is_killed_again_and_again(url, postgres):
    """30 shards while the server dies every second: each is there once."""
    n = 30
    values, labels = logits(n=4 * n), np.arange(4 * n) % 4
    with qubastore.init(url) as remote:
        run = planned_run(remote, values, labels, shard_size=4)
        over, kills = threading.Event(), []

        def murder():
            while not over.wait(0.7):
                postgres.kill()
                kills.append(1)
                postgres.start()

        murderer = threading.Thread(target=murder)
        murderer.start()
        try:
            for number in range(n):
                part = slice(4 * number, 4 * number + 4)
                shard = write_shard(remote, run, number, 4 * number, values[part], labels[part])
                assert commit_shard(remote, shard, dataset_id="pets")
        finally:
            over.set()
            murderer.join()
        assert kills
        complete_runs(remote)
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(4 * n, 4 * n)]
        assert list(examine(remote, deep=True)) == []


def test_an_object_store_out_of_reach_for_a_while(url, s3):
    with qubastore.init(url) as remote:
        run = planned_run(remote)
        for moment in ("before the files are written", "before they are registered"):
            shard = None
            if moment == "before they are registered":
                shard = write_shard(remote, run, 0, 0, logits(), LABELS)
            s3.proxy.cut()
            threading.Timer(3.0, s3.proxy.mend).start()
            shard = shard or write_shard(remote, run, 0, 0, logits(), LABELS)
            assert commit_shard(remote, shard, dataset_id="pets")
            assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
            forget_shards(remote)
