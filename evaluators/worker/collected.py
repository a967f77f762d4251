"""Collect the outputs of one run over one shard."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Collected:
    """The outputs of one run over one shard, collected batch by batch."""

    def __init__(self) -> None:
        self.sample_ids: list[int] = []
        self.logits: list[NDArray[np.float32]] = []
        self.features: list[NDArray[np.float32]] = []
        self.seconds = 0.0
        self._columns: list[dict[str, NDArray[np.generic]]] = []

    def add(
        self,
        sample_ids: list[int],
        logits: NDArray[np.float32],
        features: NDArray[np.float32] | None,
        columns: dict[str, NDArray[np.generic]],
        seconds: float,
    ) -> None:
        """Add the outputs of a batch."""
        self.sample_ids += sample_ids
        self.logits.append(logits)
        if features is not None:
            self.features.append(features)
        self._columns.append(columns)
        self.seconds += seconds

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """The columns of the table `outputs`, over all batches."""
        names = self._columns[0]
        return {name: np.concatenate([columns[name] for columns in self._columns]) for name in names}
