"""The store: made whole or not at all, moved, migrated, read while written, and never half-visible."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qubastore
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.errors import (
    DatasetError,
    QubastoreError,
    QueryError,
    StoreBusyError,
    StoreError,
    StoreNotFoundError,
    StoreVersionError,
    UsageError,
)
from qubastore.lake import creation, database, migrations, views
from qubastore.lake.ducklake import connect, quote
from qubastore.lake.location import locate
from qubastore.lake.rows import insert
from qubastore.metrics.catalogue import METRICS
from qubastore.models.model import Model
from qubastore.runs import summaries
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import complete_runs
from qubastore.runs.records import register_dataset, register_model
from qubastore.runs.removal import remove_model, remove_run
from qubastore.runs.shard import Failure, Shard
from tests.support.runs import add_run, pretend_schema, write_shard


def test_a_new_store_holds_the_published_table(store):
    assert store.rows("select count(*) from published_models") == [(326,)]
    assert store.rows("select count(*) from published_results where source = 'hesse2025'") == [(326 * 9,)]
    catalog = sqlite3.connect(store.path / "catalog.sqlite")
    assert catalog.execute("pragma journal_mode").fetchone() == ("wal",)


def test_init_refuses_what_is_there(store, tmp_path):
    with pytest.raises(StoreError, match="there is a store at"):
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


# Versions ---------------------------------------------------------------------------------------------------
def test_a_newer_store_is_refused(store):
    store.write(lambda c: c.execute("update store_info set value = '999' where key = 'schema_version'"))
    with pytest.raises(StoreVersionError, match="newer qubastore") as caught:
        qubastore.open(store.path)
    assert "pip install --upgrade qubastore" in str(caught.value)
    with pytest.raises(StoreVersionError, match="newer qubastore"):
        creation.migrate(store.path)


def test_an_older_store_is_migrated_once_asked(store, monkeypatch):
    latest = max(migrations.migrations())
    steps = {
        **migrations.migrations(),
        latest + 1: "alter table runs add column note varchar; create table extra (a int);",
    }
    monkeypatch.setattr(migrations, "migrations", lambda: steps)
    with pytest.raises(StoreVersionError, match=f"qubastore migrate --store {store.path}"):
        qubastore.open(store.path)
    assert creation.migrate(store.path) == (latest, latest + 1)
    assert creation.migrate(store.path) == (latest + 1, latest + 1)
    with qubastore.open(store.path) as migrated:
        assert "note" in migrated.sql("from runs").columns
        assert migrated.rows("select count(*) from published_models") == [(326,)]


def test_a_migration_that_fails_changes_nothing(store, monkeypatch):
    latest = max(migrations.migrations())
    steps = {**migrations.migrations(), latest + 1: "create table extra (a int); select nonsense;"}
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "migrations", lambda: steps)
        with pytest.raises(StoreError):
            creation.migrate(store.path)
    with qubastore.open(store.path) as still:
        assert still.rows("select count(*) from duckdb_tables() where table_name = 'extra'") == [(0,)]


def test_views_of_another_release(store):
    """A reader makes its own for the session, a writer refreshes the stored ones."""
    store.write(lambda c: c.execute("create or replace view accuracy as select 1 as old"))
    store.write(lambda c: c.execute("update store_info set value = 'other' where key = 'views_hash'"))
    with qubastore.open(store.path) as reader:
        assert "accuracy" in reader.sql("from accuracy").columns
        assert len(reader.rows("from quba_ranking(map {})")) == 326
        assert "old" in reader.sql("from store.main.accuracy").columns
    with qubastore.open(store.path, read_only=False) as writer:
        assert "accuracy" in writer.sql("from store.main.accuracy").columns


# Whole or not at all -----------------------------------------------------------------------------------------
def test_a_failed_write_leaves_nothing(store):
    def work(connection):
        connection.execute("insert into failures values ('r', 0, 'k', 'e')")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(work)
    assert store.rows("select count(*) from failures") == [(0,)]
    store.write(lambda c: c.execute("insert into failures values ('r', 0, 'k', 'e')"))
    assert store.rows("select count(*) from failures") == [(1,)]


def test_a_shard_is_committed_once(store):
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3], complete=False)
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    again = write_shard(store, run_id, 0, 0, np.eye(4), [0, 1, 2, 3])
    assert commit_shard(store, again, dataset_id=dataset_id) is False
    assert not any(Path(file).exists() for file in again.files.values())
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(4, 4)]
    assert store.rows("select count(*) from shards") == [(1,)]


def test_a_shard_that_keeps_more_takes_the_place(store):
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3], keep=("outputs",))
    assert store.rows("select count(*) from run_summary") == [(1,)]
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    more = write_shard(store, run_id, 0, 0, np.eye(4), [0, 1, 2, 3])
    assert commit_shard(store, more, dataset_id=dataset_id) is True
    assert store.rows("select count(*) from run_summary") == [(0,)], "the old sums went with the old rows"
    complete_runs(store)
    assert store.rows("select count(*) from outputs") == [(4,)]
    assert store.rows("select count(*) from logits") == [(4,)]
    assert store.rows("select value is not null from run_metrics where metric = 'ace'") == [(True,)]


def test_a_changed_image_is_an_error(store):
    run_id = add_run(store, np.eye(2), [0, 1], complete=False)
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    first = write_shard(store, run_id, 0, 0, np.eye(2), [0, 1])
    commit_shard(store, first, dataset_id=dataset_id, contents={0: "aa", 1: "bb"}, replace=True)
    second = write_shard(store, run_id, 0, 0, np.eye(2), [0, 1])
    with pytest.raises(DatasetError, match="sample 1 has changed"):
        commit_shard(store, second, dataset_id=dataset_id, contents={0: "aa", 1: "cc"}, replace=True)
    assert store.rows("select count(*) from outputs") == [(2,)]
    assert not any(Path(file).exists() for file in second.files.values())


def test_failures_round_trip(store):
    run_id = add_run(store, np.eye(2), [0, 1], complete=False)
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    shard = write_shard(store, run_id, 0, 0, np.eye(1, 2), [0])
    shard = type(shard)(run_id, 0, 0, 2, shard.files, (Failure(1, "class1/ü'\"\n.png", "no image"),), kept=shard.kept)
    commit_shard(store, shard, dataset_id=dataset_id, replace=True)
    complete_runs(store)
    assert store.rows("from failures") == [(run_id, 1, "class1/ü'\"\n.png", "no image")]
    assert store.rows("select n_outputs, n_failed from accuracy") == [(1, 1)]


def test_removing(store):
    first = add_run(store, np.eye(2), [0, 1], name="one")
    add_run(store, np.eye(2), [0, 1], name="two")
    store.write(lambda c: remove_run(c, first))
    for table in ("outputs", "logits", "shards", "run_summary", "run_metrics", "class_summary", "bin_summary", "runs"):
        assert store.rows(f"select count(*) from {table} where run_id = ?", [first]) == [(0,)], table
    model_id = store.rows("select model_id from models where name = 'two'")[0][0]
    assert store.write(lambda c: remove_model(c, model_id)) == 1
    assert store.rows("select count(*) from outputs") == [(0,)]
    assert store.rows("select name from models") == [("one",)]


def test_run_ids_by_their_start(store):
    run_id = add_run(store, np.eye(2), [0, 1])
    assert store.run_id(run_id[:5]) == run_id
    with pytest.raises(UsageError, match="0 runs"):
        store.run_id("zzz")
    assert store.outputs(run_id[:6])["prediction"].to_list() == [0, 1]


# Several processes -------------------------------------------------------------------------------------------
def _append(path: str, worker: int, count: int) -> None:
    with qubastore.open(path, read_only=False) as store:
        for index in range(count):
            store.write(lambda c, i=index: insert(c, "failures", [(f"w{worker}", i, "k", "e")]))


def test_writers_take_turns_and_readers_never_wait(store):
    """Four writers, and a reader with an unfetched result all the while: nothing is lost or doubled."""
    context = multiprocessing.get_context("spawn")
    with qubastore.open(store.path) as reader:
        unfetched = reader.sql("from published_results").fetchone
        assert unfetched() is not None
        writers = [context.Process(target=_append, args=(str(store.path), w, 8)) for w in range(4)]
        for writer in writers:
            writer.start()
        seen = []
        while any(writer.is_alive() for writer in writers):
            with qubastore.open(store.path) as other:
                seen.append(other.rows("select count(*) from failures")[0][0])
        for writer in writers:
            writer.join()
            assert writer.exitcode == 0
    assert seen == sorted(seen)
    assert store.rows("select count(*), count(distinct (run_id, sample_id)) from failures") == [(32, 32)]


HOLDER = """
import sqlite3, sys
catalog = sqlite3.connect(sys.argv[1], isolation_level=None)
catalog.execute("begin immediate")
print("locked", flush=True)
sys.stdin.readline()
catalog.execute("rollback")
print("free", flush=True)
"""


def test_a_catalog_locked_from_outside_is_retried(store):
    """Something that is not qubastore holds SQLite's lock: the whole write runs again, its checks too."""
    command = [sys.executable, "-c", HOLDER, str(store.path / "catalog.sqlite")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        attempts = 0

        def work(connection):
            nonlocal attempts
            attempts += 1
            if attempts == 3:
                holder.stdin.write("let go\n")
                holder.stdin.flush()
                assert holder.stdout.readline() == "free\n"
            insert(connection, "failures", [("r", 0, "k", "e")])

        store.write(work)
    assert attempts == 3
    assert store.rows("select count(*) from failures") == [(1,)]


def test_a_store_that_stays_locked(store, monkeypatch):
    import fcntl

    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.2)
    with (store.path / "commit.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreBusyError, match="locked for"):
            store.write(lambda c: None)
    store.write(lambda c: None)


def test_a_store_of_the_first_schema(tmp_path, monkeypatch):
    """Its own suites and its rows stay, the release's suite moves into the view; nothing else asks for attention."""
    import dataclasses

    first = {1: migrations.migrations()[1]}
    with monkeypatch.context() as patch:
        pretend_schema(patch, first)
        with qubastore.init(tmp_path / "store") as old:
            for suite, dataset in (("quba", "imagenet-val"), ("mine", "p")):
                values = f"('{suite}', 'clean', '{dataset}', 'clean', 'model', 4)"
                old.write(lambda c, values=values: c.execute(f"insert into suites values {values}"))
            columns = old.sql("from models").columns
            row = {"model_id": "m", "name": "net", "parameters": 5}
            cells = ", ".join(repr(row[column]) if column in row else "null" for column in columns)
            old.write(lambda c: c.execute(f"insert into models values ({cells})"))
    with pytest.raises(StoreVersionError, match="qubastore migrate"):
        qubastore.open(tmp_path / "store")
    assert creation.migrate(tmp_path / "store") == (1, max(migrations.migrations()))
    with qubastore.open(tmp_path / "store", read_only=False) as store:
        assert store.rows("select suite, dataset, label_space from own_suites") == [("mine", "p", None)]
        assert store.rows("select count(*) from suites where suite = 'quba'") == [(86,)]
        assert store.rows("select name, parameters, macs from models") == [("net", 5, None)]
        # Costs are noted when the model is seen again.
        model = Model("net", "python", {}, "w", {}, (8, 8), 2, 5, 4, macs=7, activations=3)
        store.write(lambda c: c.execute(f"update models set model_id = '{model.model_id}'"))
        store.write(lambda c: register_model(c, dataclasses.replace(model, name="again")))
        assert store.rows("select name, macs, activations from models") == [("net", 7, 3)]


N_METRICS = sum(metric.over == "run" for metric in METRICS)


KILLED = """
import os, signal, sys
import duckdb
import numpy as np
import qubastore
from tests.support.runs import add_run
store = qubastore.open(sys.argv[1], read_only=False)
real = store._connection
class Deadly:
    def __getattr__(self, name):
        return getattr(real, name)
    def execute(self, query, *rest):
        if query.startswith(sys.argv[2]):
            if sys.argv[3] == "after":
                real.execute(query, *rest)
            os.kill(os.getpid(), signal.SIGKILL)
        return real.execute(query, *rest)
store._connection = Deadly()
add_run(store, np.eye(4), [0, 1, 2, 3], name="killed")
"""


@pytest.mark.parametrize(
    ("statement", "when"),
    [
        ("call ducklake_add_data_files", "before"),
        ("call ducklake_add_data_files", "after"),
        ("insert into shards", "after"),
        ("insert into class_summary", "after"),
        ("delete from run_metrics", "before"),
    ],
)
def test_kill_9_in_the_middle_of_a_write(store, statement, when):
    """Whatever line the driver dies at, a rerun ends with what an undisturbed one has."""
    add_run(store, np.eye(4), [0, 1, 2, 3], name="before")
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.path), statement, when],
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert run.returncode == -signal.SIGKILL
    for table in ("outputs", "logits", "shards", "run_summary", "class_summary", "run_metrics"):
        key = {"outputs": "sample_id", "logits": "sample_id", "class_summary": "class", "run_metrics": "metric"}.get(
            table
        )
        what = f"(run_id, {key})" if key else "run_id"
        total, distinct = store.rows(f"select count(*), count(distinct {what}) from {table}")[0]
        assert total == distinct
        assert total % {"shards": 1, "run_summary": 1, "run_metrics": N_METRICS}.get(table, 4) == 0, table
    with contextlib.suppress(AssertionError):  # add_run expects to commit, a rerun may find the shard there
        add_run(store, np.eye(4), [0, 1, 2, 3], name="killed")
    complete_runs(store)
    found = store.rows("select model, metric, value from metric_values order by metric, model")
    assert len(found) == 2 * 15
    assert [(m, v) for name, m, v in found if name == "before"] == [(m, v) for name, m, v in found if name == "killed"]
    assert store.rows("select count(*) from outputs") == [(8,)]


