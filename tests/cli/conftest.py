"""A fixture that runs a command as its users do."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from qubastore.cli.main import main
from tests.support.runs import add_run


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(store, monkeypatch, capsys):
    """Run a command on the store, through `main`, and return its exit code and output."""
    add_run(store, np.eye(4) * 3, [0, 1, 2, 0], name="net", classes=["a", "b", "c", "d|e"])

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qubastore", *arguments])
        monkeypatch.setenv("QUBASTORE_STORE", str(store.path))
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        return Result(caught.value.code, output.out, output.err)

    return call
