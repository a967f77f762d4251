"""Single commands: show, rank, rm, init, migrate, status, ingest, rescore."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from qubastore.cli.main import cli
from qubastore.cli.weights import parse_weights
from qubastore.errors import UsageError
from qubastore.evaluators.rescore import exact_number
from tests.support.runs import add_run


@pytest.mark.parametrize("what", ["models", "datasets", "runs", "suites", "metrics", "dimensions", "views"])
@pytest.mark.parametrize("format_", ["table", "json"])
def test_show(run, what, format_):
    result = run("show", what, "--format", format_)
    assert result.code == 0
    assert result.out.strip()
    if format_ == "json":
        assert json.loads(result.out)


def test_show_models_says_where_the_speed_was_measured(run):
    (shown,) = [row for row in json.loads(run("show", "models", "--format", "json").out) if row["name"] == "net"]
    assert shown["images_s"] == 4
    assert shown["images_s_on"] == "cpu fp32"


def test_show_one_view(run):
    out = run("show", "views", "calibration").out
    assert "expected calibration error" in out
    assert "sqrt(expected_error.ece * adaptive_error.ace)" in out
    assert "did you mean calibration" in run("show", "views", "calibraton").err


def test_rank(run):
    result = run("rank", "--top", "3", "--weight", "calibration=2")
    assert "EVA02-b-21k" in result.out
    assert "calibration x2" in result.out
    rows = json.loads(run("rank", "--format", "json", "--weight", "calibration=2").out)
    assert len(rows) == 326
    assert rows[0]["quba"] == pytest.approx(0.9513388637361716)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weight", "colour=2"], "unknown dimension 'colour'"),
        (["--weight", "calibration"], "is not NAME=FACTOR"),
        (["--weight", "calibration=two"], "is not NAME=FACTOR"),
        (["--weight", "calibration=-1"], "from 0 up"),
        (["--weight", "calibration=nan"], "from 0 up"),
        (["--dimensions", "accuracy", "--weight", "accuracy=0"], "all weights are zero"),
        (["--suite", "tiny"], "unknown suite 'tiny'"),
        (["--top", "0"], "0"),
    ],
)
def test_invalid_options_of_rank(run, arguments, message):
    result = run("rank", *arguments)
    assert result.code == 2
    assert message in result.err


def test_weights_of_one_name_multiply():
    assert parse_weights(("acc=2", "acc=3", "ood=0.5")) == {"acc": 6.0, "ood": 0.5}


@given(st.text())
def test_any_weight_text(text):
    try:
        parse_weights((text,))
    except UsageError as error:
        assert "NAME=FACTOR" in str(error)  # noqa: PT017


def test_rm(run, store):
    run_id = store.rows("select run_id from runs")[0][0]
    assert run("rm", "run", run_id[:6], "--yes").code == 0
    assert store.rows("select count(*) from outputs") == [(0,)]
    assert "did you mean net" in run("rm", "model", "nett", "--yes").err
    assert run("rm", "model", "net", "--yes").code == 0
    assert store.rows("select count(*) from models") == [(0,)]


def test_init_and_migrate(run, tmp_path):
    result = run("init", "--store", str(tmp_path / "new"))
    assert "326 published models" in result.out
    assert "nothing to do" in run("migrate", "--store", str(tmp_path / "new")).out
    assert run("init", "--store", str(tmp_path / "new")).code == 1


def test_zero_gpus_means_none(run, monkeypatch, tmp_path):
    from qubastore import evaluators

    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "1.png").write_bytes(b"x")
    asked = {}

    def record(store, models, datasets, **options):
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluators, "ingest", record, raising=False)
    arguments = ("ingest", "--model", "timm:x", "--dataset", f"d={tmp_path / 'd'}", "--num-gpus", "0")
    assert run(*arguments).code == 130
    assert asked["num_gpus"] == 0
    assert "strict" not in asked


def test_status_does_not_call_a_killed_ingest_active(store):
    """Its session stays in the store when it is killed; the table shows the same state as the line above it."""
    import socket

    from qubastore.runs.sessions import is_alive

    run_id = add_run(store, np.eye(4), [0, 1, 2, 0], shard_size=2, complete=False, name="other")
    store.write(lambda c: c.execute("delete from shards where shard = 1"))
    dead = 2**22 - 7
    assert is_alive(socket.gethostname(), dead) is False
    row = f"'driver', '{socket.gethostname()}', {dead}, null, ['{run_id}'], 4, now()"
    store.write(lambda c: c.execute(f"insert into drivers values ({row})"))
    shown = CliRunner().invoke(cli, ["status", "--store", str(store.path)], catch_exceptions=False).output
    assert "it was killed" in shown
    assert "killed" in shown.splitlines()[-1]
    assert "active" not in shown


def test_a_temperature_is_stored_with_all_digits():
    """1.23456789 is not rounded to 1.23457; 2 stays 2, as in the names in existing stores."""
    assert [exact_number(value) for value in (1.23456789, 2.0, 0.1, 1e-7)] == ["1.23456789", "2", "0.1", "1e-07"]
