"""Which ingests are active, how far they are, and which are dead."""

from __future__ import annotations

import os
import socket

import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.repair import repair
from qubastore.runs.sessions import active_session, is_alive
from tests.maintenance.small_run import LABELS, change, found, logits
from tests.support.runs import add_run


def test_an_unfinished_run_and_a_dead_ingest(store, run):
    change(store, "delete from shards where shard = 2")
    change(store, "delete from run_summary")
    change(store, f"insert into drivers values ('gone', '{socket.gethostname()}', 4194305, null, ['{run}'], 12, now())")
    assert [check for check, *_ in found(store, deep=False)] == ["dead_ingests"]
    assert "removed 1 session" in " ".join(repair(store, list(examine(store))))
    assert found(store, deep=False) == [("unfinished_runs", run, None)]


def test_who_is_at_work_shows_while_it_lasts(store, run):
    with active_session(store, [run], 12, None) as driver:
        assert store.rows("select driver_id, run_ids from drivers") == [(driver, [run])]
        shown = CliRunner().invoke(cli, ["status", "--store", str(store.path)]).output
        assert f"ingest {os.getpid()} on {socket.gethostname()} (its own Ray)" in shown
        assert store.rows("select n_done, n_samples, n_drivers, complete from run_progress") == [(12, 12, 1, True)]
    assert store.rows("from drivers") == []
    assert is_alive("another-host", 1) is None
    assert "every run is complete" in CliRunner().invoke(cli, ["status", "--store", str(store.path)]).output


def test_progress_by_hand(store):
    """8 of 12 images are there, 4 of them since the ingest began 10 seconds ago: 0.4 a second, 10 seconds left."""
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    change(store, "delete from shards where shard = 2")
    change(store, "update shards set committed_at = now() - interval 1 hour where shard = 0")
    change(store, "update shards set committed_at = now() - interval 2 seconds where shard = 1")
    change(
        store, f"insert into drivers values ('d', 'elsewhere', 1, 'auto', ['{run}'], 8, now() - interval 10 seconds)"
    )
    query = "select n_done, n_failed, n_drivers, images_per_second, seconds_left, complete from run_progress"
    done, failed, drivers, speed, left, complete = store.rows(query)[0]
    assert (done, failed, drivers, complete) == (8, 0, 1, False)
    assert speed == pytest.approx(0.4, rel=0.2)
    assert left == pytest.approx(4 / speed)
    shown = CliRunner().invoke(cli, ["status", "--store", str(store.path)]).output
    assert "active" in shown
    assert "8/12" in shown
