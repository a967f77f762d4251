"""Fixtures: an export of the suite `tiny`, a store with other models in it, a folder of timm's tables."""

from __future__ import annotations

import shutil

import pytest

import qubastore
from qubastore.attachments.export import export
from tests.attachments.sources import TIMM, own_models


@pytest.fixture(scope="session")
def tiny_export(tiny_suite, tmp_path_factory):
    """To copy: an export takes seconds to make."""
    return export(tiny_suite, tmp_path_factory.mktemp("export") / "tiny").folder


@pytest.fixture
def exported(tiny_export, tmp_path):
    return shutil.copytree(tiny_export, tmp_path / "lab-export")


@pytest.fixture(scope="session")
def store_of_own_models(empty_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "store"
    shutil.copytree(empty_store, path)
    with qubastore.open(path, read_only=False) as made:
        own_models(made)
    return path


@pytest.fixture
def own_store(store_of_own_models, tmp_path):
    """A copy of a store with models of one's own in the suite `tiny`, open for writing."""
    shutil.copytree(store_of_own_models, tmp_path / "own")
    with qubastore.open(tmp_path / "own", read_only=False) as made:
        yield made


@pytest.fixture
def timm(tmp_path):
    folder = tmp_path / "timm" / "results"
    folder.mkdir(parents=True)
    for name in ("results-imagenet.csv", "results-imagenet-r.csv"):
        (folder / name).write_text(TIMM)
    (folder / "README.md").write_text("about")
    return folder
