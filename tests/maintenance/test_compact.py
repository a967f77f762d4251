"""`compact`: stores of earlier releases get one file per run and table, and answer as before."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import cli
from qubastore.lake.database import Database
from qubastore.lake.snapshot import Snapshot
from qubastore.lake.tidy import SMALL_TABLES, tidy
from qubastore.maintenance.compact import compact, scattered_runs
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.gc import collect
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs, runs_with_files
from tests.lake.test_old_stores import SCHEMAS, command, unpack
from tests.support.runs import add_run, write_shard

TABLES = (
    *("outputs", "logits", "features", "shards", "failures", "run_summary", "class_summary", "bin_summary"),
    *("cue_summary", "run_metrics", "derivations", "probes"),
)


def rows(store):
    return {table: sorted(map(repr, store.rows(f"from {table}"))) for table in TABLES}


def files_of(store, table):
    listed = store.rows(f"select count(*) from ducklake_list_files('store', '{table}')")
    return listed[0][0]


@pytest.fixture(params=SCHEMAS)
def old(request, tmp_path):
    """A store of each earlier schema, migrated."""
    path = unpack(request.param, tmp_path)
    said = command(path, "migrate").stdout
    with qubastore.open(path) as store:
        assert ("qubastore compact merges them" in said) == bool(scattered_runs(store))
    return path


def test_an_old_store_has_one_file_per_run_and_table_and_the_same_rows(old):
    with qubastore.open(old, read_only=False) as store:
        publish_runs(store)  # which stores the metrics that the earlier release did not have
        before, todo = rows(store), scattered_runs(store)
        faults = {fault.check for fault in examine(store, deep=True)}
        done = compact(store)
        assert sorted(done.runs) == sorted(todo)
        assert not done.damaged
        assert rows(store) == before
        assert max(store.ask(runs_with_files).values()) == 1
        assert scattered_runs(store) == {}
        assert compact(store).runs == []
        assert {fault.check for fault in examine(store, deep=True)} == faults
        collect(store, keep_days=0, older_than=0)
        assert rows(store) == before
    said = CliRunner().invoke(cli, ["compact", "--store", str(old)])
    assert said.exit_code == 0, said.output
    assert "every run has one file per table" in said.output


@pytest.mark.parametrize("kills", range(0, 12, 2))
def test_a_compaction_that_is_killed_is_finished_by_the_next(tmp_path, monkeypatch, kills):
    path = unpack(6, tmp_path)
    command(path, "migrate")
    with qubastore.open(path, read_only=False) as store:
        publish_runs(store)
        before = rows(store)

        class Killed(BaseException):
            pass

        left = [kills]
        real = Database.write

        def write(self, work, **options):
            if not left[0]:
                raise Killed
            left[0] -= 1
            return real(self, work, **options)

        monkeypatch.setattr(Database, "write", write)
        with pytest.raises(Killed):
            compact(store)
        monkeypatch.undo()
    with qubastore.open(path, read_only=False) as store:
        assert rows(store) == before
        compact(store)
        collect(store, keep_days=0, older_than=0)
        assert rows(store) == before
        assert max(store.ask(runs_with_files).values()) == 1
        assert not {fault.check for fault in examine(store, deep=True)} & {"orphans", "row_counts", "stale_sums"}


def test_small_tables_keep_few_files_and_their_history(store, monkeypatch):
    from qubastore.lake import tidy as tidying

    monkeypatch.setattr(tidying, "FILES", 3)
    monkeypatch.setattr(tidying, "ROWS", 20)
    versions = []
    for number in range(8):
        add_run(store, [[1.0, 0.0], [0.0, 1.0]] * 2, [0, 1, 0, 1], name=f"net{number}", shard_size=1)
        versions.append(store.rows("select max(snapshot_id) from ducklake_snapshots('store')")[0][0])
    assert files_of(store, "shards") < 4
    for number, version in enumerate(versions, start=1):
        assert store.rows(f"select count(*) from shards at (version => {version})") == [(4 * number,)]
        assert store.rows(f"select count(*) from run_summary at (version => {version})") == [(number,)]
    before = rows(store)
    tidy(store, SMALL_TABLES, fully=True)
    assert {files_of(store, table) for table in SMALL_TABLES} <= {0, 1}
    assert rows(store) == before
    collect(store, keep_days=0, older_than=0)
    assert rows(store) == before
    assert list(examine(store, deep=True)) == []


def test_a_forced_shard_of_an_old_store_is_sound_until_it_is_published(tmp_path):
    """Its old file, with another checksum, stays registered until then."""
    path = unpack(6, tmp_path)
    command(path, "migrate")
    with qubastore.open(path, read_only=False) as store:
        query = "select run_id, len(any_value(values)) from logits group by run_id order by run_id limit 1"
        ((run, width),) = store.rows(query)
        before = {fault.check for fault in examine(store, deep=True)}
        first, n = store.rows("select first_sample, n_samples from shards where run_id = ? and shard = 0", [run])[0]
        kept = store.rows("select kept from shards where run_id = ? and shard = 0", [run])[0][0]
        labels = [row[0] for row in store.rows("select label from outputs where run_id = ? order by sample_id", [run])]
        shard = write_shard(store, run, 0, first, 10 * np.eye(width)[np.array(labels[:n]) % width], labels[:n])
        assert commit_shard(store, shard, dataset_id="x", replace=True)
        assert {fault.check for fault in examine(store, deep=True)} <= before | {"unfinished_runs"}, kept
        publish_runs(store)
        assert {fault.check for fault in examine(store, deep=True)} <= before


def test_a_lost_file_leaves_its_run_and_compacts_the_others(tmp_path):
    path = unpack(6, tmp_path)
    command(path, "migrate")
    with qubastore.open(path, read_only=False) as store:
        lost = sorted(scattered_runs(store))[0]
        next((store.data_path / "main" / "outputs" / f"run_id={lost}").glob("shard-*")).unlink()
        done = compact(store)
        assert lost not in done.runs
        assert {damage.run_id for damage in done.damaged} == {lost}
        assert set(scattered_runs(store)) == {lost}


def test_a_copy_in_memory_is_whole_while_rows_move_to_files(store):
    """In SQLite, a transaction finds a table empty whose rows another process moved after it began."""
    add_run(store, [[1.0, 0.0], [0.0, 1.0]] * 2, [0, 1, 0, 1])
    code = (
        "import sys, qubastore; from qubastore.lake.tidy import SMALL_TABLES, tidy\n"
        "with qubastore.open(sys.argv[1], read_only=False) as store: tidy(store, SMALL_TABLES, fully=True)"
    )
    moved: list[Any] = []
    real = Snapshot._copy

    def copy(self, *arguments):
        real(self, *arguments)
        if not moved:
            # Between the copies of two tables would be worse; after all of them is what the check must see as well.
            moved.append(subprocess.run([sys.executable, "-c", code, str(store.path)], check=True))
            self._cursor.execute("delete from run_summary")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshot, "_copy", copy)
        with Snapshot(store, ["accuracy"]) as copied:
            assert copied.rows("select accuracy from accuracy") == [(1.0,)]
    assert moved
