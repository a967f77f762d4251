"""Check that a node is usable before giving it work: the same release, access to the store's files and the images."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from qubastore.errors import IngestError, QubastoreError
from qubastore.evaluators.cluster.resources import is_alive
from qubastore.lake.object_storage import DataFiles
from qubastore.s3 import is_s3, s3_files, s3_key
from qubastore.store import Store
from qubastore.version import __version__

ANSWER_TIMEOUT = 120.0
"""Seconds that a node may take to answer."""


@contextlib.contextmanager
def token(store: Store) -> Iterator[str]:
    """Create a temporary file in the store, which a node with the same folder can see; its path, empty on S3."""
    if store.files.is_s3:
        yield ""
        return
    path = store.files.path(f".seen-by-{socket.gethostname()}-{os.getpid()}")
    store.files.write(path, b"qubastore")
    try:
        yield path
    finally:
        store.files.remove(path)


def problems(version: str, data_path: str, token_path: str, roots: list[str]) -> list[str]:
    """The problems of this machine as a node; run on the node."""
    found = []
    if version != __version__:
        found.append(f"it has qubastore {__version__}, not {version}")
    if token_path and not Path(token_path).is_file():
        found.append(f"it does not see the store's folder {data_path}")
    else:
        try:
            DataFiles(data_path).check()
        except QubastoreError as error:
            found.append(str(error).replace("\n", ";"))
    found += [f"it does not see the images in {root}{why}" for root in roots if (why := _hidden(root)) is not None]
    return found


def _hidden(root: str) -> str | None:
    """Why this machine cannot read what is in a folder, or in S3; None if it can. It does not wait for a server."""
    if not is_s3(root):
        return None if os.access(root, os.R_OK) else ""
    try:
        found = s3_files().get_file_info(s3_key(root))
    except (OSError, ValueError) as error:
        return f" ({str(error).splitlines()[0][:200]})"
    return None if found.type.name != "NotFound" else " (there is nothing)"


def check_node(node_id: str, store: Store, token_path: str, roots: Iterable[str]) -> list[str] | None:
    """Check a node; return its problems, or None if it has left the cluster."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(problems).options(
        num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False), max_retries=1
    )
    try:
        answer: list[str] = ray.get(
            task.remote(__version__, store.files.root, token_path, sorted(roots)), timeout=ANSWER_TIMEOUT
        )
    except ray.exceptions.RayTaskError as error:
        return [f"it cannot load qubastore: {str(error.cause).splitlines()[0]}"]
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return None
    except ray.exceptions.RayError as error:
        # Ray reports a node as alive for some seconds after its end.
        return [f"it does not answer: {type(error).__name__}"] if is_alive(node_id) else None
    return answer


def refuse(node: str, found: list[str]) -> IngestError:
    """The error for a node that is not usable."""
    return IngestError(
        f"the node {node} is not usable",
        expected="the same release, and access to the store's files and the images, on every node",
        found="; ".join(found),
        hint="mount or install what is missing there; S3 credentials go into each node's environment or ~/.aws",
    )
