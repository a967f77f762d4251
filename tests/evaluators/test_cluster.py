"""Several nodes, as processes of this machine: Ray's own cluster tool starts and ends them; the driver is a command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qubastore
from qubastore.maintenance.doctor import examine
from tests.conftest import write_images
from tests.support.nodes import Nodes, complete, finished, numbers, of_cluster, start, wait_for

pytestmark = [
    pytest.mark.cluster,
    # Ray's own tool for clusters of processes leaves handles open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


SLEEPY = """
import itertools, pathlib, time, torch
HOLD = pathlib.Path(__file__).with_name("hold")
BATCHES = itertools.count()

class Net(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.head = torch.nn.Linear(3, 3)
    def forward(self, x):
        time.sleep(0.05 if len(x) > 1 else 0)
        while len(x) > 1 and next(BATCHES) >= 12 and HOLD.exists():
            time.sleep(0.05)
        return self.head(x.mean(dim=(2, 3)))

def one():
    return Net(1), {"input_size": (3, 8, 8)}

def two():
    return Net(2), {"input_size": (3, 8, 8)}
"""


@pytest.fixture
def two_nodes(monkeypatch):
    nodes = Nodes(2)
    yield nodes
    nodes.stop()


@pytest.fixture(scope="module")
def sleepy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "sleepy.py").write_text(SLEEPY)
    return [f"python:{folder / 'sleepy.py'}:{name}" for name in ("one", "two")]


@pytest.fixture
def hold(sleepy):
    """A file: while it is there, a process waits after twelve batches, and no work ends before what a test does."""
    file = Path(sleepy[0].removeprefix("python:").rpartition(":")[0]).with_name("hold")
    file.touch()
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("pictures") / "images", {"a": 300, "b": 300, "c": 300})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, sleepy, pictures):
    """What a laptop says."""
    where = tmp_path_factory.mktemp("laptop") / "store"
    qubastore.init(where).close()
    process = start(where, sleepy, pictures, None)
    said = finished(process)
    assert process.returncode == 0, said
    with qubastore.open(where) as laptop:
        return numbers(laptop)


@pytest.fixture
def url(postgres, s3):
    database = postgres.database()
    made = postgres.url(database, f"s3://{s3.BUCKET}/{database}")
    qubastore.init(made).close()
    return made


def assert_same(url, undisturbed):
    with qubastore.open(url) as store:
        assert numbers(store) == undisturbed
        faults = [fault for fault in examine(store, deep=True) if fault.check != "orphans"]
        assert faults == []


def test_two_nodes_of_two_evaluators_give_what_a_laptop_gives(url, two_nodes, sleepy, pictures, undisturbed):
    process = start(url, sleepy, pictures, two_nodes.address, "--evaluators-per-gpu", 2)
    said = finished(process)
    assert process.returncode == 0, said
    assert "2 nodes, 4 evaluators" in said
    assert_same(url, undisturbed)


def test_evaluators_decoders_a_node_and_the_driver_are_killed(url, two_nodes, sleepy, pictures, undisturbed, hold):
    options = (two_nodes.address, "--evaluators-per-gpu", 2)
    process = start(url, sleepy, pictures, *options)
    wait_for(url, 2, process)
    os.kill(of_cluster(two_nodes, "ray::Evaluator")[0], signal.SIGKILL)
    for pid in of_cluster(two_nodes, "ray::decode")[:1]:
        os.kill(pid, signal.SIGKILL)
    hold.unlink()
    wait_for(url, 6, process)
    two_nodes.kill(two_nodes.nodes[0])
    wait_for(url, 8, process)
    process.kill()
    process.communicate()
    two_nodes.nodes.append(two_nodes.add())
    complete(url, sleepy, pictures, *options)
    assert_same(url, undisturbed)


def test_a_node_that_joins_late_is_used(url, sleepy, pictures, hold):
    nodes = Nodes(1)
    try:
        process = start(url, sleepy, pictures, nodes.address)
        wait_for(url, 2, process)
        assert len(of_cluster(nodes, "ray::Evaluator")) == 1
        nodes.nodes.append(nodes.add())
        deadline = time.monotonic() + 60
        while len(of_cluster(nodes, "ray::Evaluator")) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        hold.unlink()
        said = finished(process)
        assert process.returncode == 0, said
    finally:
        nodes.stop()


def test_the_last_node_leaves_and_another_comes(url, sleepy, pictures, hold):
    nodes = Nodes(1)
    try:
        process = start(url, sleepy, pictures, nodes.address)
        wait_for(url, 2, process)
        nodes.kill(nodes.nodes[0])
        time.sleep(3)
        nodes.nodes.append(nodes.add())
        hold.unlink()
        said = finished(process)
        assert process.returncode == 0, said
        assert "has left" in said
    finally:
        nodes.stop()


def test_a_node_that_does_not_see_the_files_is_named_at_once(postgres, two_nodes, sleepy, pictures, tmp_path):
    """The images are planned from one folder and said to lie in another, as where a node lacks a mount."""
    shared = postgres.url(postgres.database(), tmp_path / "files")
    qubastore.init(shared).close()
    process = subprocess.run(
        [sys.executable, "-c", UNSEEN, shared, two_nodes.address, sleepy[0], str(pictures)],
        capture_output=True,
        text=True,
    )
    assert "is not usable" in process.stdout, process.stdout + process.stderr
    assert "it does not see the images in /unseen" in process.stdout
    assert socket.gethostname() in process.stdout


UNSEEN = """
import sys, dataclasses
import qubastore
from qubastore.datasets.image_folder import image_folder
from qubastore.evaluators import ingest
from qubastore.errors import IngestError
url, address, model, images = sys.argv[1:]
found = dataclasses.replace(image_folder("noise", images), root="/unseen")
with qubastore.open(url, read_only=False) as store:
    try:
        ingest(store, [model], [found], address=address)
    except IngestError as error:
        print(error)
"""


def test_weights_are_fetched_once_per_node(url, tmp_path, pictures, monkeypatch):
    """A loader that fetches what it does not find, slowly; the nodes have caches of their own, as machines have."""
    (tmp_path / "fetching.py").write_text(
        """
import os, time, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3, 3)
    def forward(self, x):
        time.sleep(0.6 if len(x) > 1 else 0)
        return self.head(x.mean(dim=(2, 3)))
