"""Matching a loaded model with the store's models: by its description and its outputs for the fixed images.

If the description (loader, architecture, weights, preprocessing) is the same but the outputs differ, it is another
model: its outputs depend on something that the description does not contain. Models recorded before fingerprints were
introduced keep their ids and get a fingerprint when they are loaded again. `python:` models of that time were
identified by the text of their file, which is not sufficient: they are kept with their identity unverified, and a newly
loaded model never matches them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qubastore.hashing import canonical_json
from qubastore.models.fingerprints import Fingerprint
from qubastore.models.model import Model

Ask = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""`Store.rows`."""


def distinct_name(name: str, model_id: str) -> str:
    """What tables call a model if several models have its name, as in the view `model_names`."""
    return f"{name}@{model_id[:6]}"


@dataclass(frozen=True)
class Recognised:
    """A loaded model, and messages about it for the user.

    Attributes:
        model: The model, with its id and name in the store if it is there.
        notes: Lines such as: it has another name in the store, or another model has the same name.
    """

    model: Model
    notes: tuple[str, ...] = ()


def recognise(ask: Ask, model: Model) -> Recognised:
    """Look up a loaded model in the store.

    Args:
        ask: Runs a query on the store.
        model: The model as its loader describes it.
    """
    rows = ask(
        "select models.model_id, name, precision, version, values, packages"
        " from models left join fingerprints using (model_id)"
        " where loader = ? and architecture = ? and weights_hash = ? and preprocessing = ? and output_type = ?"
        " order by created_at, models.model_id",
        [
            model.loader,
            canonical_json(model.architecture),
            model.weights_hash,
            canonical_json(model.preprocessing),
            model.output_type,
        ],
    )
    changed: list[tuple[str, Fingerprint]] = []
    for model_id, name, precision, version, values, packages in rows:
        known = Fingerprint.of(values, precision, version, packages) if values is not None else None
        if known is None or model.fingerprint is None or known.agrees(model.fingerprint) is not False:
            notes: tuple[str, ...] = ()
            if name != model.name:
                notes = (f"{model.name} is already in the store as {name}: its results are stored under that name",)
            return Recognised(replace(model, name=name, recorded_id=model_id), notes)
        changed.append((model_id, known))
    named = ask("select model_id, loader, architecture, weights_hash from models where name = ?", [model.name])
    here = distinct_name(model.name, model.model_id)
    if changed and model.fingerprint is not None:
        model_id, known = changed[-1]
        return Recognised(
            model,
            (
                f"{model.name} has the weights of {distinct_name(model.name, model_id)}, which is in the store, but"
                f" its outputs differ{_versions(known, model.fingerprint)}: it is another model, {here}",
            ),
        )
    if named:
        others = ", ".join(
            f"{distinct_name(model.name, model_id)} ({_difference(model, loader, architecture, weights)})"
            for model_id, loader, architecture, weights in named
        )
        return Recognised(
            model, (f"{model.name} differs from {others}: both are kept, and tables show this one as {here}",)
        )
    return Recognised(model)


def is_unverified(loader: str, architecture: Any) -> bool:
    """Whether a recorded model is identified only by the text of its file, as `python:` models once were."""
    return loader == "python" and isinstance(architecture, dict) and "source" in architecture


def _difference(model: Model, loader: str, architecture: str, weights_hash: str) -> str:
    """How a recorded model of the same name differs from a loaded one."""
    described = json.loads(architecture)
    if is_unverified(loader, described):
        return "identity unverified: identified only by the text of its file"
    if weights_hash != model.weights_hash:
        return "other weights"
    return "another architecture" if described != model.architecture else "other preprocessing"


def _versions(then: Fingerprint, now: Fingerprint) -> str:
    before, after = dict(then.packages), dict(now.packages)
    changed = [
        f"{name} {before[name]} then, {release} now"
        for name, release in after.items()
        if before.get(name, release) != release
    ]
    return f" ({'; '.join(changed)})" if changed else ""
