"""How the outputs of a model answer for a dataset: the label space of their run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qubastore.datasets.label_spaces import (
    IMAGENET_1K,
    OWN_CLASSES,
    TRANSFER,
    UNLABELLED,
    imagenet_synsets,
    label_space,
)
from qubastore.errors import UsageError
from qubastore.hashing import identifier
from qubastore.lake.database import Database
from qubastore.models.loaders import PROBE
from qubastore.models.model import Model


def classes_of_probe(space: str, classes: Sequence[str]) -> dict[str, Any]:
    """What the architecture of a probe says of the classes that it was fitted on."""
    if space == TRANSFER:
        space = IMAGENET_1K if len(classes) == 1000 and tuple(classes) == imagenet_synsets() else OWN_CLASSES
    return {"label_space": space, "classes": identifier("classes", list(classes))}


def n_outputs(space: str, n_classes: int) -> int:
    """The number of outputs that a model needs for a label space and a dataset's classes; 0 if any number is valid."""
    found = label_space(space)
    return 0 if found.rule == "none" else found.n_outputs or n_classes


def answer_space(model: Model, space: str, classes: Sequence[str]) -> str | None:
    """The label space of a run of a model over a dataset.

    Args:
        model: The model.
        space: The label space of the dataset.
        classes: The classes of the dataset, by label.

    Returns:
        `transfer` for a backbone without a head, which has no answers; for a probe, the space of the classes that it
        was fitted on; else the dataset's space. None if the model does not fit the dataset: it has another number of
        classes, or names for them that are not the dataset's.
    """
    if not model.has_head:
        return TRANSFER
    if space == UNLABELLED:
        return space
    if model.loader == PROBE:
        return _space_of_probe(model.architecture["probe"], space, classes)
    expected = n_outputs(space, len(classes))
    if not expected:
        return space
    return space if model.num_classes == expected and _same_classes(model.labels, space, classes) else None


def _same_classes(labels: Sequence[str] | str | None, space: str, classes: Sequence[str]) -> bool:
    """Whether the names of a head's classes are those of a dataset, in its order; True where it has no names."""
    if labels is None:
        return True
    if label_space(space).n_outputs == 1000 or tuple(classes) == imagenet_synsets():
        return labels == IMAGENET_1K
    return not isinstance(labels, str) and [*map(_plain, labels)] == [*map(_plain, classes)]


def _plain(name: str) -> str:
    """A name as people compare it: `golden_retriever` is `Golden Retriever`."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def check_has_logits(store: Database, model_id: str, name: str, purpose: str) -> None:
    """Refuse a k-NN probe, whose scores are logarithms of shares of votes, of which many are 0.

    Args:
        store: An open store.
        model_id: The model.
        name: Its name, for the message.
        purpose: What the logits are needed for, as in `average`.

    Raises:
        UsageError: if it is one.
    """
    query = "select 1 from models where model_id = ? and loader = ? and output_type = 'probabilities'"
    if store.rows(query, [model_id, PROBE]):
        raise UsageError(
            f"{name} is a k-NN probe: it gives shares of votes, and has no logits to {purpose}",
            expected="a model with logits, such as a linear probe: --method linear",
        )


def _space_of_probe(probe: Mapping[str, Any], space: str, classes: Sequence[str]) -> str | None:
    if probe["classes"] == classes_of_probe(space, classes)["classes"]:
        return str(probe["label_space"]) if space == TRANSFER else space
    # A probe of ImageNet's classes answers for their subsets and categories as any classifier of them does.
    return space if probe["label_space"] == IMAGENET_1K and label_space(space).n_outputs == 1000 else None
