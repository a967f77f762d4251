"""The nodes of a cluster: which exist, which are usable, and which have left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from qubastore.errors import IngestError
from qubastore.evaluators.cluster.preflight import check_node, refuse
from qubastore.evaluators.cluster.resources import Place, Resources, is_alive, places
from qubastore.store import Store

POLL_SECONDS = 2.0
"""Interval between checks for nodes that joined or left."""

NODE_TIMEOUT = 600.0
"""Seconds that an ingest waits for a node when none is left: autoscaling clusters may start one."""


class Nodes:
    """The nodes that evaluators may run on; nodes may join and leave during an ingest.

    Args:
        store: The store, which every node must be able to access.
        resources: The resources that may be used.
        roots: Folders with images, which every node must be able to read.
        log: Called with lines for the user.

    Attributes:
        places: Places for evaluators, as of the last refresh.
    """

    def __init__(self, store: Store, resources: Resources, roots: Collection[str], log: Callable[[str], None]) -> None:
        self._store, self._resources, self._roots, self._log = store, resources, roots, log
        self._token = ""
        self._checked: dict[str, bool] = {}
        self._refreshed = 0.0
        self._left: set[str] = set()
        self.places: list[Place] = []

    def refresh_if_stale(self) -> None:
        """Refresh the places if the last refresh is more than `POLL_SECONDS` ago."""
        if time.monotonic() - self._refreshed > POLL_SECONDS:
            self.refresh()

    def has_left(self, place: Place) -> bool:
        """Whether the node of an evaluator that died has left the cluster; logged once per node."""
        self._refreshed = 0.0
        if is_alive(place.node_id):
            return False
        if place.node_id not in self._left:
            self._log(f"the node {place.node} has left")
            self._left.add(place.node_id)
        return True

    def wait(self) -> None:
        """Wait until a usable node joins, when no evaluator is active.

        Raises:
            IngestError: if none joins within `NODE_TIMEOUT` seconds.
        """
        deadline = time.monotonic() + NODE_TIMEOUT
        self._log("no usable node is left: waiting for one")
        while not any(map(self.is_usable, self.refresh())):
            if time.monotonic() > deadline:
                raise IngestError(
                    "no node of the Ray cluster is usable",
                    found=f"no node joined within {NODE_TIMEOUT:.0f} s",
                    hint="ray status; committed work is kept, and the same command resumes from there",
                )
            time.sleep(POLL_SECONDS)

    def refresh(self) -> list[Place]:
        """Update the places; a node that did not answer is used again once it answers."""
        self._refreshed = time.monotonic()
        self._left = {node_id for node_id in self._left if not is_alive(node_id)}
        self.places = [place for place in places(self._resources) if place.node_id not in self._left]
        return self.places

    def is_usable(self, place: Place) -> bool:
        """Whether a node passes the checks of `preflight`; nodes of a joined cluster are checked once."""
        if not self._resources.joined:
            return True
        if place.node_id not in self._checked:
            found = check_node(place.node_id, self._store, self._token, self._roots)
            if found is None:
                return False
            self._checked[place.node_id] = not found
            if found and not any(self._checked.values()):
                raise refuse(place.node, found)
            if found:
                self._log(f"the node {place.node} is not used: {'; '.join(found)}")
        return self._checked[place.node_id]

    def usable(self) -> list[str]:
        """The ids of the nodes of a joined cluster that passed the checks and have CPUs for tasks.

        Empty if Ray runs on this machine alone, or if no such node has CPUs.
        """
        if not self._resources.joined:
            return []
        with_cpus = dict.fromkeys(place.node_id for place in self.places if place.decodes)
        return [node_id for node_id in with_cpus if self._checked.get(node_id) and is_alive(node_id)]

    def check_all(self, token: str) -> None:
        """Check every current node before any work starts.

        Args:
            token: The path from `preflight.token`.

        Raises:
            IngestError: naming a node that is not usable.
        """
        self._token = token
        if not self._resources.joined:
            return
        for node_id, node in {place.node_id: place.node for place in places(self._resources)}.items():
            found = check_node(node_id, self._store, self._token, self._roots)
            if found:
                raise refuse(node, found)
            if found is not None:
                self._checked[node_id] = True
