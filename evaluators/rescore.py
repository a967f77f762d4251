"""Rescoring: new prompts or another temperature for a zero-shot model, from kept image features, without images.

The result is a run of a new model (same weights, another head), as if that model had been ingested; its origin is
`derived`, and the table `derivations` has the run that it comes from. Features are kept at 16 significant bits, so its
logits agree with those of an image pass to within 2^-16 of the logit scale.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qubastore.derived.recipe import Recipe, derive
from qubastore.errors import ModelError, UsageError
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.loaded import Head, LoadedModel
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.planning.heads import read_head, store_head
from qubastore.hashing import canonical_json
from qubastore.models.model import Model
from qubastore.models.recognition import recognise
from qubastore.models.spec import ModelSpec
from qubastore.runs import records
from qubastore.runs.publish import publish_runs
from qubastore.store import Store


@dataclass(frozen=True)
class Rescored:
    """The result of rescoring a model.

    Attributes:
        model: Name of the new model.
        runs: (dataset, condition, run id) of each run, also of those that existed before.
        skipped: (dataset, condition) of runs without kept features.
    """

    model: str
    runs: list[tuple[str, str, str]]
    skipped: list[tuple[str, str]]


def rescore(
    store: Store,
    model: str,
    *,
    templates: str | None = None,
    temperature: float | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Rescored:
    """Apply other prompts or another temperature to the kept features of every complete run of a model.

    Args:
        store: A store open for writing.
        model: `open_clip:...`, as it was ingested.
        templates: A file of prompts; None keeps the model's.
        temperature: Divides the logits; None keeps the model's.
        log: Called with lines for the user.

    Returns:
        The new model and its runs.

    Raises:
        UsageError: if the model is not a zero-shot model, nothing changes, or none of its runs kept features.
        ModelError: if the text encoder is needed and cannot be loaded.
    """
    spec = ModelSpec.parse(model)
    if spec.loader != "open_clip":
        raise UsageError(
            f"{model} is not a zero-shot model of open_clip",
            expected="open_clip:ARCH/PRETRAINED, as it was ingested",
            hint="for a model of transformers, ingest it with ,templates=FILE or ,temperature=T" * (spec.loader == "hf")
            or None,
        )
    options = dict(spec.options)
    if templates is not None:
        options["templates"] = templates
    exact = None if temperature is None else exact_number(temperature)
    if exact is not None:
        options["temperature"] = exact
    if options == dict(spec.options):
        raise UsageError("nothing changes", hint="--templates FILE, --temperature T, or both")
    _check_ingested(store, spec, model)
    new = _load(store, ModelSpec(spec.loader, spec.target, options), log)
    source_id = _source(store, spec, new.model)
    if new.model.model_id == source_id:
        raise UsageError("nothing changes: these are the model's own prompts and temperature")
    runs = store.rows(
        """
        select run.run_id, run.dataset, run.condition, bool_and(list_contains(shards.kept, 'features')) as has_features
        from run_details as run join shards using (run_id)
        where run.model_id = ? and run.complete
        group by all order by run.dataset, run.condition
        """,
        [source_id],
    )
    if not any(run[3] for run in runs):
        raise UsageError(
            f"no complete run of {model} kept features",
            hint=f"qubastore ingest --model {shlex.quote(model)} --keep outputs,logits,features ...",
        )
    head = _head(store, new, source_id, log)
    changes = {"--templates": templates, "--temperature": exact}
    words = [word for name, value in changes.items() if value is not None for word in (name, value)]
    command = shlex.join(["qubastore", "rescore", model, *words])
    rescored: list[tuple[str, str, str]] = []
    for run_id, dataset, condition, has_features in runs:
        if has_features:
            log(f"{new.model.name} on {dataset}: from kept features")
            rescored.append((dataset, condition, _rescore_run(store, run_id, new.model, head, command)))
    publish_runs(store)
    return Rescored(new.model.name, rescored, [(run[1], run[2]) for run in runs if not run[3]])


def exact_number(value: float) -> str:
    """The shortest text that parses to exactly this number: it is part of a model's name and identity."""
    return repr(float(value)).removesuffix(".0")


@dataclass(frozen=True)
class _New:
    """The model with other prompts or another temperature."""

    model: Model
    loaded: LoadedModel


def _check_ingested(store: Store, spec: ModelSpec, text: str) -> None:
    """Refuse a model that was never ingested, before loading anything."""
    if not store.rows("select 1 from models where name = ? and loader = 'open_clip'", [_name(spec)]):
        known = [row[0] for row in store.rows("select name from models where loader = 'open_clip' order by name")]
        raise UsageError(
            f"{text} is not in the store",
            expected=f"one of {', '.join(known)}" if known else "a zero-shot model that was ingested",
            hint=f"qubastore ingest --model {shlex.quote(text)} --keep outputs,logits,features ...",
        )


def _load(store: Store, spec: ModelSpec, log: Callable[[str], None]) -> _New:
    log(f"loading {spec} to identify the model")
    loaded = ModelSource.of(spec).load()
    found = recognise(store.rows, describe(loaded))
    for note in (*loaded.notes, *found.notes):
        log(note)
    return _New(found.model, loaded)


def _source(store: Store, spec: ModelSpec, new: Model) -> str:
    """The id of the ingested model with the new one's weights, preprocessing and activations: names may be reused.

    Raises:
        ModelError: if there is none, or more than one.
    """
    rows = store.rows(
        "select model_id, architecture, preprocessing from models where name = ? and loader = 'open_clip'",
        [_name(spec)],
    )
    same = ("open_clip", "weights", "activations", "classes")
    found = [
        model_id
        for model_id, architecture, preprocessing in rows
        if preprocessing == canonical_json(new.preprocessing)
        and all(json.loads(architecture).get(key) == new.architecture[key] for key in same)
    ]
    if len(found) != 1:
        raise ModelError(
            f"the weights of {spec} match {len(found)} of the {len(rows)} stored models named {_name(spec)}",
            expected="exactly one match: features belong to the weights that computed them",
            hint="give the same checkpoint that was ingested; qubastore show models",
        )
    return str(found[0])


def _name(spec: ModelSpec) -> str:
    return spec.display()


def _head(store: Store, new: _New, source_id: str, log: Callable[[str], None]) -> Head:
    """The head of the new model; the text encoder is run only for new prompts."""
    import torch

    head, old = read_head(store, new.model.model_id), read_head(store, source_id)
    texts: Any = new.loaded.texts
    if head is None and old is not None and old.templates == texts.templates:
        # The same prompts: only the scale differs.
        head = replace(old, logit_scale=texts.logit_scale, logit_bias=texts.logit_bias)
    if head is None:
        log("encoding the prompts")
        if torch.cuda.is_available():
            new.loaded.module.cuda()
        head = texts.encode()
    store.write(lambda connection: records.register_model(connection, new.model))
    store_head(store, new.model.model_id, head)
    return head


def _rescore_run(store: Store, source: str, model: Model, head: Head, command: str) -> str:
    """Create a run of the new model from the features of a run of the old one; return its id."""

    def logits(_: Any, features: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        # In float64, because cosines of vectors rounded to 16 bits are multiplied by about 100.
        cosines = features[0].astype(np.float64) @ head.vectors.astype(np.float64).T
        scaled: NDArray[np.float32] = (cosines * head.logit_scale + head.logit_bias).astype(np.float32)
        return scaled

    return derive(store, model, Recipe("rescore", command, "features", [source], logits))
