"""Ingests that are killed, interrupted, doubled, or out of disk space: every image is stored once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import qubastore
from qubastore.errors import IngestError, StoreError
from qubastore.evaluators import ingest
from tests.conftest import write_images
from tests.support.ingests import everything

pytestmark = pytest.mark.usefixtures("ray_session")


def test_an_evaluator_that_dies_once(store, tiny_models, images):
    (tiny_models.parent / "bomb").write_text("once")
    report = ingest(store, [f"python:{tiny_models}:deadly"], {"noise": images})
    assert report.set_aside == []
    assert store.rows("select n_outputs from accuracy") == [(150,)]
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(150, 150)]


def test_a_shard_that_kills_two_evaluators_is_set_aside(store, tiny_models, images):
    (tiny_models.parent / "bomb").write_text("always")
    report = ingest(store, [f"python:{tiny_models}:deadly"], {"noise": images})
    assert sorted(report.set_aside) == [("noise", 0, 128), ("noise", 128, 150)]
    assert store.rows("select count(*) from shards") == [(0,)]
    (tiny_models.parent / "bomb").unlink()
    assert ingest(store, [f"python:{tiny_models}:deadly"], {"noise": images}).images == 150
    assert store.rows("select n_outputs from accuracy") == [(150,)]


@pytest.mark.parametrize("poison", [5, 140, 300])
def test_only_the_shard_that_kills_is_set_aside(store, tiny_models, tmp_path, poison):
    """An evaluator has several shards at a time; those beside the deadly one are tried alone, and completed."""
    images = write_images(tmp_path / "four", {"ant": 150, "bee": 150, "cow": 100})
    Image.new("RGB", (40, 40), "white").save(sorted(images.rglob("*.png"))[poison])
    (tiny_models.parent / "bomb").write_text("always")
    report = ingest(store, [f"python:{tiny_models}:poisoned"], {"noise": images})
    first = poison // 128 * 128
    assert report.set_aside == [("noise", first, min(first + 128, 400))]
    assert store.rows("select sum(n_samples) from shards") == [(400 - min(128, 400 - first),)]
    (tiny_models.parent / "bomb").unlink()
    assert ingest(store, [f"python:{tiny_models}:poisoned"], {"noise": images}).images == min(128, 400 - first)


def command(store_path, model, images, *more):
    return [
        *(sys.executable, "-m", "qubastore.cli.main", "ingest", "--store", str(store_path), "--num-cpus", "2"),
        *("--model", str(model), "--dataset", f"noise={images}", *more),
    ]


def start(store_path, model, images, *more):
    return subprocess.Popen(
        command(store_path, model, images, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


SLOW = """
import time, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3, 3)
    def forward(self, x):
        time.sleep(0.2 if len(x) > 1 else 0)
        return self.head(x.mean(dim=(2, 3)))
def net():
    return Net(), {"input_size": (3, 8, 8)}
