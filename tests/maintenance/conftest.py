"""A store that has a run in three shards, made once and copied for every test that asks for the run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import qubastore
from qubastore.store import Store
from tests.maintenance.small_run import LABELS, logits
from tests.support.runs import add_run


@pytest.fixture(scope="session")
def store_with_run(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where it is, and the run's id."""
    path = tmp_path_factory.mktemp("run") / "store"
    shutil.copytree(empty_store, path)
    with qubastore.open(path, read_only=False) as made:
        return path, add_run(made, logits(), LABELS, shard_size=4)


@pytest.fixture
def store(request: pytest.FixtureRequest, empty_store: Path, tmp_path: Path) -> Iterator[Store]:
    """A new store, open for writing; it has the run where the test asks for `run` too."""
    path = empty_store
    if "run" in request.fixturenames:
        path, _ = request.getfixturevalue("store_with_run")
    shutil.copytree(path, tmp_path / "store")
    with qubastore.open(tmp_path / "store", read_only=False) as copy:
        yield copy


@pytest.fixture
def target(empty_store: Path, tmp_path: Path) -> Iterator[Store]:
    """Another new store, to copy to."""
    shutil.copytree(empty_store, tmp_path / "target")
    with qubastore.open(tmp_path / "target", read_only=False) as made:
        yield made


@pytest.fixture
def run(store_with_run: tuple[Path, str]) -> str:
    """The id of the run that `store` has."""
    return store_with_run[1]
