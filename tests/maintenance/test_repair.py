"""`doctor --repair`: what is lost is invalidated and run again, and nothing else."""

from __future__ import annotations

import os

import numpy as np
import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.repair import repair
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import publish_runs
from tests.maintenance.small_run import LABELS, change, commit_again, file_of, found, logits
from tests.support.runs import add_run, write_shard


def test_a_shard_with_bad_rows_is_mended_by_running_it_again(store, run):
    before = store.rows("from run_metrics order by all"), store.rows("from outputs order by sample_id")
    change(store, "update outputs set confidence = 1.5 where sample_id = 5")
    assert f"invalidated shard 1 of run {run}" in repair(store, list(examine(store, deep=True)))
    assert store.rows("select shard from shards order by shard") == [(0,), (2,)]
    assert [check for check, *_ in found(store)] == ["unfinished_runs"]
    commit_again(store, run, [1])
    publish_runs(store)
    assert (store.rows("from run_metrics order by all"), store.rows("from outputs order by sample_id")) == before
    assert found(store) == []
    assert len(store.rows("from ducklake_list_files('store', 'outputs')")) == 1


def test_a_file_that_is_gone_is_mended_by_running_its_run_again(store, run):
    before = store.rows("from run_metrics order by all"), store.rows("from outputs order by sample_id")
    file_of(store, run).unlink()
    assert ("missing_files", run, None) in found(store, deep=False)
    assert f"invalidated run {run}" in repair(store, list(examine(store)))
    assert store.rows("select count(*) from shards") == [(0,)]
    assert [check for check, *_ in found(store)] == ["unfinished_runs"]
    commit_again(store, run)
    publish_runs(store)
    assert (store.rows("from run_metrics order by all"), store.rows("from outputs order by sample_id")) == before
    assert found(store) == []


def test_a_folder_that_is_not_mounted_removes_nothing(store, run):
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
    """Files of `samples` and the like, away for a moment, beside a run whose file is truly lost."""
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
    assert store.rows("select count(*) from shards") == [(0,)]


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
    assert f"invalidated run {run}" in mended.output


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
    assert not commit_shard(store, shard, dataset_id="x"), "it is there, so far as the store knows"
    repair(store, list(examine(store, deep=True)))
    commit_again(store, run)
    publish_runs(store)
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(12, 12)]
    assert store.rows("select n_outputs from run_summary") == [(12,)]
    assert found(store) == []