"""


@pytest.fixture
def slow_model(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(SLOW)
    return f"python:{path}:net"


def wait_for_shards(path, count, process, seconds=300):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with qubastore.open(path) as reader:
            if reader.rows("select count(*) from shards")[0][0] >= count:
                return
        time.sleep(0.05)
    raise AssertionError(process.communicate()[0])


def test_kill_9_of_the_driver_then_a_rerun(store, tmp_path, slow_model):
    """The same rows as an undisturbed ingest, none twice."""
    images = write_images(tmp_path / "images", {"a": 300, "b": 300, "c": 300})
    with qubastore.init(tmp_path / "calm") as calm:
        ingest(calm, [slow_model], {"noise": images})
        want = everything(calm)
    for round_ in range(2):
        process = start(store.path, slow_model, images)
        wait_for_shards(store.path, 1 + 2 * round_, process)
        time.sleep(random.Random(round_).uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = store.rows("select count(*) from shards")[0][0]
        assert store.rows("select count(distinct shard) from shards") == [(done,)]
        assert store.rows("select count(*) from outputs") == [(0,)], "nothing of a run is visible before all of it"
        assert done < 8
    report = ingest(store, [slow_model], {"noise": images})
    assert report.skipped == done
    assert everything(store) == want


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(store, tmp_path, slow_model):
    images = write_images(tmp_path / "images", {"a": 300, "b": 300, "c": 300})
    process = start(store.path, slow_model, images)
    wait_for_shards(store.path, 1, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes from there" in output
    assert "Traceback" not in output
    assert store.rows("select count(*) = count(distinct shard) from shards") == [(True,)]


def test_two_ingests_at_once(store, tmp_path, slow_model):
    """Both end well; every sample is there once."""
    images = write_images(tmp_path / "images", {"a": 150, "b": 100, "c": 100})
    processes = [start(store.path, slow_model, images) for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=150)
        assert process.returncode == 0, output
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(350, 350)]
    assert store.rows("select count(*), count(distinct sample_id) from logits") == [(350, 350)]
    for table in ("models", "datasets", "runs", "run_summary"):
        assert store.rows(f"select count(*) from {table}") == [(1,)], table


def test_a_killed_evaluator_process(store, tmp_path, slow_model):
    """kill -9 from outside, while it works: enough of it that a busy machine finds it working."""
    images = write_images(tmp_path / "images", {"a": 500, "b": 500, "c": 500})
    process = start(store.path, slow_model, images)
    wait_for_shards(store.path, 1, process)
    evaluators = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            mine = b"ray::Evaluator" in path.read_bytes() and _is_child(int(path.parent.name), process.pid)
        except OSError:
            continue
        if mine:
            evaluators.append(int(path.parent.name))
    assert len(evaluators) == 1
    os.kill(evaluators[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "; retrying" in output
    assert store.rows("select n_outputs from accuracy") == [(1500,)]
    assert store.rows("select count(*) = count(distinct sample_id) from outputs") == [(True,)]


def _is_child(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
    return False


def test_a_full_disk_says_so_and_keeps_what_is_there(store, tmp_path, tiny_models, images):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(store.data_path)], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        fill = store.data_path / "fill"
        with contextlib.suppress(OSError):
            fill.write_bytes(b"x" * 65_536)
        # Full from the start: the error comes before a model is loaded.
        with pytest.raises(StoreError, match="No space left") as caught:
            ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
        assert "free some space" in str(caught.value)
        # Space for the ingest session, but not for a shard.
        fill.write_bytes(b"x" * 57_000)
        with pytest.raises(IngestError, match="No space left") as full:
            ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
        assert "committed work is kept" in str(full.value)
        assert store.rows("select count(*) from shards") == [(0,)]
    finally:
        subprocess.run(["umount", str(store.data_path)], check=True)
    assert ingest(store, [f"python:{tiny_models}:first"], {"noise": images}).images == 150


def test_a_staged_shard_that_is_lost_is_evaluated_again_by_the_same_ingest(store, tiny_models, images, monkeypatch):
    """Its file goes between the commit and the publication; the ingest says so and does it again."""
    from qubastore.evaluators.cluster.publisher import Publisher
    from qubastore.evaluators.progress import Silent

    class Heard(Silent):
        def __init__(self):
            self.lines: list[str] = []

        def log(self, line):
            self.lines.append(line)

    real = Publisher.submit
    lost: list[Path] = []

    def submit(self, runs):
        if runs and not lost:
            lost.append(next((store.data_path / "staged").glob("*-00001-outputs-*")))
            lost[0].unlink()
        real(self, runs)

    monkeypatch.setattr(Publisher, "submit", submit)
    heard = Heard()
    report = ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, display=heard)
    assert lost
    assert report.images == 150 + 22
    assert len(report.completed) == 1
    assert any("shard 1 of run" in line and "it is missing" in line for line in heard.lines)
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(150, 150)]
    assert store.rows("select n_outputs from accuracy") == [(150,)]
    assert list((store.data_path / "staged").glob("*")) == []
