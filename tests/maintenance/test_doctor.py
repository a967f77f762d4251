"""Faults made by hand and found by `doctor`."""

from __future__ import annotations

import os

import numpy as np
import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.maintenance.checks import DEEP, QUICK, checks
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.repair import repair
from qubastore.runs.publish import publish_runs
from tests.maintenance.small_run import LABELS, change, file_of, found, logits
from tests.support.runs import add_run


def test_every_check_is_used_and_says_what_and_how():
    assert set(checks()) == {*QUICK, *DEEP}
    for check in checks().values():
        assert check.says.endswith(".")
        assert "qubastore" in check.repair


def test_nothing_is_wrong_with_a_sound_store(store, run):
    assert found(store) == []


def test_a_truncated_file_shows_by_its_size(store, run):
    file = file_of(store, run, "logits")
    os.truncate(file, file.stat().st_size - 7)
    assert ("damaged_files", run, None) in found(store, deep=False)
    repair(store, list(examine(store)))
    assert [check for check, *_ in found(store)] == ["unfinished_runs"]


def test_a_flipped_bit_shows_by_its_checksum(store, run):
    file = file_of(store, run, "logits")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    assert found(store, deep=False) == []
    assert ("damaged_files", run, None) in found(store)


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


def test_the_command_says_where_and_ends_with_1(store, run):
    sound = CliRunner().invoke(cli, ["doctor", "--deep", "--store", str(store.path)])
    assert (sound.exit_code, "nothing is wrong" in sound.output) == (0, True)
    change(store, "update run_metrics set value = 1.5 where metric = 'accuracy'")
    wrong = CliRunner().invoke(cli, ["doctor", "--store", str(store.path)])
    assert wrong.exit_code == 1
    assert f"impossible_metrics run {run}: accuracy is 1.5, outside its range: 0 to 1" in wrong.output
    mended = CliRunner().invoke(cli, ["doctor", "--repair", "--store", str(store.path)])
    assert mended.exit_code == 0
    assert store.rows("select value <= 1 from run_metrics where metric = 'accuracy'") == [(True,)]


def test_a_run_that_is_published_during_an_examination_has_no_fault(store, monkeypatch):
    """Its staged files go after they were listed; neither the examination nor a repair takes that for a loss."""
    from qubastore.lake.object_storage import DataFiles

    add_run(store, logits(), LABELS, shard_size=4, complete=False)
    real = DataFiles.sizes

    def published_first(self):
        monkeypatch.undo()
        publish_runs(store)
        return real(self)

    monkeypatch.setattr(DataFiles, "sizes", published_first)
    assert list(examine(store, deep=True)) == []


def test_a_repair_leaves_a_run_alone_that_was_published_since(store):
    run = add_run(store, logits(), LABELS, shard_size=4, complete=False)
    file = next((store.data_path / "staged").glob("*-00001-outputs-*"))
    content = file.read_bytes()
    file.unlink()
    faults = list(examine(store, deep=True))
    assert ("missing_files", run, 1) in [(fault.check, fault.run_id, fault.shard) for fault in faults]
    file.write_bytes(content)
    publish_runs(store)
    assert not any("invalidated" in line for line in repair(store, faults))
    assert found(store) == []
