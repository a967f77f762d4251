"""Plan an ingest: its runs, their missing shards, and the models that share decoding. Avoids loading weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from qubastore.conditions import PILLOW, Condition
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.label_spaces import TRANSFER
from qubastore.errors import ModelError, QubastoreError, UsageError, in_one_line
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.evaluators.planning.fit import check_decoder, check_fit, check_precision, kept_kinds
from qubastore.evaluators.planning.identify import PlannedModel, distinct, with_unique_names
from qubastore.evaluators.planning.probes import (
    check_not_fitted_on,
    identify_requested,
    is_probe,
    is_run_as_probe,
    note_sources,
)
from qubastore.evaluators.planning.tasks import Task
from qubastore.evaluators.worker.corruptions import frost_photographs
from qubastore.evaluators.worker.images import image_bytes
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec
from qubastore.runs import records
from qubastore.runs.outputs import KINDS
from qubastore.runs.run import Run, new_shard_size, place
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb


GROUP_PARAMETERS = 2_000_000_000
"""Maximum number of parameters in one evaluator: 8 GB in fp32, so that a group and its activations fit a GPU."""


_PACKAGES = ("qubastore", "torch", "torchvision", "timm", "numpy", "pillow", "ray")


@dataclass(frozen=True)
class PlannedRun:
    """A run with its missing shards, and the kinds of output to keep: those kept before and those requested now."""

    run: Run
    model: PlannedModel
    dataset: Dataset
    missing: tuple[int, ...]
    keep: tuple[str, ...]

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How the run's images are decoded; None if the model preprocesses them itself."""
        own = self.model.preprocessing
        return own.framed(self.run.framing).under(self.condition) if own else None

    @property
    def label_space(self) -> str:
        """How its outputs become the dataset's classes."""
        return self.run.answer_space or self.dataset.label_space

    @property
    def image_bytes(self) -> int:
        """About the size of one image in bytes, as it is sent to an evaluator."""
        return image_bytes(self.preprocessing, self.run.decoder)

    @property
    def condition(self) -> Condition:
        """How the run's inputs are altered."""
        return Condition.parse(self.run.condition)

    @property
    def group(self) -> str:
        """Key of the group of runs that share decoding."""
        altered = f" shifted {self.condition.shift}" if self.condition.shift else ""
        # Every corruption in one group: its models are loaded once.
        altered += " corrupted" if self.condition.corruption else ""
        own = f"callable {self.model.model_id}" if self.preprocessing is None else self.preprocessing.decode_key
        return own + altered

    @property
    def place(self) -> str:
        """The dataset, with the framing and condition if they are not the default."""
        return place(self.dataset.name, self.run.framing, self.run.condition)

    @property
    def n_images(self) -> int:
        """Number of images to run."""
        return sum(end - first for first, end in map(self.run.shard_range, self.missing))


@dataclass(frozen=True)
class Plan:
    """All requested runs, in order, and what could not be planned: (model, place, error)."""

    runs: tuple[PlannedRun, ...]
    replace: bool
    errors: tuple[tuple[str, str, QubastoreError], ...] = ()

    @property
    def todo(self) -> list[PlannedRun]:
        """The runs with missing shards."""
        return [planned for planned in self.runs if planned.missing]

    def groups(self) -> list[list[PlannedRun]]:
        """The runs to do, grouped by shared decoding, each group small enough for one device."""
        by_key: dict[str, list[PlannedRun]] = {}
        for planned in self.todo:
            by_key.setdefault(planned.group, []).append(planned)
        groups = []
        for runs in by_key.values():
            part: list[PlannedRun] = []
            held: dict[str, int] = {}
            for planned in runs:
                size = planned.model.model.parameters or 0
                if planned.model.model_id not in held and held and sum(held.values()) + size > GROUP_PARAMETERS:
                    groups.append(part)
                    part, held = [], {}
                held[planned.model.model_id] = size
                part.append(planned)
            groups.append(part)
        return groups