# Places that cannot be written -------------------------------------------------------------------------------
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


# By property -------------------------------------------------------------------------------------------------
names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, st.integers(0, 2**40), st.integers(0, 2), st.dictionaries(names, names, max_size=3))))
def test_datasets_round_trip(store, rows):
    samples = tuple(Sample(key, size, label, factors) for key, size, label, factors in rows)
    data = Dataset(f"set {time.monotonic_ns()}/ü'", samples, ("a", "b/c", "d'"), "own-classes", None)
    store.write(lambda c: register_dataset(c, data))
    found = store.rows(
        "select key, bytes, factors from samples where dataset_id = ? order by sample_id", [data.dataset_id]
    )
    assert found == [(s.key, s.size, dict(s.factors)) for s in samples]
    labels = store.rows("select labels from label_sets where dataset_id = ? order by sample_id", [data.dataset_id])
    assert labels == [([s.label],) for s in samples]


@given(names)
def test_quoted_text_comes_back(text):
    assert CONNECTION.execute(f"select {quote(text)}").fetchone() == (text,)


CONNECTION = connect(locate("store"))


def test_vectors_of_any_value_come_back_through_the_store(store):
    values = np.array([[np.inf, -np.inf, np.nan], [0.0, -0.0, 1e-45], [3.4e38, -3.4e38, 1.0]], np.float32)
    run_id = add_run(store, np.eye(3), [0, 1, 2], keep=("outputs",))
    from qubastore.runs import outputs

    table = outputs.vectors_table(run_id, np.arange(3, dtype=np.int32), values)
    path = outputs.write_shard(store.files, run_id, 0, {"features": table}).files["features"]
    store.write(
        lambda c: c.execute("call ducklake_add_data_files('store', 'features', ?, hive_partitioning => true)", [path])
    )
    back = np.concatenate([b.column("values").flatten().to_numpy(zero_copy_only=False) for b in store.features(run_id)])
    np.testing.assert_array_equal(back.view(np.uint32), values.reshape(-1).view(np.uint32))


