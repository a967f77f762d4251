"""Help texts and the version."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import COMMANDS, cli


def all_commands(group=cli, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), list(all_commands()), ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_every_command_has_help_with_an_example(path, command):
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert command.help
    assert "\\b" not in result.output
    if not isinstance(command, click.Group):
        assert "Example:" in result.output
        assert re.search(rf"Example:\n +qubastore {' '.join(path)}\b", result.output), (
            "each example on a line of its own"
        )


def test_the_main_help_has_the_summary_of_every_command():
    result = CliRunner().invoke(cli, ["--help"])
    for name, summary in COMMANDS.items():
        assert name in result.output
        assert summary in result.output


def test_version():
    assert qubastore.__version__ in CliRunner().invoke(cli, ["--version"]).output
