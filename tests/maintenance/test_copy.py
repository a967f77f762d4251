"""Copies of stores: whole, of one model, and into a store that has a part already."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import cli
from qubastore.errors import StoreError
from qubastore.lake.snapshot import EMPTY, OF_RUNS, WHOLE
from qubastore.lake.tidy import SMALL_TABLES
from qubastore.maintenance.copy import KEYS, OF_DATASET, OF_MODEL, OF_RUN, OF_STORE, PROBES, copy_store
from qubastore.maintenance.doctor import examine
from qubastore.runs import removal
from qubastore.runs.outputs import KINDS
from tests.maintenance.small_run import LABELS, change, logits, tables
from tests.support.runs import add_run


def test_a_whole_store_is_copied_and_a_second_time_nothing(store, target):
    add_run(store, logits(), LABELS, name="one", shard_size=4, complete=False)
    add_run(store, logits(1), LABELS, name="two", shard_size=5, keep=("outputs",))
    done = copy_store(store, target)
    assert (done.models, done.runs, done.shards, done.rows) == (2, 2, 6, 12 + 12 + 12)
    assert tables(target) == tables(store)
    again = copy_store(store, target)
    assert (again.models, again.shards, again.rows) == (0, 0, 36)
    assert list(examine(target, deep=True)) == []


def test_one_model_is_copied(store, tmp_path):
    add_run(store, logits(), LABELS, name="one", complete=False)
    add_run(store, logits(1), LABELS, name="two", dataset="other")
    copied = CliRunner().invoke(cli, ["copy", str(store.path), str(tmp_path / "copy"), "--model", "two"])
    assert copied.exit_code == 0, copied.output
    assert "1 new models, 1 shards copied; 1 runs with 24 rows are identical" in copied.output
    with qubastore.open(tmp_path / "copy") as target:
        assert target.rows("select name from models") == [("two",)]
        assert target.rows("select name from datasets") == [("other",)]
        assert target.rows("select model, accuracy from accuracy") == store.rows(
            "select model, accuracy from accuracy where model = 'two'"
        )


def test_a_target_that_has_part_of_a_table_gets_the_rest(store, target):
    add_run(store, logits(), LABELS)
    change(store, "insert into sample_contents select dataset_id, sample_id, 'c' || sample_id from samples")
    change(store, "insert into models from models")
    copy_store(store, target)
    change(target, "delete from sample_contents where sample_id > 3")
    change(target, "delete from label_sets where sample_id = 2")
    copy_store(store, target)
    for table in ("sample_contents", "label_sets", "samples"):
        assert target.rows(f"select count(*) from {table}") == [(12,)]
    # And what was there twice is there once.
    assert target.rows("select count(*) from models") == [(1,)]


def test_a_run_that_differs_there_is_an_error(store, target):
    add_run(store, logits(), LABELS)
    add_run(target, logits(1), LABELS)
    with pytest.raises(StoreError, match=r"outputs of run .* differ"):
        copy_store(store, target)


def test_every_table_is_copied_or_left_behind_for_a_reason(store):
    """A table that a later release adds must be put into one of the lists, or a copy would lose it silently."""
    made_by_the_store = {"store_info", "drivers", "attachments"}  # of one place: who is at work there, what is attached
    published_again = set(removal.SUMMARY_TABLES)
    with_the_shards = {"outputs", "logits", "features", "failures", "shards", "staged_files", "run_files"}
    published_tables = {"published_models", "published_results"}  # the same in every store of a release
    copied = {*OF_MODEL, *OF_DATASET, *OF_RUN, *OF_STORE, *PROBES}
    assert copied == set(KEYS)
    left = made_by_the_store | published_again | with_the_shards | published_tables
    assert sorted(copied | left) == sorted(stored_tables(store))


def test_every_table_with_rows_of_a_run_is_emptied_with_it(store):
    columns = {name: store.sql(f"from {name} limit 0").columns for name in stored_tables(store)}
    assert {*removal.RUN_TABLES, "runs"} == {name for name in columns if "run_id" in columns[name]}


def test_every_small_table_with_rows_of_a_run_is_merged(store):
    assert {*SMALL_TABLES} == {*removal.RUN_TABLES} - {*KINDS} | {"sample_contents"}


def test_a_snapshot_lists_only_tables(store):
    assert {*OF_RUNS, *WHOLE, *EMPTY} <= set(stored_tables(store))


def stored_tables(store):
    """The names of all tables of a store, its views not among them."""
    return [row[0] for row in store.rows("select table_name from ducklake_table_info('store')")]


@pytest.mark.parametrize(("here", "there"), [(4, 6), (6, 4), (12, 4), (5, 12)])
def test_a_run_that_the_target_has_in_other_shards(store, target, here, there):
    """Complete or only planned there, it is copied and compared; begun there, it is an error that says what to do."""
    add_run(store, logits(), LABELS, shard_size=here)
    run = add_run(target, logits(), LABELS, shard_size=there)
    done = copy_store(store, target)
    assert (done.shards, done.rows) == (0, 24)
    change(target, "update outputs set confidence = 0.5 where sample_id = 3")
    with pytest.raises(StoreError, match=r"outputs of run .* differ"):
        copy_store(store, target)
    target.write(lambda c: removal.empty_run(c, run))
    copy_store(store, target)
    assert target.rows("select shard_size, n_shards from runs") == [(here, -(-12 // here))]
    assert tables(target) == tables(store)
    assert list(examine(target, deep=True)) == []


def test_a_run_that_is_begun_there_in_other_shards(store, target):
    add_run(store, logits(), LABELS, shard_size=6)
    run = add_run(target, logits(), LABELS, shard_size=4)
    target.write(lambda c: removal.invalidate_shard(c, run, 1, 4, 8))
    with pytest.raises(StoreError, match=r"is begun in .* with shards of 4 samples") as caught:
        copy_store(store, target)
    assert "qubastore rm run" in str(caught.value)
    assert target.rows("select count(*) from shards") == [(2,)]
