"""The nodes of a cluster: which there are, which can do the work, which have left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from qubastore.errors import IngestError
from qubastore.evaluators.cluster.preflight import check_node, refuse
from qubastore.evaluators.cluster.resources import Place, Resources, is_alive, places
from qubastore.store import Store

POLL_SECONDS = 2.0
"""How often nodes are looked for that came or went."""

PATIENCE = 600.0
"""Seconds that an ingest waits for a node when none is left: clusters that scale by themselves start machines."""


class Nodes:
    """The nodes that evaluators may run on. Nodes may join and leave meanwhile.

    Args:
        store: The store, which every node must reach.
        resources: What may be used.
        roots: Folders with images, which every node must see.
        log: Told what people should know.

    Attributes:
        places: Where there is room for an evaluator, as of the last look.
    """

    def __init__(self, store: Store, resources: Resources, roots: Collection[str], log: Callable[[str], None]) -> None:
        self._store, self._resources, self._roots, self._log = store, resources, roots, log
        self._token = ""
        self._checked: dict[str, bool] = {}
        self._looked = 0.0
        self._left: set[str] = set()
        self.places: list[Place] = []

    def look_now_and_then(self) -> None:
        """Look again where the last look is a while ago."""
        if time.monotonic() - self._looked > POLL_SECONDS:
            self.look()

    def has_left(self, place: Place) -> bool:
        """Whether the node of an evaluator that died has left the cluster; it is said once."""
        self._looked = 0.0
        if is_alive(place.node_id):
            return False
        if place.node_id not in self._left:
            self._log(f"the node {place.node} has left")
            self._left.add(place.node_id)
        return True

    def wait(self) -> None:
        """No evaluator is active: wait until a node comes.

        Raises:
            IngestError: where none comes.
        """
        deadline = time.monotonic() + PATIENCE
        self._log("no node is left to work on: waiting for one")
        while not any(map(self.may_work, self.look())):
            if time.monotonic() > deadline:
                raise IngestError(
                    "no node of the Ray cluster can do the work",
                    found=f"none came for {PATIENCE:.0f} s",
                    hint="ray status; what was committed is kept, and the same command goes on from there",
                )
            time.sleep(POLL_SECONDS)

    def look(self) -> list[Place]:
        """See which places there are now; a node that did not answer is one again when it does."""
        self._looked = time.monotonic()
        self._left = {node_id for node_id in self._left if not is_alive(node_id)}
        self.places = [place for place in places(self._resources) if place.node_id not in self._left]
        return self.places

    def may_work(self, place: Place) -> bool:
        """Whether a node can do the work; asked once, where the cluster may have other machines."""
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

    def check_all(self, token: str) -> None:
        """Ask every node that is there now, before any work.

        Args:
            token: What `preflight.token` gave.

        Raises:
            IngestError: naming the node that cannot do the work.
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
