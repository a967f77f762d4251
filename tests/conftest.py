"""Fixtures: a store, Ray for the whole session, tiny models and images, the real inputs of ../shared."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if "PYTEST_XDIST_WORKER" in os.environ:
    # A core for each process: more threads than cores take longer. torch and OpenMP read it when they are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

import qubastore
from qubastore.store import Store

if TYPE_CHECKING:
    from tests.support.services import S3, Postgres

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"

TINY_MODELS = Path(__file__).with_name("support").joinpath("tiny_models.py").read_text("utf-8")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has Ctrl-C ignored, here and in every process that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def shared(*parts: str) -> Path:
    """A real input; skips the test where ../shared is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {Path('../shared').joinpath(*parts)}, which is not here")
    return path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as `init` makes it. Stores can be copied, which is quicker than to make one for each test."""
    path = tmp_path_factory.mktemp("empty") / "store"
    qubastore.init(path).close()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Iterator[Store]:
    """A new store, open for writing."""
    shutil.copytree(empty_store, tmp_path / "store")
    with qubastore.open(tmp_path / "store", read_only=False) as made:
        yield made


@pytest.fixture(scope="module")
def published(empty_store: Path) -> Iterator[Store]:
    """A store with the published figures alone, open for questions."""
    with qubastore.open(empty_store) as opened:
        yield opened


@pytest.fixture(scope="session")
def table() -> dict[str, dict[str, str]]:
    """The published table, read without the store: model -> row."""
    with files("qubastore.published").joinpath("hesse2025.csv").open(encoding="utf-8") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with three models that have every run of the suite `tiny`; tests only ask it."""
    from tests.support.runs import add_tiny_suite

    path = tmp_path_factory.mktemp("tiny") / "store"
    with qubastore.init(path) as made:
        add_tiny_suite(made)
    with qubastore.open(path) as made:
        yield made


@pytest.fixture
def tiny_copy(tiny_suite: Store, tmp_path: Path) -> Iterator[Store]:
    """A copy of that store, open for writing."""
    shutil.copytree(tiny_suite.path, tmp_path / "tiny")
    with qubastore.open(tmp_path / "tiny", read_only=False) as made:
        yield made


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One small Ray for all tests that run models in this process."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import logging
    import warnings

    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            # Without it, Ray would join whatever cluster it finds on this machine.
            address="local",
            num_cpus=2,
            num_gpus=0,
            object_store_memory=1_000_000_000,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.FATAL,
        )
    yield
    ray.shutdown()


def require_cluster_parts() -> None:
    """Skip where what `make test-cluster` installs is not here."""
    from tests.support.services import postgres_programs, seaweed

    if postgres_programs() is None:
        pytest.skip("needs PostgreSQL: make test-cluster installs it")
    if seaweed() is None:
        pytest.skip("needs SeaweedFS: make test-cluster installs it")
    for module in ("duckdb_extension_postgres_scanner", "duckdb_extension_httpfs", "duckdb_extension_aws"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: make test-cluster installs it")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server for the session."""
    require_cluster_parts()
    from tests.support.services import Postgres

    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """An S3 server for the session."""
    require_cluster_parts()
    from tests.support.services import S3

    server = S3()
    yield server
    server.stop()


@pytest.fixture
def postgres(postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """PostgreSQL, its password in the environment of this test alone."""
    monkeypatch.setenv("PGPASSWORD", postgres_server.password)
    return postgres_server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """S3, its keys in the environment of this test alone."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def tiny_models(tmp_path: Path) -> Path:
    """A file of small models on 32 x 32 images and three classes."""
    path = tmp_path / "tiny_models.py"
    path.write_text(TINY_MODELS)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """150 noisy images in three class folders: two shards."""
    return write_images(tmp_path / "images", {"ant": 60, "bee": 50, "cow": 40})


def write_images(root: Path, classes: dict[str, int]) -> Path:
    """Random images of several sizes, as class folders."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            size = generator.integers(33, 60, 2)
            pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:03d}.png")
    return root
