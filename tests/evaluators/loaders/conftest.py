"""A network to change."""

from __future__ import annotations

import pytest

from tests.evaluators.loaders.changing_net import NET, write


@pytest.fixture
def net(tmp_path):
    """A file whose network hangs on an imported number, a plain attribute and a buffer that is not saved."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    write(folder)
    return folder
