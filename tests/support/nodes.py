"""Ray clusters whose nodes are processes of this machine, and ingests that run on them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import qubastore


class Nodes:
    """A Ray cluster without GPUs, its nodes processes of this machine."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # The head has no core: it schedules, and every evaluator is on a node that may go.
        head = {"num_cpus": 0, "num_gpus": 0, "object_store_memory": 100_000_000, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add() for _ in range(count)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self):
        return self._cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=100_000_000)

    def kill(self, node) -> None:
        """End a node with all its processes."""
        self._cluster.remove_node(node, allow_graceful=False)
        self.nodes = [other for other in self.nodes if other is not node]

    def stop(self) -> None:
        self._cluster.shutdown()


def start(url, models, images, address, *more, output=subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "qubastore.cli.main", "ingest", "--store", str(url), "--num-cpus", "1"]
    for model in models:
        command += ["--model", model]
    command += ["--dataset", f"noise={images}", *(("--address", address) if address else ()), *map(str, more)]
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)


def finished(process: subprocess.Popen[str], timeout: float = 240) -> str:
    said, _ = process.communicate(timeout=timeout)
    return said


def wait_for(url, shards, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with qubastore.open(url) as reader:
            if reader.rows("select count(*) from shards")[0][0] >= shards:
                return
        time.sleep(0.1)
    if process.poll() is None:
        process.kill()
    raise AssertionError(process.communicate()[0])


def numbers(store):
    """All that is said of images, to the last bit."""
    return [
        store.rows(query)
        for query in (
            "from outputs order by run_id, sample_id",
            "from logits order by run_id, sample_id",
            "from features order by run_id, sample_id",
            "select run_id, shard, first_sample, n_samples, n_outputs, kept from shards order by run_id, shard",
            "select * exclude (computed_at) from run_summary order by run_id",
            "select * replace (value::varchar as value) from run_metrics order by all",
        )
    ]


def processes(name: str, parent: str = "") -> list[int]:
    """Ids of processes whose title begins with `name` and, if asked, whose environment has `parent` in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if (
                path.read_bytes().startswith(name.encode())
                and parent.encode() in (path.parent / "environ").read_bytes()
            ):
                found.append(int(path.parent.name))
    return found


def of_cluster(nodes: Nodes, name: str) -> list[int]:
    """The cluster's worker processes: those whose raylet is one of its nodes'."""
    raylets = set()
    for node in nodes.nodes:
        raylets |= {info.process.pid for info in node.all_processes["raylet"]}
    return [pid for pid in processes(name) if _parent(pid) in raylets]


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])


def complete(url, models, images, address, *more, tries=4):
    """Run the same command until nothing is missing."""
    for _ in range(tries):
        process = start(url, models, images, address, *more)
        said = finished(process)
        if process.returncode == 0:
            return
    raise AssertionError(said)
