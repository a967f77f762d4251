"""Check that a model loaded on a node is the planned one."""

from __future__ import annotations

from qubastore.errors import ModelError
from qubastore.hashing import canonical_json
from qubastore.models.model import Model


def check_same(planned: Model, found: Model) -> None:
    """Refuse a model that differs, on this node, from the planned one.

    Raises:
        ModelError: naming the difference.
    """
    now, then = found.fingerprint, planned.fingerprint
    # Compared as JSON: values from the store have lists where those of a loader have tuples.
    if canonical_json(list(found.described)) != canonical_json(list(planned.described)):
        difference = "other weights" if found.weights_hash != planned.weights_hash else "another description"
    elif then is not None and now is not None and then.agrees(now) is False:
        difference = "other outputs for the fixed images, with the same weights"
    else:
        return
    raise ModelError(
        f"{found.name} is not the model that was planned when it is loaded again",
        expected=f"model {planned.model_id}, as planned",
        found=difference,
        hint="load a checkpoint, or seed the random weights: torch.manual_seed(0); on a cluster, all that the file"
        " imports and reads must be the same on every node",
    )
