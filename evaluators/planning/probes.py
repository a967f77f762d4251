"""Probes in an ingest: models made of a backbone and a head that the store keeps."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qubastore.datasets.dataset import Dataset
from qubastore.derived.probe_heads import fitted_images, read_probe_head
from qubastore.derived.recipe import check_unchanged
from qubastore.errors import ModelError, UsageError
from qubastore.evaluators.loaders.probed import ProbedModel
from qubastore.evaluators.loaders.source import InMemoryModel, ModelSource
from qubastore.evaluators.planning.identify import PlannedModel, identify, stored_model
from qubastore.lake.rows import insert
from qubastore.models.loaders import PROBE
from qubastore.models.spec import ModelSpec
from qubastore.runs.commit import known_contents
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb


def identify_requested(
    store: Store,
    spec: ModelSpec | InMemoryModel,
    requested: Sequence[PlannedModel] = (),
    *,
    log: Callable[[str], None],
) -> tuple[PlannedModel, str | None]:
    """Identify a model as `identify` does, or a probe that the store keeps, which has no revision.

    Args:
        store: The store.
        spec: The model.
        requested: The models of the request that are identified already; see `identify_probe`.
        log: Called with lines for the user.
    """
    if is_probe(spec):
        return identify_probe(store, str(spec), requested, log=log), None
    return identify(store, spec, log=log)


def is_probe(spec: ModelSpec | InMemoryModel) -> bool:
    """Whether a spec names a probe that the store keeps."""
    return isinstance(spec, ModelSpec) and spec.loader == PROBE


def identify_probe(
    store: Store, name: str, requested: Sequence[PlannedModel], *, log: Callable[[str], None]
) -> PlannedModel:
    """The probe of a name as a model to run: its backbone, loaded as it was before, with its head.

    Args:
        store: The store.
        name: `probe:NAME`.
        requested: The other models of the request; if the backbone is one of them, it is loaded as that one.
        log: Called with lines for the user.

    Raises:
        UsageError: if there is no such probe, or its head is not kept or not linear.
        ModelError: if it cannot be told how to load its backbone.
    """
    head = read_probe_head(store, name)
    backbone = next((model for model in requested if model.model_id == head.backbone_id), None)
    if backbone is None:
        try:
            backbone, _ = identify(store, ModelSpec.parse(head.backbone), log=log)
        except (UsageError, ModelError) as error:
            raise _unknown_backbone(name, head.backbone, str(error).splitlines()[0]) from None
    if backbone.model_id != head.backbone_id:
        raise _unknown_backbone(name, head.backbone, f"the model of this name is now {backbone.model_id}")
    source = ModelSource(ProbedModel(name, backbone.model, backbone.source, head.classifier))
    return PlannedModel(stored_model(store, head.model_id), head.model_id, source, head=head)


def _unknown_backbone(name: str, backbone: str, found: str) -> ModelError:
    return ModelError(
        f"the backbone of {name} cannot be loaded by its name, {backbone}",
        expected="the backbone among the models, named as when it was ingested",
        found=found,
        hint=f"--model BACKBONE --model {shlex.quote(name)}",
    )


def check_not_fitted_on(store: Store, model: PlannedModel, dataset: Dataset) -> None:
    """Refuse a dataset with images that a probe was fitted on, as far as its images have been read before.

    Raises:
        UsageError: with their number.
    """
    seen = fitted_images(store, model.model_id)
    known = known_contents(store, dataset.dataset_id)
    places = {known.get(sample, f"{dataset.dataset_id}/{sample}") for sample in range(len(dataset.samples))}
    if n := len(places & seen):
        raise UsageError(
            f"{model.title} was fitted on {n:,} of the {len(places):,} images of {dataset.name}",
            expected="images that it has not seen: a model tested on what it was fitted on proves nothing",
        )


def is_run_as_probe(model: PlannedModel, models: Iterable[PlannedModel]) -> bool:
    """Whether a model is the backbone of a requested probe, which runs where the backbone has no answers."""
    return any(other.head is not None and other.head.backbone_id == model.model_id for other in models)


def note_sources(connection: duckdb.DuckDBPyConnection, model: PlannedModel, run_id: str) -> None:
    """Store what a run of a probe depends on, so that it is emptied when the features that it was fitted on change.

    Raises:
        StoreError: if they have changed since the head was read.
    """
    if model.head is None:
        return
    check_unchanged(connection, model.head.fitted_on, model.title)
    connection.execute("delete from derivations where run_id = ?", [run_id])
    now = datetime.now(UTC)
    rows = [(run_id, source, PROBE, state, now, model.head.command) for source, state in model.head.fitted_on.items()]
    insert(connection, "derivations", rows)
