"""Shell completion: the scripts for the shells, and the words that they ask the command for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from qubastore.cli.main import COMMANDS

RUN = """
import json, sys
from qubastore.cli.main import main
sys.argv = ["qubastore"]
try:
    main()
finally:
    print(json.dumps([name for name in sys.modules if name.startswith("qubastore.cli.commands.")]), file=sys.stderr)
"""
"""The console script; it also prints, on stderr, which commands it has imported."""


def complete(line, shell="bash_complete"):
    """The words that complete the last word of a command line, and the commands that were imported for it."""
    words = line.split(" ")
    environment = {"_QUBASTORE_COMPLETE": shell, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([sys.executable, "-c", RUN], env=os.environ | environment, capture_output=True, text=True)
    *errors, imported = done.stderr.splitlines()
    assert not errors, done.stderr
    found = [word.partition(",")[2] for word in done.stdout.splitlines() if word]
    return found, [name.rpartition(".")[2] for name in json.loads(imported)]


@pytest.mark.parametrize(
    ("shell", "registration"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef qubastore"), ("fish", "complete --no-files --command")],
)
def test_a_script_for_each_shell(shell, registration):
    environment = os.environ | {"_QUBASTORE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True)
    assert registration in done.stdout
    assert f"_QUBASTORE_COMPLETE={shell}_complete" in done.stdout


def test_commands_complete_without_being_imported():
    assert complete("qubastore ra") == (["rank"], [])
    assert complete("qubastore ") == (list(COMMANDS), [])


@pytest.mark.parametrize(
    ("line", "expected", "imported"),
    [
        ("qubastore --ver", ["--version"], []),
        ("qubastore rank --norm", ["--normalize"], ["rank"]),
        ("qubastore rank --normalize ", ["published", "store"], ["rank"]),
        ("qubastore rank --intervals --to", ["--top"], ["rank"]),
        ("qubastore show vi", ["views"], ["show"]),
        ("qubastore import hu", ["human"], ["import"]),
        ("qubastore rm run --y", ["--yes"], ["rm"]),
        ("qubastore rnak --to", [], []),
    ],
)
def test_options_and_values_complete(line, expected, imported):
    assert complete(line) == (expected, imported)


def test_hidden_commands_are_not_offered():
    assert complete("qubastore dif")[0] == []
