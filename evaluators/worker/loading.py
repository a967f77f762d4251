"""Whether a model that was loaded on a node is the one that was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qubastore.errors import ModelError
from qubastore.hashing import canonical_json
from qubastore.models.model import Model

if TYPE_CHECKING:
    pass


def check_same(planned: Model, found: Model) -> None:
    """Refuse a model that is not, on this node, what it was when it was planned.

    Raises:
        ModelError: naming what differs.
    """
    now, then = found.fingerprint, planned.fingerprint
    # What was read from the store has lists where a loader has tuples.
    if canonical_json(list(found.described)) != canonical_json(list(planned.described)):
        differs = "other weights" if found.weights_hash != planned.weights_hash else "another description"
    elif then is not None and now is not None and then.agrees(now) is False:
        differs = "other answers to the fixed images, with the same weights"
    else:
        return
    raise ModelError(
        f"{found.name} is another model each time it is loaded",
        expected=f"model {planned.model_id}, as planned",
        found=differs,
        hint="load a checkpoint, or seed the random weights: torch.manual_seed(0); on a cluster, what the file imports"
        " and reads must be the same on every node",
    )
