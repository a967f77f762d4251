"""Faults made by hand, found, and mended; garbage; copies."""

from __future__ import annotations

import os
import socket
import time

import numpy as np
import pytest
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import cli
from qubastore.errors import StoreError
from qubastore.maintenance.checks import DEEP, QUICK, checks
from qubastore.maintenance.copy import copy_store
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.files import known_files, orphans
from qubastore.maintenance.gc import collect
from qubastore.maintenance.repair import repair
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import complete_runs
from qubastore.runs.sessions import active_session, is_alive
from tests.support.runs import add_run, write_shard

LABELS = np.arange(12) % 4


def logits(seed=0, n=12):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


@pytest.fixture
def run(store):
    return add_run(store, logits(), LABELS, shard_size=4)


def found(store, *, deep=True):
    return [(fault.check, fault.run_id, fault.shard) for fault in examine(store, deep=deep)]


def file_of(store, run_id, kind="outputs", shard=1):
    return next((store.data_path / "main" / kind / f"run_id={run_id}").glob(f"shard-{shard:05d}-*.parquet"))


def test_every_check_is_used_and_says_what_and_how():
    assert set(checks()) == {*QUICK, *DEEP}
    for check in checks().values():
        assert check.says.endswith(".")
        assert "qubastore" in check.mend


def test_nothing_is_wrong_with_a_sound_store(store, run):
    assert found(store) == []


def test_a_file_that_is_gone_is_mended_by_running_its_shard_again(store, run):
    before = store.rows("from run_metrics order by all"), store.rows("from outputs order by sample_id")
    file_of(store, run).unlink()
    assert ("missing_files", run, 1) in found(store, deep=False)
    done = repair(store, list(examine(store)))
    assert f"took back shard 1 of run {run}" in done
    assert store.rows("select shard from shards order by shard") == [(0,), (2,)]
    assert [check for check, *_ in found(store)] == ["unfinished_runs"]
    shard = write_shard(store, run, 1, 4, logits()[4:8], LABELS[4:8])
    assert commit_shard(store, shard, dataset_id="x")
    complete_runs(store)
    assert (store.rows("from run_metrics order by all"), store.rows("from outputs order by sample_id")) == before
    assert found(store) == []


def test_a_truncated_file_shows_by_its_size(store, run):
    file = file_of(store, run, "logits")
    os.truncate(file, file.stat().st_size - 7)
    assert ("damaged_files", run, 1) in found(store, deep=False)
    repair(store, list(examine(store)))
    assert [check for check, *_ in found(store)] == ["unfinished_runs"]


def test_a_flipped_bit_shows_by_its_checksum(store, run):
    file = file_of(store, run, "logits", shard=2)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    assert found(store, deep=False) == []
    assert ("damaged_files", run, 2) in found(store)


def change(store, statement):
    store.write(lambda c: c.execute(statement))


@pytest.mark.parametrize(
    ("statement", "check", "deep"),
    [
        ("insert into models from models", "duplicate_rows", False),
        ("insert into shards from shards where shard = 0", "duplicate_rows", False),
        ("update shards set n_outputs = 3 where shard = 1", "shard_ranges", False),
        ("update shards set first_sample = 5 where shard = 1", "shard_ranges", False),
        ("update run_summary set n_outputs = 11", "summary_counts", False),
        ("update run_metrics set value = 1.5 where metric = 'accuracy'", "impossible_metrics", False),
        ("update run_metrics set value = 'nan' where metric = 'ece'", "impossible_metrics", False),
        ("delete from outputs where sample_id = 5", "row_counts", True),
        ("delete from logits where sample_id between 4 and 7", "row_counts", True),
        ("insert into outputs from outputs where sample_id = 5", "duplicate_samples", True),
        ("update outputs set confidence = 1.5 where sample_id = 5", "impossible_outputs", True),
        ("update outputs set logsumexp = 'inf' where sample_id = 5", "impossible_outputs", True),
        ("update outputs set logsumexp = top5_logit[1] - 1 where sample_id = 5", "impossible_outputs", True),
        ("update outputs set prediction = 4 where sample_id = 5", "impossible_outputs", True),
        ("update outputs set prediction = (label + 1) % 4 where sample_id = 5", "stale_sums", True),
        ("update class_summary set n_correct = n_correct + 1 where class = 0", "stale_sums", True),
    ],
)
def test_faults_of_rows(store, run, statement, check, deep):
    change(store, statement)
    assert check in [name for name, *_ in found(store, deep=deep)]
    if check in ("summary_counts", "impossible_metrics", "stale_sums"):
        repair(store, list(examine(store, deep=deep)))
        assert check not in [name for name, *_ in found(store)]