def test_one_run_reads_its_own_files_only(store):
    """Partitions prune: a damaged file of another run does not matter."""
    first = add_run(store, np.eye(4), [0, 1, 2, 3], name="one")
    second = add_run(store, np.eye(4), [0, 1, 2, 3], name="two")
    for file in (store.data_path / "main" / "outputs" / f"run_id={second}").iterdir():
        file.write_bytes(b"damaged")
    assert len(store.outputs(first)) == 4
    with pytest.raises(QubastoreError, match=r"(?i)parquet"):
        store.rows("select count(label) from outputs where run_id = ?", [second])


def test_a_shard_without_files_is_committed_by_a_second_try(store):
    """No image of it could be decoded, and the catalog was locked at the first try."""
    run_id = add_run(store, np.eye(2), [0, 1], complete=False)
    store.write(lambda c: [c.execute(f"delete from {table}") for table in ("shards", "outputs", "logits")])
    real, tries = store._connection, []

    class LockedOnce:
        def __getattr__(self, name):
            return getattr(real, name)

        def execute(self, query, *rest):
            if query == "commit":
                tries.append(1)
                if len(tries) == 1:
                    raise duckdb.IOException("database is locked")
            return real.execute(query, *rest)

    store._connection = LockedOnce()
    failures = tuple(Failure(sample, f"{sample}.png", "truncated") for sample in range(2))
    assert commit_shard(store, Shard(run_id, 0, 0, 2, {}, failures), dataset_id="x")
    assert len(tries) == 2
    assert store.rows("select n_samples, n_failed from shards") == [(2, 2)]
    assert store.rows("select count(*) from failures") == [(2,)]


