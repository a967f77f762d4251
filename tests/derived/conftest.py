"""Runs to derive others from: two models over the same images, and features of digits to probe."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image

import qubastore
from qubastore.datasets.locating import own_datasets
from qubastore.evaluators import ingest
from tests.derived.digits import NET
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


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """scikit-learn's digits as images, in train, val and test."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("digits")
    found = load_digits()
    for index, (pixels, label) in enumerate(zip(found.images[:700], found.target[:700], strict=True)):
        split = "train" if index < 400 else "val" if index < 500 else "test"
        path = root / split / str(label) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray((pixels * 15).astype(np.uint8)).convert("RGB").save(buffer, "png")
        path.write_bytes(buffer.getvalue())
    return root


@pytest.fixture(scope="session")
def probed(empty_store, tmp_path_factory, digits, ray_session):
    """A store with the features of the digits under a network with outputs of its own, and the network's file."""
    folder = tmp_path_factory.mktemp("probed")
    (folder / "net.py").write_text(NET)
    shutil.copytree(empty_store, folder / "store")
    with qubastore.open(folder / "store", read_only=False) as store:
        report = ingest(store, [f"python:{folder}/net.py:pixels"], own_datasets("digits", digits, "splits"))
        assert (report.images, report.errors) == (700, [])
    return folder / "store", folder / "net.py"


@pytest.fixture
def digits_store(probed, tmp_path):
    """A copy of it to write to."""
    shutil.copytree(probed[0], tmp_path / "copy")
    with qubastore.open(tmp_path / "copy", read_only=False) as made:
        yield made