def test_probabilities_taken_for_logits(store):
    values = np.exp(logits()) / np.exp(logits()).sum(axis=1, keepdims=True)
    wrong = add_run(store, values, LABELS, name="softmaxed")
    add_run(store, logits() * 3, LABELS, name="logits")
    assert found(store) == [("softmaxed_twice", wrong, None)]


def test_answers_that_depend_on_the_batch(store):
    """The first two images have the same bytes, and other answers."""
    run = add_run(store, logits(), LABELS)
    change(store, "insert into sample_contents select dataset_id, sample_id, 'same' from samples where sample_id < 2")
    assert found(store) == [("batch_dependent", run, None)]
    change(store, "update outputs set logsumexp = 2 where sample_id < 2")
    assert "batch_dependent" not in [check for check, *_ in found(store)]


def test_the_class_of_none_is_no_fault_where_the_argmax_decides(store):
    run = add_run(store, logits(), LABELS)
    change(store, "update outputs set prediction = -1 where sample_id < 3")
    assert "impossible_outputs" not in [check for check, *_ in found(store)]
    assert len(store.outputs(run)) == 12


def test_a_folder_that_is_not_mounted_is_no_reason_to_take_anything_back(store, run):
    away = store.data_path.with_name("elsewhere")
    store.data_path.rename(away)
    store.data_path.mkdir()
    faults = list(examine(store, deep=True))
    assert [fault.check for fault in faults] == ["files_gone", "not_examined"]
    repair(store, faults)
    store.data_path.rmdir()
    away.rename(store.data_path)
    assert store.rows("select count(*) from outputs") == [(12,)]
    assert found(store) == []


def test_repair_leaves_tables_alone_that_no_ingest_makes_again(store):
    """Files of `samples` and the like, away for a moment, beside a shard whose file is truly lost."""
    labels = np.arange(600) % 4
    run = add_run(store, logits(n=600), labels, shard_size=300)
    sample_file = next((store.data_path / "main" / "samples").rglob("*.parquet"))
    content = sample_file.read_bytes()
    sample_file.unlink()
    file_of(store, run).unlink()
    faults = list(examine(store))
    assert {fault.check for fault in faults} == {"missing_files"}
    repair(store, faults)
    sample_file.write_bytes(content)
    assert store.rows("select count(*) from samples") == [(600,)]
    assert store.rows("select shard from shards") == [(0,)]


@pytest.mark.parametrize("kind", ["outputs", "logits"])
def test_deep_and_repair_of_a_truncated_file_by_command(store, run, kind):
    file = file_of(store, run, kind)
    os.truncate(file, file.stat().st_size - 7)
    looked = CliRunner().invoke(cli, ["doctor", "--deep", "--store", str(store.path)])
    assert looked.exit_code == 1
    assert "damaged_files" in looked.output
    assert "not_examined" in looked.output
    mended = CliRunner().invoke(cli, ["doctor", "--deep", "--repair", "--store", str(store.path)])
    assert mended.exit_code == 0, mended.output
    assert f"took back shard 1 of run {run}" in mended.output


@pytest.mark.parametrize("stop_before", [1, 2])
def test_a_repair_that_is_killed_half_way_doubles_nothing(store, run, monkeypatch, stop_before):
    file_of(store, run, "logits").unlink()
    faults = list(examine(store))
    real, calls = type(store).write, []

    def write(self, work, **options):
        calls.append(1)
        if len(calls) == stop_before:
            raise KeyboardInterrupt
        return real(self, work, **options)

    monkeypatch.setattr(type(store), "write", write)
    with pytest.raises(KeyboardInterrupt):
        repair(store, faults)
    monkeypatch.undo()
    shard = write_shard(store, run, 1, 4, logits()[4:8], LABELS[4:8])
    commit_shard(store, shard, dataset_id="x")
    repair(store, list(examine(store, deep=True)))
    shard = write_shard(store, run, 1, 4, logits()[4:8], LABELS[4:8])
    commit_shard(store, shard, dataset_id="x")
    complete_runs(store)
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
    assert store.rows("select n_outputs from run_summary") == [(12,)]
    assert found(store) == []


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