# What a hostile reader found ---------------------------------------------------------------------------------
def test_ctrl_c_in_the_middle_of_a_commit_loses_nothing(store):
    """The signal waits for the end of the transaction; files that the catalog refers to stay."""
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3], complete=False)
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    shard = write_shard(store, run_id, 0, 0, np.eye(4) * 2, [0, 1, 2, 3])
    real = store._connection

    class Interrupting:
        def __getattr__(self, name):
            return getattr(real, name)

        def execute(self, query, *rest):
            if query == "commit":
                os.kill(os.getpid(), signal.SIGINT)
            return real.execute(query, *rest)

    store._connection = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        commit_shard(store, shard, dataset_id=dataset_id, replace=True)
    store._connection = real
    assert all(Path(file).exists() for file in shard.files.values())
    assert store.rows("select max(top5_logit[1]), count(*) from outputs") == [(2.0, 4)]


def test_files_of_a_failed_commit_go(store):
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3], complete=False)
    shard = write_shard(store, run_id, 0, 0, np.eye(4) * 2, [0, 1, 2, 3])
    store.write(lambda c: remove_run(c, run_id))
    with pytest.raises(StoreError, match="was removed while it was worked on"):
        commit_shard(store, shard, dataset_id="d")
    assert not any(Path(file).exists() for file in shard.files.values())


