"""`gc`: orphans and old snapshots are removed, and nothing else."""

from __future__ import annotations

import time

import numpy as np

from qubastore.maintenance import gc
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.files import known_files, orphans
from qubastore.maintenance.gc import collect
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from tests.maintenance.small_run import LABELS, found, logits
from tests.support.runs import add_run, write_shard


def test_garbage_is_only_what_this_store_has_written(store, run):
    """A store in a folder below, and notes of people, are nobody's garbage."""
    (store.data_path / "notes.txt").write_text("mine")
    (store.data_path / ".seen-by-host-1").write_text("qubastore")
    below = store.data_path / "team2" / "main" / "outputs" / f"run_id={run}"
    below.mkdir(parents=True)
    (below / "shard-00000-0123456789ab.parquet").write_text("theirs")
    assert found(store, deep=False) == []
    assert collect(store, keep_days=0, older_than=0).files == []
    assert (below / "shard-00000-0123456789ab.parquet").exists()


def test_orphans_are_found_and_collected_and_nothing_else(store, run):
    write_shard(store, run, 1, 4, logits()[4:8], LABELS[4:8])
    kept = sorted(path for path in store.files.sizes() if path.rpartition("/")[2] in known_files(store))
    assert [check for check, *_ in found(store, deep=False)] == ["orphans"]
    # What an ingest is about to commit is young.
    assert orphans(store, older_than=3600, now=time.time()) == []
    assert collect(store, keep_days=0, older_than=3600).files == []
    assert len(collect(store, keep_days=7, older_than=0, dry_run=True).files) == 2
    assert len(collect(store, keep_days=7, older_than=0).files) == 2
    assert sorted(store.files.sizes()) == kept
    assert found(store) == []


def test_an_ingest_expires_old_snapshots_once_there_are_many(store, monkeypatch):
    add_run(store, logits(), LABELS)
    query = "select count(*) from ducklake_snapshots('store')"
    assert gc.expire_many(store) == 0, "they are young"
    monkeypatch.setattr(gc, "KEEP_DAYS", 0.0)
    ((n,),) = store.rows(query)
    monkeypatch.setattr(gc, "MANY", n + 1)
    assert gc.expire_many(store) == 0
    monkeypatch.setattr(gc, "MANY", n)
    assert gc.expire_many(store) == n - 1
    assert store.rows(query) == [(1,)]
    assert store.rows("select count(*) from outputs") == [(12,)]
    assert list(examine(store, deep=True)) == []


def test_what_a_kept_snapshot_refers_to_stays(store):
    """A shard is replaced: its old files go with the snapshots that had them, and no sooner.

    It has more rows than DuckLake deletes by a note in the catalog.
    """
    labels = np.arange(600) % 4
    run = add_run(store, logits(n=600), labels, shard_size=300)
    version = store.rows("select max(snapshot_id) from ducklake_snapshots('store')")[0][0]
    before = store.rows("select sample_id, prediction from outputs order by sample_id")
    again = write_shard(store, run, 1, 300, logits(1, 300), labels[300:])
    assert commit_shard(store, again, dataset_id="x", replace=True)
    publish_runs(store)
    old = f"select sample_id, prediction from outputs at (version => {version}) order by sample_id"
    assert collect(store, keep_days=7, older_than=0).files == []
    assert store.rows(old) == before
    done = collect(store, keep_days=0, older_than=0)
    assert done.snapshots > 0
    of_runs = [path for path in done.files if "/run_id=" in path]
    assert sorted(path.split("/")[-3] for path in of_runs) == ["logits", "outputs"]
    assert found(store) == []
    assert len(store.outputs(run)) == 600
