"""The command line, in this process and in one of its own."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from qubastore.cli.main import cli


def invoke(path, *arguments):
    """What a command on a store did in this process, failures included."""
    return CliRunner().invoke(cli, [*map(str, arguments), "--store", str(path)])


def run_cli(store, *arguments):
    """What a command on a store prints; it must succeed."""
    result = CliRunner().invoke(cli, [*map(str, arguments), "--store", str(store.path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def command(*arguments):
    """What a command did in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "qubastore.cli.main", *map(str, arguments)], capture_output=True, text=True
    )