def test_a_shard_that_lacks_a_kind_never_replaces_one_that_has_it(store):
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3])
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    other = write_shard(store, run_id, 0, 0, np.eye(4), [0, 1, 2, 3], keep=("outputs", "features"))
    assert commit_shard(store, other, dataset_id=dataset_id) is False
    assert store.rows("select count(*) from logits") == [(4,)]


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


@pytest.mark.parametrize("meanwhile", ["remove", "replace"])
def test_sums_over_rows_that_changed_meanwhile_are_not_stored(store, monkeypatch, meanwhile):
    """Another process removes or replaces the run between reading its rows and storing their sums."""
    from qubastore.statistics import bins

    run_id = add_run(store, np.eye(4), [0, 1, 2, 3], complete=False)
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    shard = write_shard(store, run_id, 0, 0, np.eye(4)[::-1], [0, 1, 2, 3])
    real = bins.class_rows

    def change(*arguments):
        monkeypatch.setattr(summaries, "class_rows", real)
        if meanwhile == "remove":
            store.write(lambda c: remove_run(c, run_id))
        else:
            commit_shard(store, shard, dataset_id=dataset_id, replace=True)
        return real(*arguments)

    monkeypatch.setattr(summaries, "class_rows", change)
    complete_runs(store)
    assert store.rows("select count(*) from run_summary") == [(0,)]
    complete_runs(store)
    assert store.rows("select accuracy from accuracy") == ([] if meanwhile == "remove" else [(0.0,)])


def test_likelihoods_below_what_a_probability_can_hold(store):
    """-ln p = 800 and 0.31326 (= ln(1 + e^-1)): p itself underflows to zero."""
    add_run(store, [[800.0, 0.0], [0.0, 1.0]], [1, 1])
    assert store.rows("select negative_log_likelihood from negative_log_likelihood") == [
        (pytest.approx((800 + np.log1p(np.exp(-1))) / 2, abs=1e-9),)
    ]
