"""Mistakes of users: the message, the exit code, no traceback."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.errors import UsageError
from tests.support.runs import add_run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnak"], "did you mean rank"),
        (["sql", "select 1", "--store", "/nowhere/at/all"], "qubastore init --store /nowhere/at/all"),
        (["ingest", "--model", "timm:x"], "--dataset"),
        (["ingest", "--model", "timm:x", "--dataset", "d=/nowhere"], "does not exist"),
        (["ingest", "--model", "resnet", "--dataset", "d=."], "LOADER:NAME"),
        (["import", "predictions", "/nowhere.csv", "--model", "m", "--dataset", "d"], "No such file"),
        (["show", "colours"], "colours"),
    ],
)
def test_mistakes(run, arguments, message):
    result = run(*arguments)
    assert result.code in (1, 2)
    assert message in result.err
    assert "Traceback" not in result.err


def test_copy_from_a_store_that_does_not_exist(run):
    result = run("copy", "nowhere", "target")
    assert result.code == 1
    assert "the store to copy from" in result.err
    assert "init" not in result.err


def test_classes_of_another_task_cannot_be_calibrated_or_plotted(store):
    """calibrate and plot on a transfer set give the reason, not an empty plot."""
    from qubastore.derived.temperature import calibrate
    from tests.support.runs import dataset_of

    data = dataclasses.replace(dataset_of([0, 1, 2, 0], ["a", "b", "c", "d"], "t"), label_space="transfer")
    add_run(store, np.eye(4), [0, 1, 2, 0], name="net", data=data)
    with pytest.raises(UsageError, match=r"no output is one of its classes(.|\n)*qubastore probe"):
        calibrate(store, "net", fit_on="t")
    arguments = ["plot", "reliability", "-m", "net", "-d", "t", "--store", str(store.path)]
    with pytest.raises(UsageError, match="neither right nor wrong on"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_a_closed_pipe_is_not_an_error(store):
    command = (
        f"{sys.executable} -m qubastore.cli.main sql 'from range(1000000)' --format csv --store {store.path} | head -1"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout == "range\n"
    assert done.stderr == ""
