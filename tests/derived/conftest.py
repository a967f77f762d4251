"""Runs of two models over the same images, to derive others from."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import qubastore
from tests.derived.plain import C, N
from tests.support.runs import add_run


@pytest.fixture(scope="session")
def data():
    """Overconfident logits of two classifiers over the same labels."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, C, N).astype(np.int32)
    logits = generator.normal(0, 3, (2, N, C)).astype(np.float32)
    logits[:, np.arange(N), labels] += 3
    return logits, labels


@pytest.fixture(scope="session")
def made(empty_store, tmp_path_factory, data):
    """A store with runs of two models over 400 samples in four shards, and of the first over others; their ids."""
    path = tmp_path_factory.mktemp("derived") / "store"
    shutil.copytree(empty_store, path)
    (first, second), labels = data
    with qubastore.open(path, read_only=False) as store:
        a = add_run(store, first, labels, name="a", shard_size=100)
        b = add_run(store, second, labels, name="b", shard_size=100)
        other = add_run(store, second[:90], labels[:90], name="a", dataset="others")
    return path, (a, b, other)


@pytest.fixture
def store(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made[0], tmp_path / "copy")
    with qubastore.open(tmp_path / "copy", read_only=False) as copy:
        yield copy


@pytest.fixture
def two(made):
    """The ids of its runs."""
    return made[1]
