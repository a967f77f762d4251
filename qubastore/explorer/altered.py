"""Pictures of what a condition does to an image: the model's input before and after, and the difference, amplified."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qubastore.errors import UsageError
from qubastore.explorer.images import Images
from qubastore.store import Store

PARTS = ("input", "altered", "difference")
HELD = 50
"""Number of pairs that stay in memory: a page asks for each part."""


class Makes(Protocol):
    """What makes a model's input again: `qubastore.evaluators.altered_images.AlteredImages`."""

    def pair(
        self, store: Store, run_id: str, sample_id: int, data: bytes
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | NDArray[np.float32]]:
        """The input for an image without, and under, the condition of a run."""
        ...


class Altered:
    """Makes the pictures, one at a time: the caller sees to that, before it borrows a connection.

    Args:
        images: Where the images are.
        makes: Makes the inputs again.
    """

    def __init__(self, images: Images, makes: Makes) -> None:
        self._images, self._makes = images, makes
        self._held: OrderedDict[tuple[str, int], tuple[NDArray[np.uint8], NDArray[np.float32]]] = OrderedDict()

    def picture(self, store: Store, run_id: str, sample_id: int, part: str) -> bytes:
        """One of `PARTS` as a PNG.

        Raises:
            UsageError: If the part is unknown, or the picture cannot be made.
            DatasetError: If the image is not at hand.
        """
        import PIL.Image

        if part not in PARTS:
            raise UsageError(f"unknown part {part!r}", expected=", ".join(PARTS))
        if (run_id, sample_id) not in self._held:
            rows = store.rows("select dataset_id from runs where run_id = ?", [run_id])
            if not rows:
                raise UsageError(f"the store has no run {run_id!r}")
            # Looked up here, or `find` would borrow a second connection.
            self._images.look_up(store, rows[0][0], [sample_id])
            data = self._images.read(self._images.find(rows[0][0], sample_id))
            made, changed = self._makes.pair(store, run_id, sample_id, data)
            self._held[run_id, sample_id] = made, changed.astype(np.float32)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        clean, altered = self._held[run_id, sample_id]
        shown = {"input": clean, "altered": _bytes(altered), "difference": amplified(clean, altered)}[part]
        buffer = io.BytesIO()
        PIL.Image.fromarray(shown).save(buffer, "PNG")
        return buffer.getvalue()


def amplified(clean: NDArray[np.uint8], altered: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The difference of two images around grey, so amplified that its largest value is white or black.

    Args:
        clean: (h, w, 3).
        altered: (h, w, 3), 0 to 255; of another size, it has no difference, and the result is grey.

    Returns:
        (h, w, 3) uint8.
    """
    if clean.shape != altered.shape:
        return np.full_like(clean, 128)
    difference = altered - clean.astype(np.float32)
    largest = float(np.abs(difference).max())
    return _bytes(127.5 + difference * (127.5 / largest if largest else 0))


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(values, 0, 255)), dtype=np.uint8)