def test_an_unfinished_run_and_a_dead_ingest(store, run):
    change(store, "delete from shards where shard = 2")
    change(store, "delete from run_summary")
    change(store, f"insert into drivers values ('gone', '{socket.gethostname()}', 4194305, null, ['{run}'], 12, now())")
    assert [check for check, *_ in found(store, deep=False)] == ["dead_ingests"]
    assert "removed 1 notes" in " ".join(repair(store, list(examine(store))))
    assert found(store, deep=False) == [("unfinished_runs", run, None)]


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
    complete_runs(store)
    old = f"select sample_id, prediction from outputs at (version => {version}) order by sample_id"
    assert collect(store, keep_days=7, older_than=0).files == []
    assert store.rows(old) == before
    done = collect(store, keep_days=0, older_than=0)
    assert done.snapshots > 0
    assert sorted(path.split("/")[-3] for path in done.files) == ["logits", "outputs"]
    assert found(store) == []
    assert len(store.outputs(run)) == 600


def test_the_command_says_where_and_ends_with_1(store, run):
    sound = CliRunner().invoke(cli, ["doctor", "--deep", "--store", str(store.path)])
    assert (sound.exit_code, "nothing is wrong" in sound.output) == (0, True)
    change(store, "update run_metrics set value = 1.5 where metric = 'accuracy'")
    wrong = CliRunner().invoke(cli, ["doctor", "--store", str(store.path)])
    assert wrong.exit_code == 1
    assert f"impossible_metrics run {run}: accuracy is 1.5, where 0 to 1 can be" in wrong.output
    mended = CliRunner().invoke(cli, ["doctor", "--repair", "--store", str(store.path)])
    assert mended.exit_code == 0
    assert store.rows("select value <= 1 from run_metrics where metric = 'accuracy'") == [(True,)]


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
    assert "at work" in shown
    assert "8/12" in shown


# Copies -------------------------------------------------------------------------------------------------------
def tables(store):
    queries = {
        "outputs": "from outputs order by run_id, sample_id",
        "logits": "from logits order by run_id, sample_id",
        "metrics": "from run_metrics order by all",
        "models": "select * exclude (created_at) from models order by model_id",
        "samples": "from samples order by dataset_id, sample_id",
        "runs": "select * exclude (created_at) from runs order by run_id",
        "shards": "select * exclude (committed_at, driver_id, checksums) from shards order by run_id, shard",
    }
    return {name: str(store.rows(query)) for name, query in queries.items()}


def test_a_whole_store_is_copied_and_a_second_time_nothing(store, tmp_path):
    add_run(store, logits(), LABELS, name="one", shard_size=4)
    add_run(store, logits(1), LABELS, name="two", shard_size=5, keep=("outputs",))
    with qubastore.init(tmp_path / "copy") as target:
        done = copy_store(store, target)
        assert (done.models, done.runs, done.shards, done.rows) == (2, 2, 6, 12 + 12 + 12)
        assert tables(target) == tables(store)
        again = copy_store(store, target)
        assert (again.models, again.shards, again.rows) == (0, 0, 36)
        assert list(examine(target, deep=True)) == []


def test_one_model_is_copied(store, tmp_path):
    add_run(store, logits(), LABELS, name="one")
    add_run(store, logits(1), LABELS, name="two", dataset="other")
    copied = CliRunner().invoke(cli, ["copy", str(store.path), str(tmp_path / "copy"), "--model", "two"])
    assert copied.exit_code == 0, copied.output
    assert "1 new models, 1 shards copied; 1 runs with 24 rows are the same" in copied.output
    with qubastore.open(tmp_path / "copy") as target:
        assert target.rows("select name from models") == [("two",)]
        assert target.rows("select name from datasets") == [("other",)]
        assert target.rows("select model, accuracy from accuracy") == store.rows(
            "select model, accuracy from accuracy where model = 'two'"
        )


def test_a_target_that_has_part_of_a_table_gets_the_rest(store, tmp_path):
    add_run(store, logits(), LABELS)
    change(store, "insert into sample_contents select dataset_id, sample_id, 'c' || sample_id from samples")
    change(store, "insert into models from models")
    with qubastore.init(tmp_path / "copy") as target:
        copy_store(store, target)
        change(target, "delete from sample_contents where sample_id > 3")
        change(target, "delete from label_sets where sample_id = 2")
        copy_store(store, target)
        for table in ("sample_contents", "label_sets", "samples"):
            assert target.rows(f"select count(*) from {table}") == [(12,)]
        # And what was there twice is there once.
        assert target.rows("select count(*) from models") == [(1,)]


def test_a_run_that_differs_there_is_an_error(store, tmp_path):
    add_run(store, logits(), LABELS)
    with qubastore.init(tmp_path / "copy") as target:
        add_run(target, logits(1), LABELS)
        with pytest.raises(StoreError, match=r"outputs of run .* differ"):
            copy_store(store, target)
