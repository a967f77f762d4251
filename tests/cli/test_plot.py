"""Charts as text."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from qubastore.cli.commands.plot import bar
from qubastore.cli.main import cli


@pytest.fixture
def store(tiny_suite):
    return tiny_suite


def plot(store, *arguments):
    return CliRunner().invoke(cli, ["plot", "reliability", *arguments, "--store", str(store.location.text)])


def test_bars_by_hand():
    assert bar(0.5, 0.9, 10) == "█████····│"
    assert bar(1.0, 0.0, 4) == "│███"
    assert bar(0.0, 1.0, 4) == "···│"


def test_a_reliability_diagram(store):
    done = plot(store, "--model", "good", "--dataset", "pets")
    assert done.exit_code == 0, done.output
    (run_id,) = store.rows(
        "select run_id from run_details where model='good' and dataset='pets' and condition='clean'"
    )[0]
    bins = store.rows("select low, high, n, accuracy from reliability_bins where run_id = ? order by bin", [run_id])
    lines = done.output.splitlines()
    assert lines[0] == "good on pets"
    drawn = lines[2 : 2 + len(bins)]
    for line, (low, high, n, accuracy) in zip(drawn, bins, strict=True):
        assert line.startswith(f"{low:.3f}-{high:.3f}")
        assert line.split()[1] == str(n)
        assert float(line.split()[-2]) == pytest.approx(accuracy, abs=5e-4)
    assert max(map(len, drawn)) <= 80
    rows = json.loads(plot(store, "--model", "good", "-d", run_id, "--format", "json").stdout)
    assert [(row["low"], row["high"], row["n"], row["accuracy"]) for row in rows] == bins


def test_which_run_is_meant_is_asked(store):
    done = plot(store, "--model", "good")
    assert "--dataset" in str(done.exception)
    assert "no measured model" in str(plot(store, "--model", "nobody").exception)
