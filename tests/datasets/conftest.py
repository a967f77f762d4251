"""A miniature data root."""

from __future__ import annotations

import shutil

import pytest

from tests.support import data_root


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return data_root.make(tmp_path_factory.mktemp("root"))


@pytest.fixture
def own_root(root, tmp_path):
    """A copy to break."""
    shutil.copytree(root, tmp_path / "root")
    return tmp_path / "root"
