"""Publishing under bad luck: kills, full disks, lost files, other processes."""

from __future__ import annotations

import errno

import pytest

import qubastore
from qubastore.errors import StoreError
from qubastore.lake.object_storage import DataFiles
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.gc import collect
from qubastore.runs.commit import commit_shard
from qubastore.runs.publication import Damage, prepare
from qubastore.runs.publish import publish_runs, store_publications
from qubastore.runs.removal import remove_run
from qubastore.runs.unpublished import unpublished_runs
from tests.maintenance.small_run import LABELS, logits
from tests.runs.stored import answers, published, staged
from tests.support.runs import add_run, write_shard


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
