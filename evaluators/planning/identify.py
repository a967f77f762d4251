"""Identify the model of a spec: by its checkpoint's revision if that is known, else by loading it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from qubastore.derived.probe_heads import ProbeHead
from qubastore.evaluators.loaders.checkpoints import EMA_RULES
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.evaluators.loaders.source import InMemoryModel, ModelSource
from qubastore.models.fingerprints import Fingerprint
from qubastore.models.loaders import whose_code
from qubastore.models.model import Model
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.recognition import distinct_name, recognise
from qubastore.models.spec import ModelSpec
from qubastore.store import Store


@dataclass(frozen=True)
class PlannedModel:
    """An identified model, and how to load it.

    Attributes:
        model: Its row in the store.
        model_id: Its id.
        source: How to load it.
        shown: Its name in tables: its own name, with the beginning of its id if another model has the same name.
        head: For a probe, its head.
    """

    model: Model
    model_id: str
    source: ModelSource
    shown: str = ""
    head: ProbeHead | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """The name to show to users."""
        return self.shown or self.model.name

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How its images are decoded; None if the model preprocesses them itself."""
        return Preprocessing.described(self.model.preprocessing)


def distinct(models: Sequence[PlannedModel], log: Callable[[str], None]) -> list[PlannedModel]:
    """The models without duplicates; two specs of one model are logged."""
    found: dict[str, PlannedModel] = {}
    for model in models:
        first = found.setdefault(model.model_id, model)
        if str(first.source.spec) != str(model.source.spec):
            log(
                f"{model.source.spec} and {first.source.spec} are the same model: it is run once, as {first.model.name}"
            )
    return list(found.values())


def with_unique_names(store: Store, models: Sequence[PlannedModel]) -> list[PlannedModel]:
    """The models with the names that the view `model_names` will have once all of them are in the store."""
    ids: dict[str, set[str]] = {}
    for model_id, name in store.rows("select model_id, name from models"):
        ids.setdefault(name, set()).add(model_id)
    for model in models:
        ids.setdefault(model.model.name, set()).add(model.model_id)
    return [
        replace(model, shown=distinct_name(model.model.name, model.model_id))
        if len(ids[model.model.name]) > 1
        else model
        for model in models
    ]


def identify(
    store: Store, spec: ModelSpec | InMemoryModel, *, log: Callable[[str], None]
) -> tuple[PlannedModel, str | None]:
    """Identify a model; return it with its checkpoint's revision. It is loaded only if the revision is unknown."""
    source = ModelSource.of(spec)
    revision = source.revision()
    if revision is not None:
        known = store.rows("select model_id from model_revisions where revision = ?", [revision])
        if known:
            return PlannedModel(stored_model(store, known[0][0]), known[0][0], source), revision
    code = whose_code(spec.loader, spec.options) if isinstance(spec, ModelSpec) else None
    log(
        f"loading {spec if isinstance(spec, ModelSpec) else spec.name} to identify the model"
        + (f" (this runs {code})" if code else "")
    )
    loaded = source.load()
    found = recognise(store.rows, describe(loaded))
    for note in (*loaded.notes, *_earlier_weights(store, loaded, revision), *found.notes):
        log(note)
    return PlannedModel(found.model, found.model.model_id, source), revision


def _earlier_weights(store: Store, loaded: LoadedModel, revision: str | None) -> Iterator[str]:
    """Notes for a checkpoint whose EMA weights are used now, where an earlier release ran its raw weights."""
    file = re.search(r"\b[0-9a-f]{64}\b", revision or "")
    if loaded.taken != "ema" or file is None:
        return
    query = """
        select distinct model from model_revisions join model_names using (model_id)
        where not list_contains(?, string_split(revision, '|')[1]) and contains(revision, ?)
    """
    for (model,) in store.rows(query, [list(EMA_RULES), file[0]]):
        yield f"the earlier run of this checkpoint, {model}, used the raw weights: weights=raw selects that model"


def stored_model(store: Store, model_id: str) -> Model:
    """The row of a model in the store."""
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
