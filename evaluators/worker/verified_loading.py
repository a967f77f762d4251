"""Load a model on a node, and check that it is the planned one."""

from __future__ import annotations

from qubastore.errors import ModelError
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.evaluators.loaders.probed import ProbedModel
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.hashing import canonical_json
from qubastore.models.model import Model


def load_verified(planned: Model, source: ModelSource) -> LoadedModel:
    """Load a model and check that it is the planned one; of a probe, its backbone is checked.

    Raises:
        ModelError: if it cannot be loaded, or differs.
    """
    if isinstance(source.spec, ProbedModel):
        return source.spec.of(load_verified(source.spec.backbone, source.spec.source))
    loaded = source.load()
    check_same(planned, describe(loaded, thorough=False))
    return loaded


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