def plan(
    store: Store,
    models: Sequence[ModelSpec | InMemoryModel],
    tasks: Sequence[Task],
    *,
    precision: str,
    decoder: str = PILLOW,
    keep: tuple[str, ...] | None,
    batch_size: int | None = None,
    force: bool,
    register: bool,
    log: Callable[[str], None],
) -> Plan:
    """Determine what to run; with `register`, store the models, datasets and runs.

    Args:
        store: The store.
        models: Models, in order.
        tasks: What to run each model on.
        precision: Precision of the forward passes.
        decoder: What decodes the images.
        keep: Kinds of output; None means each dataset's own choice.
        batch_size: The number of images per forward pass, if it is fixed; the shards of new runs are multiples of it.
        force: Run complete shards again, and retry input sizes that a network did not support.
        register: Whether to store models, datasets and runs.
        log: Called with lines for the user.

    Raises:
        ModelError: if a model cannot be loaded or does not fit a dataset.
        UsageError: if a dataset is named twice, or there is nothing to run.
    """
    if not models or not tasks:
        raise UsageError("there is nothing to ingest", expected="at least one model and one dataset")
    datasets: dict[str, Dataset] = {}
    for task in tasks:
        if datasets.setdefault(task.dataset.name, task.dataset) is not task.dataset:
            raise UsageError(f"the dataset {task.dataset.name} is named twice", hint="give each a unique name")
    _report_notes(datasets.values(), log)
    if any(task.condition.corruption and task.condition.corruption.name == "frost" for task in tasks):
        frost_photographs()
    errors: list[tuple[str, str, QubastoreError]] = []
    identified = _identified(store, models, errors, log)
    planned = with_unique_names(store, distinct([model for model, _ in identified], log))
    pairs, unseen = [], set()
    noted = set(store.rows("select model_id, condition from unsupported")) if not force else set()
    for model, task in itertools.product(planned, tasks):
        if (model.model_id, str(task.condition)) in noted:
            log(f"left out: {model.title} cannot be run under {task.condition}, as recorded before")
            continue
        unanswered = not model.model.has_head or task.dataset.label_space == TRANSFER
        if task.condition.is_attack and unanswered and is_run_as_probe(model, planned):
            log(f"left out: {model.title} under {task.condition}, where its probe is run instead")
            continue
        if model.head is not None and task.dataset.dataset_id in model.head.datasets:
            log(f"left out: {model.title} on {task.dataset.name}, which it was fitted on")
            continue
        try:
            space = check_fit(model, task, kept_kinds(model, task.dataset, keep))
            if model.head is not None and (model.model_id, task.dataset.dataset_id) not in unseen:
                check_not_fitted_on(store, model, task.dataset)
                unseen.add((model.model_id, task.dataset.dataset_id))
            check_decoder(model, task, decoder)
            check_precision(model, precision)
            pairs.append((model, task, space))
        except QubastoreError as error:
            errors.append((model.title, task.dataset.name, error))
    # If nothing can be run, the request was wrong; otherwise the other runs continue.
    if not pairs and errors:
        raise errors[0][2]
    for name, where, reason in errors:
        log(f"{name} on {where}: failed\n{reason}")
    stored = {row[0]: row[1] for row in store.rows("select run_id, shard_size from runs")}
    committed = _committed(store)
    versions = {package: version(package) for package in _PACKAGES}
    runs = []
    for model, task, space in pairs:
        dataset = task.dataset
        size = len(dataset.samples)
        run = Run(
            model.model_id,
            dataset.dataset_id,
            size,
            new_shard_size(size, batch_size),
            framing=task.framing,
            condition=str(task.condition),
            precision=precision,
            decoder=decoder,
            answer_space="" if space == dataset.label_space else space,
            versions=versions,
        )
        run = replace(run, shard_size=stored.get(run.run_id, run.shard_size))
        kept = committed.get(run.run_id, {})
        # Requesting another kind of output never drops one that is stored.
        kinds = set(kept_kinds(model, dataset, keep)).union(*kept.values())
        missing = [n for n in range(run.n_shards) if force or not kinds <= kept.get(n, set())]
        ordered = tuple(kind for kind in KINDS if kind in kinds)
        runs.append(PlannedRun(run, model, dataset, tuple(missing), ordered))
    if register:
        store.write(lambda c: _register(c, identified, datasets.values(), runs), repeatable=True)
    return Plan(tuple(runs), force, tuple(errors))


def _identified(
    store: Store,
    models: Sequence[ModelSpec | InMemoryModel],
    errors: list[tuple[str, str, QubastoreError]],
    log: Callable[[str], None],
) -> list[tuple[PlannedModel, str | None]]:
    """The models, in order, with the revisions of their checkpoints; errors of the others are added to `errors`."""
    found: dict[int, tuple[PlannedModel, str | None]] = {}
    # Probes come last: a backbone may be among the models.
    for number, spec in sorted(enumerate(models), key=lambda item: is_probe(item[1])):
        requested = str(spec) if isinstance(spec, ModelSpec) else spec.name
        try:
            found[number] = identify_requested(store, spec, [model for model, _ in found.values()], log=log)
        except QubastoreError as error:
            errors.append((requested, "every dataset", error))
        except Exception as error:  # from a library: the other models continue
            text = in_one_line(error)
            errors.append((requested, "every dataset", ModelError(f"{requested} cannot be loaded", found=text[:300])))
    return [found[number] for number in sorted(found)]


def _report_notes(datasets: Iterable[Dataset], log: Callable[[str], None]) -> None:
    """Log the notes of datasets, each note once for all datasets that have it."""
    names: dict[str, list[str]] = {}
    for dataset in datasets:
        for note in dataset.notes:
            names.setdefault(note, []).append(dataset.name)
    for note, with_note in names.items():
        more = f" and {len(with_note) - 1} more" if len(with_note) > 1 else ""
        log(f"dataset {with_note[0]}{more}: {note}")


def _register(
    connection: duckdb.DuckDBPyConnection,
    identified: Iterable[tuple[PlannedModel, str | None]],
    datasets: Iterable[Dataset],
    runs: Iterable[PlannedRun],
) -> None:
    for model, revision in identified:
        records.register_model(connection, model.model, revision, model.source.checkpoint)
    for dataset in datasets:
        records.register_dataset(connection, dataset)
    for planned in runs:
        records.register_run(connection, planned.run)
        note_sources(connection, planned.model, planned.run.run_id)


def _committed(store: Store) -> dict[str, dict[int, set[str]]]:
    found: dict[str, dict[int, set[str]]] = {}
    for run_id, shard, kept in store.rows("select run_id, shard, kept from shards"):
        found.setdefault(run_id, {})[shard] = set(kept)
    return found
