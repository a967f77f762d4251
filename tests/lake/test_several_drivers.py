"""Several drivers on one store by URL: one after another, each shard committed once, each copied once."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time

import pytest

import qubastore
from qubastore.errors import StoreBusyError, StoreError, StoreNotFoundError
from qubastore.lake.locks import AdvisoryLock
from qubastore.maintenance.copy import copy_store
from qubastore.maintenance.doctor import examine
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from tests.lake.planned import planned_run, stand_still
from tests.maintenance.small_run import LABELS, logits, tables
from tests.support.runs import add_run, write_shard

pytestmark = pytest.mark.cluster


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
        assert remote.rows("select count(*) from shards") == [(3,)]
        publish_runs(remote)
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
        # What the losers wrote is gone.
        assert list(examine(remote, deep=True)) == []


def test_who_comes_second_waits_until_the_first_has_committed(url):
    """The lock itself: the first driver stands still inside its transaction, after the look and before the commit."""
    with qubastore.init(url) as first, qubastore.open(url, read_only=False) as second:
        run = planned_run(first)
        mine, theirs = (write_shard(each, run, 0, 0, logits(), LABELS) for each in (first, second))
        won: dict[str, bool] = {}
        standing, go = stand_still(first, mine, won)
        waiting = threading.Thread(target=lambda: won.update(b=commit_shard(second, theirs, dataset_id="x")))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
        go.set()
        for thread in (standing, waiting):
            thread.join(60)
        assert won == {"a": True, "b": False}
        publish_runs(first)
        assert first.rows("select count(*) from outputs") == [(12,)]


def test_a_lock_that_is_never_released_is_told_with_its_holder(url, monkeypatch):
    from qubastore.lake import database

    with qubastore.init(url) as first, qubastore.open(url, read_only=False) as second:
        monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.5)
        with first._writer_lock().held(time.monotonic() + 9), pytest.raises(StoreBusyError, match=r"PID \d+ from 127"):
            second.write(lambda c: None)
        second.write(lambda c: None)


def test_a_stalled_transaction_keeps_others_out_without_the_lock(url, postgres, monkeypatch):
    """An operator ends the session with the first lock; the second lives in the transaction itself."""
    from qubastore.lake import database

    with qubastore.init(url) as first, qubastore.open(url, read_only=False) as second:
        run = planned_run(first)
        mine, theirs = (write_shard(each, run, 0, 0, logits(), LABELS) for each in (first, second))
        won: dict[str, bool] = {}
        thread, go = stand_still(first, mine, won)
        lock = first._writer_lock()
        assert isinstance(lock, AdvisoryLock)
        key = lock._key
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
        assert first.rows("select count(*) from shards") == [(1,)]
        publish_runs(first)
        assert first.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]


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
    with pytest.raises(StoreNotFoundError, match="an init that was interrupted"):
        qubastore.open(url)
    with qubastore.init(url) as made:
        assert made.rows("select count(*) from published_models") == [(326,)]
