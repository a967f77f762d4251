"""Publishing: a run becomes visible whole and once, in one file per table, whatever interrupts it."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import qubastore
from qubastore.errors import StoreError
from qubastore.lake.object_storage import DataFiles
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.gc import collect
from qubastore.runs import run_files
from qubastore.runs.commit import commit_shard, commit_shards
from qubastore.runs.publication import Damage, prepare
from qubastore.runs.publish import publish_runs, store_publications
from qubastore.runs.removal import remove_run
from qubastore.runs.shard import Failure, Shard
from qubastore.runs.unpublished import unpublished_runs
from tests.lake.planned import planned_run
from tests.maintenance.small_run import LABELS, logits
from tests.support.runs import add_run, write_shard

ANSWERS = (
    "from outputs order by run_id, sample_id",
    "from logits order by run_id, sample_id",
    "select * exclude (computed_at) from run_summary order by all",
    "from class_summary order by all",
    "from bin_summary order by all",
    "from run_metrics order by all",
    "select run_id, kind, part, n_rows, checksum from run_files order by all",
)


def answers(store):
    return [str(store.rows(query)) for query in ANSWERS]


def staged(store):
    return sorted((store.data_path / "staged").glob("*"))


def published(store, run_id, kind):
    return sorted((store.data_path / "main" / kind / f"run_id={run_id}").glob("*"))


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


@pytest.mark.parametrize("damage", ["gone", "changed"])
@pytest.mark.parametrize("kind", ["outputs", "logits"])
def test_a_damaged_shard_is_invalidated_and_made_again(store, damage, kind):
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    (file,) = (store.data_path / "staged").glob(f"{run}-00001-{kind}-*")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    found: list[Damage] = []
    assert publish_runs(store, damaged=found.append) == []
    assert [(each.run_id, each.shard) for each in found] == [(run, 1)]
    assert store.rows("select shard from shards order by shard") == [(0,), (2,)]
    assert not published(store, run, "outputs")
    assert publish_runs(store) == []
    commit_shard(store, write_shard(store, run, 1, 4, logits()[4:8], LABELS[4:8]), dataset_id="x")
    assert publish_runs(store) == [run]
    collect(store, keep_days=0, older_than=0)
    assert staged(store) == []
    assert list(examine(store, deep=True)) == []


def test_a_publisher_whose_run_another_one_has_published_reports_no_damage(store):
    """Its staged files go while it reads them."""
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    late = unpublished_runs(store)[0]
    assert publish_runs(store) == [run]
    found: list[Damage] = []
    assert store_publications(store, [prepare(late, store.files)], damaged=found.append) == []
    assert found == []
    assert len(store.rows("from outputs")) == 12
    assert list(examine(store, deep=True)) == []


def test_a_folder_that_is_not_mounted_invalidates_nothing(store):
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    away = store.data_path.with_name("elsewhere")
    store.data_path.rename(away)
    store.data_path.mkdir()
    found: list[Damage] = []
    with pytest.raises(StoreError, match="is the folder mounted"):
        publish_runs(store, damaged=found.append)
    store.data_path.rmdir()
    away.rename(store.data_path)
    assert found == []
    assert publish_runs(store) == [run]


def test_damage_that_only_a_worker_sees_invalidates_nothing(store):
    """A node without access to the store's files finds none of them."""
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    elsewhere = DataFiles(f"{store.data_path}-of-another-node")
    seen = prepare(unpublished_runs(store)[0], elsewhere)
    assert len(seen.damaged) == 3
    with pytest.raises(StoreError, match="can be read here, but not where"):
        store_publications(store, [seen], damaged=lambda _: None)
    assert publish_runs(store) == [run]


def test_a_run_that_is_removed_between_two_looks_is_not_summarised(store, monkeypatch):
    from qubastore.runs import unpublished

    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    real = unpublished.committed_shards

    def removed_first(connection, runs):
        monkeypatch.undo()
        remove_run(connection, run)
        return real(connection, runs)

    monkeypatch.setattr(unpublished, "committed_shards", removed_first)
    assert publish_runs(store) == []
    assert store.rows("select count(*) from run_summary") == [(0,)]


def test_a_full_disk_or_lost_files_after_publishing_are_no_error(store, monkeypatch):
    """What cannot be removed or merged then is done later."""
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)

    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(DataFiles, "remove", fails)
    assert publish_runs(store) == [run]
    monkeypatch.undo()
    assert len(staged(store)) == 6
    assert len(collect(store, keep_days=0, older_than=0).files) >= 6
    assert staged(store) == []


def test_damage_without_anyone_to_tell_is_an_error(store):
    add_run(store, logits(), LABELS, complete=False)
    staged(store)[0].unlink()
    with pytest.raises(StoreError, match=r"shard 0 of run .* cannot be published"):
        publish_runs(store)


def test_two_publishers_publish_once(store):
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    both = [prepare(unpublished_runs(store)[0], store.files) for _ in range(2)]
    assert store_publications(store, both[:1]) == [run]
    before = answers(store)
    assert store_publications(store, both[1:]) == []
    assert answers(store) == before
    assert len(published(store, run, "outputs")) == len(published(store, run, "logits")) == 1
    assert list(examine(store, deep=True)) == []


def test_a_run_that_is_removed_meanwhile_stays_away(store):
    run = add_run(store, logits(), LABELS, complete=False)
    prepared = prepare(unpublished_runs(store)[0], store.files)
    store.write(lambda c: remove_run(c, run))
    assert store_publications(store, [prepared]) == []
    assert published(store, run, "outputs") == []
    assert store.rows("select count(*) from run_summary") == [(0,)]
    collect(store, keep_days=0, older_than=0)
    assert staged(store) == []


def test_a_full_disk_while_merging(store, monkeypatch):
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    real = DataFiles.write

    def full(self, path, data):
        if "/logits/" in path:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        real(self, path, data)

    monkeypatch.setattr(DataFiles, "write", full)
    with pytest.raises(OSError, match="No space left"):
        publish_runs(store)
    assert published(store, run, "outputs") == published(store, run, "logits") == []
    assert len(staged(store)) == 6
    monkeypatch.undo()
    assert publish_runs(store) == [run]
    assert list(examine(store, deep=True)) == []


@pytest.mark.parametrize("moment", range(-1, 10))
def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(tmp_path, monkeypatch, moment):
    """Steps: each file that is read, written or removed, and the transaction; a kill happens before or after it."""
    with qubastore.init(tmp_path / "whole") as store:
        add_run(store, logits(), LABELS, shard_size=6)
        whole = answers(store)
    with qubastore.init(tmp_path / "killed") as store:
        run = add_run(store, logits(), LABELS, shard_size=6, complete=False)

        class Killed(BaseException):
            pass

        steps: list[int] = []
        patched = [(DataFiles, name) for name in ("read", "write", "remove")] + [(type(store), "write")]
        for owner, name in patched:
            real = getattr(owner, name)

            def step(self, *arguments, real=real, **options):
                if len(steps) > moment:
                    raise Killed
                steps.append(1)
                return real(self, *arguments, **options)

            monkeypatch.setattr(owner, name, step)
        with pytest.raises(Killed):
            publish_runs(store)
        monkeypatch.undo()
    with qubastore.open(tmp_path / "killed", read_only=False) as store:
        publish_runs(store)
        collect(store, keep_days=0, older_than=0)
        assert answers(store) == whole
        assert staged(store) == []
        assert len(published(store, run, "outputs")) == len(published(store, run, "logits")) == 1
        assert list(examine(store, deep=True)) == []


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
