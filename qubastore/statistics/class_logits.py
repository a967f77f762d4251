"""Logits of a dataset's classes, from the outputs of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qubastore.datasets.label_spaces import LabelSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def class_logits(logits: NDArray[np.float32], space: LabelSpace) -> NDArray[np.float32] | None:
    """Logits whose softmax gives the probabilities of a label space's classes; None if there are no such logits."""
    import numpy as np

    from qubastore.statistics.scores import project

    if space.rule == "identity":
        return logits
    # An argmax space has outputs that belong to no class: its classes' probabilities do not sum to 1.
    if space.rule in ("argmax", "none") or not len(logits):
        return None
    scores: NDArray[np.float32] = project(logits, space).astype(np.float32)
    return scores
