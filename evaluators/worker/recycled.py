"""Memory that is used again for the next batch, as soon as nothing refers to it."""

from __future__ import annotations

import math
import weakref

import numpy as np
from numpy.typing import NDArray


class Recycled:
    """Arrays whose memory comes back when they, and all tensors made of them, are gone.

    Freed batches of tens of megabytes would leave holes between smaller arrays, and a worker would grow.
    """

    def __init__(self) -> None:
        self._free: list[NDArray[np.float32]] = []

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An uninitialised array; `torch.from_numpy` of it keeps it alive. Other arrays must not be made of it."""
        size = math.prod(shape)
        while self._free:
            memory = self._free.pop()
            if len(memory) >= size:
                break
        else:
            memory = np.empty(size, np.float32)
        found = memory[:size].reshape(shape)
        weakref.finalize(found, self._free.append, memory)
        return found
