"""Several processes on one store: writers one after another, readers never waiting, a driver killed at any line."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import qubastore
from qubastore.errors import (
    StoreBusyError,
)
from qubastore.lake import database
from qubastore.lake.rows import insert
from qubastore.metrics.catalogue import METRICS
from qubastore.runs.publish import publish_runs
from tests.support.runs import add_run


def _append(path: str, worker: int, count: int) -> None:
    with qubastore.open(path, read_only=False) as store:
        for index in range(count):
            store.write(partial(insert, table="failures", rows=[(f"w{worker}", index, "k", "e")]))


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
        assert holder.stdin is not None
        assert holder.stdout is not None
        stdin, stdout = holder.stdin, holder.stdout
        assert stdout.readline() == "locked\n"
        attempts = 0

        def work(connection):
            nonlocal attempts
            attempts += 1
            if attempts == 3:
                stdin.write("let go\n")
                stdin.flush()
                assert stdout.readline() == "free\n"
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
        ("insert into staged_files", "before"),
        ("insert into staged_files", "after"),
        ("delete from staged_files", "before"),
        ("insert into class_summary", "after"),
        ("insert into run_metrics", "before"),
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
    publish_runs(store)
    found = store.rows("select model, metric, value from metric_values order by metric, model")
    assert len(found) == 2 * 15
    assert [(m, v) for name, m, v in found if name == "before"] == [(m, v) for name, m, v in found if name == "killed"]
    assert store.rows("select count(*) from outputs") == [(8,)]
