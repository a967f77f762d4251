"""Command lines of earlier releases end in an error that gives today's, which works."""

from __future__ import annotations

import shlex

import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.errors import UsageError

MOVED = {
    "rank --explain AlexNet --weight calibration=2": "explain AlexNet --weight calibration=2",
    "rank --weight acc=2 --explain=AlexNet": "explain AlexNet --weight acc=2",
    "rank --sensitivity --top 3": "sensitivity --top 3",
    "rank --flip EVA02-b-21k Hiera-B-Plus --format csv": "sensitivity --flip EVA02-b-21k Hiera-B-Plus --format csv",
    "diff --against published": "compare --against published",
    "diff a 'b c'": "compare a 'b c' --show figures",
    "diff a b --show flips -d digits": "compare a b --show flips -d digits",
}


@pytest.mark.parametrize(("line", "today"), MOVED.items())
def test_what_has_moved_says_where_to(line, today):
    caught = CliRunner().invoke(cli, shlex.split(line)).exception
    assert isinstance(caught, UsageError)
    assert caught.hint == f"qubastore {today}"


@pytest.mark.parametrize("today", [line for line in MOVED.values() if line.startswith(("explain", "sensitivity"))])
def test_the_new_command_lines_work(today, empty_store):
    done = CliRunner().invoke(cli, [*shlex.split(today), "--store", str(empty_store)])
    assert done.exit_code == 0, done.output


def test_diff_is_not_in_the_help():
    assert "diff" not in CliRunner().invoke(cli, ["--help"]).output.split()
