"""PostgreSQL or S3 out of reach in the middle of a commit: every shard is there once."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

import qubastore
from qubastore.errors import StoreUnreachableError
from qubastore.lake import migrations
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.gc import collect
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from tests.lake.planned import planned_run
from tests.maintenance.small_run import LABELS, logits
from tests.support.runs import write_shard

pytestmark = pytest.mark.cluster


def test_postgres_is_killed_in_the_middle_of_a_commit(url, postgres):
    with qubastore.init(url) as remote:
        run = planned_run(remote, shard_size=4)
        kills: list[int] = []

        def kill_once(connection):
            if not kills:
                kills.append(1)
                postgres.kill()
                threading.Timer(1.0, postgres.start).start()

        for number in range(3):
            shard = write_shard(remote, run, number, number * 4, logits()[number * 4 :][:4], LABELS[number * 4 :][:4])
            assert commit_shard(remote, shard, dataset_id="pets", check=kill_once)
        publish_runs(remote)
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

        loses: Any = LosesAnswer()
        remote._connection = loses
        assert commit_shard(remote, shard, dataset_id="pets", replace=replace)
        assert LosesAnswer.lost
        staged = sorted(remote.files.below(file) for file in shard.files.values())
        assert [row[0] for row in remote.rows("select file from staged_files order by file")] == staged
        collect(remote, keep_days=0, older_than=0)
        publish_runs(remote)
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
        assert list(examine(remote, deep=True)) == []


def test_an_internal_error_of_a_lost_connection_is_not_the_end(url, postgres):
    """DuckDB breaks down when its server stops in the middle of an answer, as the next test once saw."""
    with qubastore.init(url) as remote:
        run = planned_run(remote)
        shard = write_shard(remote, run, 0, 0, logits(), LABELS)
        real = remote._connection
        broken: list[str] = []

        class BreaksDown:
            """Passes everything on; the first query for a shard fails, and so does everything after it."""

            def __getattr__(self, name):
                return getattr(real, name)

            def execute(self, query, *rest):
                import duckdb

                if broken or "from shards" in query:
                    if not broken:
                        postgres.kill()
                        postgres.start()
                    broken.append(query)
                    raise (duckdb.InternalException if len(broken) == 1 else duckdb.FatalException)(
                        "INTERNAL Error: Attempted to access index 0 within vector of size 0"
                    )
                return real.execute(query, *rest)

        breaks: Any = BreaksDown()
        remote._connection = breaks
        assert commit_shard(remote, shard, dataset_id="pets")
        assert broken
        broken.clear()
        remote._connection = breaks
        assert remote.rows("select count(*) from shards") == [(1,)]
        assert broken
        publish_runs(remote)
        assert list(examine(remote, deep=True)) == []


def test_a_server_that_dies_while_a_store_is_opened_is_waited_for(url, postgres, monkeypatch):
    """The new connection of a writer breaks down as its first one did; a store that is opened anew says what it is."""
    import duckdb

    with qubastore.init(url) as remote:
        run = planned_run(remote)
        shard = write_shard(remote, run, 0, 0, logits(), LABELS)
        real, failures = migrations.store_facts, [2]

        def dies(connection, name="store"):
            if failures[0]:
                failures[0] -= 1
                raise duckdb.InternalException("INTERNAL Error: Attempted to access index 0 within vector of size 0")
            return real(connection, name)

        def kill_once(connection):
            if failures == [2]:
                monkeypatch.setattr(migrations, "store_facts", dies)
                postgres.kill()
                postgres.start()

        assert commit_shard(remote, shard, dataset_id="pets", check=kill_once)
        assert failures == [0]
        failures[0] = 1
        with pytest.raises(StoreUnreachableError, match="cannot be reached"):
            qubastore.open(url)


def test_postgres_is_killed_again_and_again(url, postgres):
    """30 shards while the server dies about every second: each is there once.

    On a slow machine it lives longer: a server that never lives as long as a commit takes is out of reach.
    """
    n = 30
    values, labels = logits(n=4 * n), np.arange(4 * n) % 4
    with qubastore.init(url) as remote:
        run = planned_run(remote, values, labels, shard_size=4)
        started = time.monotonic()
        qubastore.open(url, read_only=False).close()
        assert commit_shard(remote, write_shard(remote, run, 0, 0, values[:4], labels[:4]), dataset_id="pets")
        life = max(0.7, 4 * (time.monotonic() - started))
        over, kills = threading.Event(), []

        def murder():
            while not over.wait(life):
                postgres.kill()
                kills.append(1)
                postgres.start()

        murderer = threading.Thread(target=murder)
        murderer.start()
        try:
            for number in range(1, n):
                part = slice(4 * number, 4 * number + 4)
                shard = write_shard(remote, run, number, 4 * number, values[part], labels[part])
                assert commit_shard(remote, shard, dataset_id="pets")
        finally:
            over.set()
            murderer.join()
        assert kills
        publish_runs(remote)
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(4 * n, 4 * n)]
        assert list(examine(remote, deep=True)) == []


def test_an_object_store_out_of_reach_for_a_while(url, s3):
    """While a shard's files are written, and while the run is merged."""

    def cut_for_a_while():
        s3.proxy.cut()
        timer = threading.Timer(3.0, s3.proxy.mend)
        timer.start()
        return timer

    with qubastore.init(url) as remote:
        run = planned_run(remote)
        mended = cut_for_a_while()
        shard = write_shard(remote, run, 0, 0, logits(), LABELS)
        mended.join()
        assert commit_shard(remote, shard, dataset_id="pets")
        mended = cut_for_a_while()
        assert publish_runs(remote) == [run]
        mended.join()
        assert remote.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
        assert list(examine(remote, deep=True)) == []
