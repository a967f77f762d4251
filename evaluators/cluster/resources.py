"""Start or join a Ray cluster, quietly, and list its places for evaluators; only a cluster started here is stopped."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qubastore.errors import IngestError

OBJECT_STORE_BYTES = 1 << 30
"""Memory for decoded images on their way to evaluators, on a machine without GPUs."""


@dataclass(frozen=True)
class Resources:
    """The resources that an ingest may use, over the whole cluster.

    Attributes:
        gpus: Maximum number of GPUs; 0 means evaluators on CPUs.
        cpus: Maximum number of CPU threads for the evaluators of a node; None means all of the node.
        evaluators_per_gpu: Evaluators that share a GPU, or a node without GPUs.
        joined: Whether the cluster may have other nodes than this machine.
    """

    gpus: int
    cpus: int | None = None
    evaluators_per_gpu: int = 1
    joined: bool = False


@dataclass(frozen=True)
class Place:
    """A place for one evaluator.

    Attributes:
        node_id: Ray's id of the node.
        node: Display name of the node.
        number: Index among the places of the node.
        gpu: Share of a GPU for the evaluator; 0 on CPUs.
        threads: CPU threads for the evaluator.
        decodes: Whether the node has cores for decode workers.
    """

    node_id: str
    node: str
    number: int
    gpu: float
    threads: int
    decodes: bool = True


def places(resources: Resources) -> list[Place]:
    """The current places for evaluators: one per GPU of the cluster, or one per node without GPUs.

    Nodes may join and leave, so the result may change.
    """
    share = resources.evaluators_per_gpu
    found: list[Place] = []
    left = resources.gpus
    for node in nodes():
        cpus = int(node["Resources"].get("CPU", 0))
        if resources.gpus:
            gpus = min(left, int(node["Resources"].get("GPU", 0)))
            left -= gpus
            slots, gpu, threads = gpus * share, 1 / share, 1
        else:
            slots, gpu = (share if cpus else 0), 0.0
            threads = max(1, min(cpus, resources.cpus or cpus) // share)
        found += [Place(node["NodeID"], name(node), number, gpu, threads, cpus > 0) for number in range(slots)]
    return found


def nodes() -> list[dict[str, Any]]:
    """Ray's nodes that are alive, in a stable order."""
    import ray

    return sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeID"]))


def in_flight_bytes() -> int:
    """Maximum size of decoded images in flight on all nodes: well within the memory of Ray's object stores."""
    return int(0.4 * sum(node["Resources"].get("object_store_memory", 0) for node in nodes()))


def is_alive(node_id: str) -> bool:
    """Whether a node is alive: Ray lists it, and it answers.

    Ray notices a machine's sudden end only after about 15 seconds; until then, it would look as if only the evaluator
    had died.
    """
    import ray

    found = next((node for node in nodes() if node["NodeID"] == node_id), None)
    if found is None or ray.util.client.ray.is_connected():
        # With ray://, the driver may be outside the cluster's network, where it cannot connect to nodes.
        return found is not None
    try:
        socket.create_connection((found["NodeManagerAddress"], found["NodeManagerPort"]), timeout=5).close()
    except OSError:
        return False
    return True


def name(node: dict[str, Any]) -> str:
    """The display name of a node."""
    return f"{node.get('NodeManagerHostname') or 'node'} ({node.get('NodeManagerAddress')})"


def describe(resources: Resources) -> str:
    """The resources in words, for the user."""
    found = places(resources)
    n_nodes = len({place.node_id for place in found})
    where = f" on {n_nodes} nodes" if n_nodes > 1 else ""
    evaluators = f", {len(found)} evaluators" if resources.evaluators_per_gpu > 1 else ""
    if resources.gpus:
        return f"{resources.gpus} {'GPU' if resources.gpus == 1 else 'GPUs'}{where}{evaluators}"
    threads = sum(place.threads for place in found)
    return f"the CPU{'s' if where else ''} ({threads} threads){where}{evaluators}"


@contextlib.contextmanager
def cluster(
    address: str | None, num_gpus: int | None, num_cpus: int | None, evaluators_per_gpu: int = 1
) -> Iterator[Resources]:
    """Join the Ray cluster at `address` or the one of this process, or start one on this machine.

    Args:
        address: `auto`, `ray://...` or None.
        num_gpus: GPUs to use; None means all that Ray sees, 0 means none.
        num_cpus: CPUs of a node to use; None means all that Ray sees.
        evaluators_per_gpu: Evaluators that share a GPU, or a node without GPUs.

    Raises:
        IngestError: if the cluster cannot be reached, or has fewer GPUs than requested.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = not ray.is_initialized()
    if ours:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                _start(address, num_gpus, num_cpus)
            except (OSError, ValueError, RuntimeError) as error:
                raise IngestError(
                    "Ray could not be started" if address is None else f"there is no Ray cluster at {address}",
                    found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                    hint=_hint(address, str(error)),
                ) from error
    try:
        gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes())
        if num_gpus is not None and num_gpus > gpus:
            raise IngestError(
                f"{num_gpus} GPUs were requested", found=f"{gpus} in the Ray cluster", hint=f"--num-gpus {gpus}"
            )
        joined = address is not None or len(nodes()) > 1
        yield Resources(gpus if num_gpus is None else num_gpus, num_cpus, evaluators_per_gpu, joined)
    finally:
        if ours:
            ray.shutdown()


def _hint(address: str | None, message: str) -> str:
    if "AF_UNIX" in message:
        return (
            "RAY_TMPDIR=/tmp qubastore ingest ...: Ray's sockets are in a temporary folder, whose path is too long here"
        )
    if re.search(r"\[Errno \d+\]", message) and address is None:
        return "RAY_TMPDIR=DIR qubastore ingest ..., with a writable folder; now it is " + (
            os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
        )
    if "ray[client]" in message:
        return "pip install 'qubastore[cluster]'"
    if address is None:
        return "ray start --head, then --address auto"
    # A cluster that was started with ~/.ray/auth_token requires it, and clients must opt in to send it.
    return "ray status; if the cluster asks for a token (~/.ray/auth_token): export RAY_AUTH_MODE=token"


def _this_machine_has_gpus() -> bool:
    return os.path.exists("/dev/nvidiactl")  # noqa: PTH110


def may_have_gpus(address: str | None, num_gpus: int | None) -> bool:
    """Whether an ingest may have GPUs, as far as that is known without joining the cluster at `address`."""
    ray = sys.modules.get("ray")
    if num_gpus == 0:
        return False
    if ray is not None and ray.is_initialized():
        return any(node["Resources"].get("GPU", 0) for node in nodes())
    return address is not None or _this_machine_has_gpus()


def _check_reachable(address: str) -> None:
    """Connect to the host and port of an address, if it has them: Ray itself would wait for minutes.

    Raises:
        ConnectionError: if the connection fails.
    """
    match = re.fullmatch(r"(?:ray://)?\[?([^\]/]+?)\]?:(\d+)", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"{match[1]} does not answer at port {match[2]}: {error}") from None


def _start(address: str | None, num_gpus: int | None, num_cpus: int | None) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.FATAL, "configure_logging": True}
    if address is not None:
        _check_reachable(address)
        # Hide Ray's own messages about each connection attempt; the error below has the reason.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(address=address, **quiet)
        return
    without_gpus = num_gpus == 0 or not _this_machine_has_gpus()
    ray.init(
        # Otherwise Ray would join any cluster that it finds on this machine or in RAY_ADDRESS.
        address="local",
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES if without_gpus else None,
        **quiet,
    )