def net():
    # The driver, that looks at the model to plan, has none of the nodes' caches.
    folder = os.environ.get("NODE_FOLDER")
    if folder and not os.path.exists(folder + "/cached"):
        time.sleep(1)
        with open(folder + "/fetched", "a") as file:
            file.write("fetched ")
        open(folder + "/cached", "w").close()
    return Net(), {"input_size": (3, 8, 8)}
"""
    )
    nodes = Nodes(0)
    try:
        folders = [tmp_path / name for name in ("a", "b")]
        for folder in folders:
            folder.mkdir()
            # A node's processes have the environment that it was started in.
            with monkeypatch.context() as environment:
                environment.setenv("NODE_FOLDER", str(folder))
                environment.setenv("TMPDIR", str(folder))
                nodes.nodes.append(nodes.add())
        process = start(
            url, [f"python:{tmp_path / 'fetching.py'}:net"], pictures, nodes.address, "--evaluators-per-gpu", 2
        )
        said = finished(process)
        assert process.returncode == 0, said
        assert [(folder / "fetched").read_text().split() for folder in folders] == [["fetched"], ["fetched"]]
    finally:
        nodes.stop()


def test_status_from_another_terminal_shows_two_drivers(url, sleepy, pictures, hold):
    first, second = start(url, sleepy[:1], pictures, None), start(url, sleepy[1:], pictures, None)
    try:
        wait_for(url, 2, first)
        deadline = time.monotonic() + 60
        while True:
            shown = subprocess.run(
                [sys.executable, "-m", "qubastore.cli.main", "status", "--store", url], capture_output=True, text=True
            ).stdout
            if shown.count(f"on {socket.gethostname()} (its own Ray)") == 2:
                break
            assert time.monotonic() < deadline, shown
        assert f"ingest {first.pid} on" in shown
        assert f"ingest {second.pid} on" in shown
        assert shown.count("active") + shown.count("summarising") == 2
    finally:
        hold.unlink(missing_ok=True)
        said = finished(first), finished(second)
    assert (first.returncode, second.returncode) == (0, 0), said
    with qubastore.open(url) as store:
        assert store.rows("from drivers") == []
