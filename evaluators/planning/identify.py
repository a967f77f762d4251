"""Which model a spec means: known by its checkpoint's revision, or seen by loading it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qubastore.evaluators.loaders.checkpoints import RULES
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.evaluators.loaders.source import InMemoryModel, ModelSource
from qubastore.models.fingerprints import Fingerprint
from qubastore.models.model import Model
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.recognition import NAME_LENGTH, recognise
from qubastore.models.spec import ModelSpec
from qubastore.store import Store


@dataclass(frozen=True)
class PlannedModel:
    """A model whose identity is known, and how to load it.

    Attributes:
        model: Its row.
        model_id: Its id.
        source: How to load it.
        shown: What tables will call it: its name, and the start of its id where another model has that name too.
    """

    model: Model
    model_id: str
    source: ModelSource
    shown: str = ""

    @property
    def title(self) -> str:
        """What people are shown."""
        return self.shown or self.model.name

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How its images are decoded; None where the model prepares them itself."""
        described = dict(self.model.preprocessing)
        if described.pop("kind") != "pixels":
            return None
        as_tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in described.items()}
        return Preprocessing(**as_tuples)


def distinct(models: Sequence[PlannedModel], log: Callable[[str], None]) -> list[PlannedModel]:
    """Each model once; where two specs mean one model, that is said."""
    found: dict[str, PlannedModel] = {}
    for model in models:
        first = found.setdefault(model.model_id, model)
        if str(first.source.spec) != str(model.source.spec):
            log(f"{model.source.spec} and {first.source.spec} are one model: it is run once, as {first.model.name}")
    return list(found.values())


def told_apart(store: Store, models: Sequence[PlannedModel]) -> list[PlannedModel]:
    """Models with what the view `model_names` will call them once all are in the store."""
    ids: dict[str, set[str]] = {}
    for model_id, name in store.rows("select model_id, name from models"):
        ids.setdefault(name, set()).add(model_id)
    for model in models:
        ids.setdefault(model.model.name, set()).add(model.model_id)
    return [
        replace(model, shown=f"{model.model.name}@{model.model_id[:NAME_LENGTH]}")
        if len(ids[model.model.name]) > 1
        else model
        for model in models
    ]


def identify(
    store: Store, spec: ModelSpec | InMemoryModel, *, log: Callable[[str], None]
) -> tuple[PlannedModel, str | None]:
    """A model and its checkpoint's revision: known by the revision if that was seen before, else by loading it."""
    source = ModelSource.of(spec)
    revision = source.revision()
    if revision is not None:
        known = store.rows("select model_id from model_revisions where revision = ?", [revision])
        if known:
            return PlannedModel(_stored_model(store, known[0][0]), known[0][0], source), revision
    runs_code = isinstance(spec, ModelSpec) and spec.loader == "python"
    log(
        f"loading {spec if isinstance(spec, ModelSpec) else spec.name} to see which model it is"
        + (" (this runs the code in its file)" if runs_code else "")
    )
    loaded = source.load()
    found = recognise(store.rows, describe(loaded))
    for note in (*loaded.notes, *_earlier_weights(store, loaded, revision), *found.notes):
        log(note)
    return PlannedModel(found.model, found.model.model_id, source), revision


def _earlier_weights(store: Store, loaded: LoadedModel, revision: str | None) -> Iterator[str]:
    """Tell where a checkpoint's raw weights were run by a release that knew of no others, and the EMA is taken now."""
    file = re.search(r"\b[0-9a-f]{64}\b", revision or "")
    if loaded.taken != "ema" or file is None:
        return
    query = """
        select distinct model from model_revisions join model_names using (model_id)
        where not starts_with(revision, ?) and contains(revision, ?)
    """
    for (model,) in store.rows(query, [f"{RULES}|", file[0]]):
        yield f"the earlier run of this checkpoint, {model}, took the raw weights: weights=raw means that model"


def _stored_model(store: Store, model_id: str) -> Model:
    columns = (
        "name, loader, architecture, weights_hash, preprocessing, input_height, input_width, num_classes, parameters,"
        " feature_width, output_type, precision, version, values, packages"
    )
    query = f"select {columns} from models left join fingerprints using (model_id) where model_id = ?"
    row = store.rows(query, [model_id])[0]
    name, loader, architecture, weights, preprocessing, height, width, *rest = row[:11]
    precision, version, values, packages = row[11:]
    model = Model(name, loader, json.loads(architecture), weights, json.loads(preprocessing), (height, width), *rest)
    known = None if values is None else Fingerprint.of(values, precision, version, packages)
    return replace(model, fingerprint=known, recorded_id=model_id)
