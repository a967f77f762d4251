"""Publishing: a run becomes visible whole and once, in one file per table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import qubastore
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.gc import collect
from qubastore.runs import run_files
from qubastore.runs.commit import commit_shard, commit_shards
from qubastore.runs.publish import publish_runs
from qubastore.runs.shard import Failure, Shard
from tests.lake.planned import planned_run
from tests.maintenance.small_run import LABELS, logits
from tests.runs.stored import answers, published, staged
from tests.support.runs import add_run, write_shard


def test_a_run_is_one_file_per_table_in_the_order_of_the_samples(store):
    run = add_run(store, logits(), LABELS, shard_size=4)
    for kind in ("outputs", "logits"):
        (file,) = published(store, run, kind)
        assert pq.read_table(file).column("sample_id").to_pylist() == list(range(12))
        assert store.rows("select file from run_files where kind = ?", [kind]) == [(store.files.below(str(file)),)]
    assert staged(store) == []
    assert store.rows("select count(*) from staged_files") == [(0,)]
    assert list(examine(store, deep=True)) == []


@pytest.mark.parametrize("shard_size", [1, 5, 12])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_bytes_do_not_depend_on_the_shards_or_their_order(tmp_path, monkeypatch, shard_size, rows):
    monkeypatch.setattr(run_files, "ROWS_PER_GROUP", dict.fromkeys(run_files.ROWS_PER_GROUP, rows))
    found = []
    for name, size, backwards in (("a", 4, False), ("b", shard_size, True)):
        with qubastore.init(tmp_path / name) as store:
            run = planned_run(store, shard_size=size)
            firsts = list(enumerate(range(0, 12, size)))
            for number, first in reversed(firsts) if backwards else firsts:
                end = min(12, first + size)
                commit_shard(
                    store,
                    write_shard(store, run, number, first, logits()[first:end], LABELS[first:end]),
                    dataset_id="x",
                )
            assert publish_runs(store) == [run]
            found.append((answers(store), [published(store, run, k)[0].read_bytes() for k in ("outputs", "logits")]))
    assert found[0] == found[1]


def test_a_large_run_has_several_files(store, monkeypatch):
    monkeypatch.setattr(run_files, "ROWS_PER_GROUP", dict.fromkeys(run_files.ROWS_PER_GROUP, 2))
    monkeypatch.setattr(run_files, "LARGEST", 1)
    run = add_run(store, logits(), LABELS, shard_size=5)
    assert len(published(store, run, "outputs")) == 6
    assert store.rows("select part, n_rows from run_files where kind = 'logits' order by part") == [
        (part, 2) for part in range(6)
    ]
    assert store.outputs(run)["label"].to_list() == LABELS.tolist()
    assert list(examine(store, deep=True)) == []


def test_nothing_is_visible_before_and_the_store_is_sound(store):
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    assert store.rows("select count(*) from outputs") == [(0,)]
    assert store.rows("select n_done, complete from run_progress") == [(12, False)]
    assert {fault.check for fault in examine(store, deep=True)} == {"unfinished_runs"}
    assert collect(store, keep_days=0, older_than=0).files == []
    assert publish_runs(store) == [run]
    assert publish_runs(store) == []


def test_a_forced_shard_replaces_its_rows_when_the_run_is_published(store):
    run = add_run(store, logits(), LABELS, shard_size=4)
    before = store.rows("select sample_id, top5_logit from outputs order by sample_id")
    shard = write_shard(store, run, 1, 4, logits(1)[4:8], LABELS[4:8])
    assert commit_shard(store, shard, dataset_id="x", replace=True)
    assert store.rows("select count(*) from accuracy") == [(0,)], "the sums went"
    assert {fault.check for fault in examine(store, deep=True)} == {"unfinished_runs"}
    assert publish_runs(store) == [run]
    after = store.rows("select sample_id, top5_logit from outputs order by sample_id")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True] * 4 + [False] * 4 + [True] * 4
    assert len(store.rows("from run_files")) == 2
    collect(store, keep_days=0, older_than=0)
    assert len(published(store, run, "outputs")) == 1
    assert list(examine(store, deep=True)) == []


def test_a_forced_shard_without_a_good_image_leaves_no_rows(store):
    run = add_run(store, logits(), LABELS, shard_size=4)
    failures = tuple(Failure(sample, f"{sample}.png", "truncated") for sample in range(4, 8))
    assert commit_shard(store, Shard(run, 1, 4, 4, {}, failures), dataset_id="x", replace=True)
    assert publish_runs(store) == [run]
    assert store.rows("select n_outputs, n_failed from run_summary") == [(8, 4)]
    assert store.outputs(run)["sample_id"].to_list() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert list(examine(store, deep=True)) == []


def test_a_reader_in_the_midst_of_a_scan_sees_one_snapshot(store):
    """Its snapshot stays whole while a run is published again and its old files are replaced."""
    run = add_run(store, logits(n=3000), np.arange(3000) % 4, shard_size=1000)
    with qubastore.open(store.path) as reader:
        cursor = reader.cursor()
        cursor.execute("use store; begin transaction")
        first = cursor.execute("select sum(logsumexp) from outputs").fetchone()
        shards = [
            write_shard(store, run, number, 1000 * number, logits(1, 1000), np.arange(1000) % 4) for number in range(3)
        ]
        assert commit_shards(store, shards, replace=True) == [True] * 3
        assert publish_runs(store) == [run]
        assert cursor.execute("select sum(logsumexp) from outputs").fetchone() == first
        cursor.execute("commit")
        assert cursor.execute("select sum(logsumexp) from outputs").fetchone() != first
        cursor.close()


def test_the_names_of_files_move_with_the_store(store, tmp_path):
    add_run(store, logits(), LABELS, shard_size=4, complete=False)
    store.close()
    there = Path(store.path).rename(tmp_path / "moved")
    with qubastore.open(there, read_only=False) as moved:
        assert len(publish_runs(moved)) == 1
        assert list(examine(moved, deep=True)) == []
