"""The kept features of a few runs, and their clusters, in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from starlette.requests import Request

from qubastore.explorer import samples, slices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qubastore.store import Store

KEPT_FEATURES = 2
"""Number of runs whose features stay in memory."""


class Features:
    """The features of a few runs, with their clusters, read when they are first asked for."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], tuple[NDArray[np.int32], NDArray[np.float32]]] = OrderedDict()
        self._clusters: dict[tuple[str, str], NDArray[np.int32]] = {}
        self._lock = threading.RLock()

    def turn(self, request: Request) -> threading.RLock | None:
        """The lock to hold for a request that reads features; None for others."""
        words = request.query_params
        reads = request.url.path == "/api/neighbours" or words.get("cluster") or words.get("kind") == "clusters"
        return self._lock if reads else None

    def of(self, store: Store, run_id: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The ids of a run's samples, and their features of length 1, as `samples.unit_features` returns them."""
        with self._lock:
            key = _version(store, run_id)
            if key not in self._held:
                self._held[key] = samples.unit_features(store, run_id)
                while len(self._held) > KEPT_FEATURES:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]

    def clusters(self, store: Store, run_id: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The ids of a run's samples, and the cluster of each, as `slices.clusters` returns it."""
        with self._lock:
            ids, vectors = self.of(store, run_id)
            key = _version(store, run_id)
            if key not in self._clusters:
                self._clusters[key] = slices.clusters(vectors)
            return ids, self._clusters[key]


def _version(store: Store, run_id: str) -> tuple[str, str]:
    """A run and when it was completed: one that is run again has other features."""
    return run_id, str(store.rows("select computed_at from run_summary where run_id = ?", [run_id]))
