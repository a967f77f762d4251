"""Writes and commits of shards: whole or not at all, once, and nothing lost when something interrupts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import duckdb
import numpy as np
import pytest

from qubastore.errors import (
    DatasetError,
    StoreError,
    UsageError,
)
from qubastore.runs import summaries
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from qubastore.runs.removal import remove_model, remove_run
from qubastore.runs.shard import Failure, Shard
from tests.maintenance.small_run import LABELS, logits
from tests.support.runs import add_run, write_shard


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
    assert store.rows("select count(*) from shards") == [(1,)]
    assert store.rows("select count(*) from outputs") == [(0,)], "nothing is visible before its run is published"
    publish_runs(store)
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(4, 4)]


def test_a_shard_that_keeps_more_takes_the_place(store):
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3], keep=("outputs",))
    assert store.rows("select count(*) from run_summary") == [(1,)]
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    more = write_shard(store, run_id, 0, 0, np.eye(4), [0, 1, 2, 3])
    assert commit_shard(store, more, dataset_id=dataset_id) is True
    assert store.rows("select count(*) from run_summary") == [(0,)], "the old sums went with the old rows"
    publish_runs(store)
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
    assert not any(Path(file).exists() for file in second.files.values())
    publish_runs(store)
    assert store.rows("select count(*) from outputs") == [(2,)]


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


def test_a_shard_without_files_is_committed_by_a_second_try(store):
    """No image of it could be decoded, and the catalog was locked at the first try."""
    run_id = add_run(store, np.eye(2), [0, 1], complete=False)
    store.write(lambda c: [c.execute(f"delete from {table}") for table in ("shards", "staged_files")])
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
    publish_runs(store)
    assert store.rows("select max(top5_logit[1]), count(*) from outputs") == [(2.0, 4)]


def test_files_of_a_failed_commit_go(store):
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3], complete=False)
    shard = write_shard(store, run_id, 0, 0, np.eye(4) * 2, [0, 1, 2, 3])
    store.write(lambda c: remove_run(c, run_id))
    with pytest.raises(StoreError, match="was removed during the ingest"):
        commit_shard(store, shard, dataset_id="d")
    assert not any(Path(file).exists() for file in shard.files.values())


def test_a_shard_that_lacks_a_kind_never_replaces_one_that_has_it(store):
    run_id = add_run(store, np.eye(4), [0, 1, 2, 3])
    dataset_id = store.rows("select dataset_id from datasets")[0][0]
    other = write_shard(store, run_id, 0, 0, np.eye(4), [0, 1, 2, 3], keep=("outputs", "features"))
    assert commit_shard(store, other, dataset_id=dataset_id) is False
    assert store.rows("select count(*) from logits") == [(4,)]


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
    publish_runs(store)
    assert store.rows("select count(*) from run_summary") == [(0,)]
    publish_runs(store)
    assert store.rows("select accuracy from accuracy") == ([] if meanwhile == "remove" else [(0.0,)])


@pytest.mark.parametrize(("shard", "first", "n"), [(0, 0, 3), (0, 0, 5), (1, 5, 4), (2, 8, 3), (3, 12, 4)])
def test_a_shard_of_another_size_is_refused(store, shard, first, n):
    """Of twelve samples in shards of four: a commit of another range would leave samples out, or have them twice."""
    run = add_run(store, logits(n=16)[:12], LABELS, shard_size=4, complete=False)
    store.write(lambda c: [c.execute(f"delete from {table}") for table in ("shards", "staged_files")])
    labels = np.resize(LABELS, n)
    with pytest.raises(StoreError, match=f"shard {shard} of run {run} has samples {first} to {first + n - 1}"):
        commit_shard(store, write_shard(store, run, shard, first, logits(n=n), labels), dataset_id="x")
    assert store.rows("select count(*) from shards") == [(0,)]
