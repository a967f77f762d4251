"""Planning an ingest: which runs, which shards are missing, which models share decoding. Avoids loading weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from qubastore.conditions import Condition
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.label_spaces import label_space
from qubastore.errors import ModelError, QubastoreError, UsageError, in_one_line
from qubastore.evaluators.loaders.features import no_features
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.evaluators.planning.identify import PlannedModel, distinct, identify, told_apart
from qubastore.evaluators.planning.tasks import Task
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec
from qubastore.runs import records
from qubastore.runs.outputs import DEFAULT_KEEP, KINDS
from qubastore.runs.run import Run, default_shard_size, place
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb


GROUP_PARAMETERS = 2_000_000_000
"""Parameters that one evaluator holds at most: 8 GB in fp32, so that a group fits a GPU beside its activations."""


_PACKAGES = ("qubastore", "torch", "torchvision", "timm", "numpy", "pillow", "ray")


@dataclass(frozen=True)
class PlannedRun:
    """A run with the shards that it lacks, and what is to be kept of them: what was kept before, and what is asked."""

    run: Run
    model: PlannedModel
    dataset: Dataset
    missing: tuple[int, ...]
    keep: tuple[str, ...]

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How the run's images are decoded; None where the model prepares them itself."""
        own = self.model.preprocessing
        return own.framed(self.run.framing).under(self.condition) if own else None

    @property
    def condition(self) -> Condition:
        """How the run's inputs are altered."""
        return Condition.parse(self.run.condition)

    @property
    def group(self) -> str:
        """Runs of a group share decoding."""
        if self.preprocessing is None:
            return f"callable {self.model.model_id}"
        shift = self.condition.shift
        return self.preprocessing.decode_key + (f" shifted {shift}" if shift else "")

    @property
    def place(self) -> str:
        """The dataset, and what is unusual about the run."""
        return place(self.dataset.name, self.run.framing, self.run.condition)

    @property
    def n_images(self) -> int:
        """Images that are to go through the model."""
        return sum(end - first for first, end in map(self.run.shard_range, self.missing))


@dataclass(frozen=True)
class Plan:
    """All runs that were asked for, in order, and what could not be planned: (model, place, error)."""

    runs: tuple[PlannedRun, ...]
    replace: bool
    errors: tuple[tuple[str, str, QubastoreError], ...] = ()

    @property
    def todo(self) -> list[PlannedRun]:
        """The runs that lack something."""
        return [planned for planned in self.runs if planned.missing]

    def groups(self) -> list[list[PlannedRun]]:
        """Runs to do, by models that share decoding, each group small enough for one device."""
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
    keep: tuple[str, ...] | None,
    force: bool,
    register: bool,
    log: Callable[[str], None],
) -> Plan:
    """Find out what is to be done; with `register`, note models, datasets and runs in the store.

    Args:
        store: The store.
        models: Models, in order.
        tasks: What each is to be run on.
        precision: Of the forward passes.
        keep: Kinds of output; None means each dataset's own choice.
        force: Whether what is there is to be run again, and what a network could not take is to be tried again.
        register: Whether to note it in the store.
        log: Takes lines for the user.

    Raises:
        ModelError: where a model cannot be loaded or does not fit a dataset.
        UsageError: where a model or dataset is named twice.
    """
    if not models or not tasks:
        raise UsageError("there is nothing to ingest", expected="at least one model and one dataset")
    datasets: dict[str, Dataset] = {}
    for task in tasks:
        if datasets.setdefault(task.dataset.name, task.dataset) is not task.dataset:
            raise UsageError(f"the dataset {task.dataset.name} is named twice", hint="give each a name of its own")
    _report_notes(datasets.values(), log)
    errors: list[tuple[str, str, QubastoreError]] = []
    identified = []
    for spec in models:
        asked = str(spec) if isinstance(spec, ModelSpec) else spec.name
        try:
            identified.append(identify(store, spec, log=log))
        except QubastoreError as error:
            errors.append((asked, "every dataset", error))
        except Exception as error:  # a library's own: the other models go on
            text = in_one_line(error)
            errors.append((asked, "every dataset", ModelError(f"{asked} cannot be loaded", found=text[:300])))
    planned = told_apart(store, distinct([model for model, _ in identified], log))
    pairs = []
    noted = set(store.rows("select model_id, condition from unsupported")) if not force else set()
    for model, task in itertools.product(planned, tasks):
        if (model.model_id, str(task.condition)) in noted:
            log(f"left out: {model.title} cannot be run under {task.condition}, as was noted before")
            continue
        try:
            _check_fit(model, task, keep or task.dataset.keep or ())
            pairs.append((model, task))
        except QubastoreError as error:
            errors.append((model.title, task.dataset.name, error))
    # With nothing left to do, what was asked for was wrong; else the others go on.
    if not pairs and errors:
        raise errors[0][2]
    for name, where, reason in errors:
        log(f"{name} on {where}: given up\n{reason}")
    stored = {row[0]: row[1] for row in store.rows("select run_id, shard_size from runs")}
    committed = _committed(store)
    versions = {package: version(package) for package in _PACKAGES}
    runs = []
    for model, task in pairs:
        dataset = task.dataset
        size = len(dataset.samples)
        run = Run(
            model.model_id,
            dataset.dataset_id,
            size,
            default_shard_size(size),
            framing=task.framing,
            condition=str(task.condition),
            precision=precision,
            versions=versions,
        )
        run = replace(run, shard_size=stored.get(run.run_id, run.shard_size))
        kept = committed.get(run.run_id, {})
        # Asking for another kind never loses one that is there.
        kinds = set(keep or dataset.keep or DEFAULT_KEEP).union(*kept.values())
        missing = [n for n in range(run.n_shards) if force or not kinds <= kept.get(n, set())]
        ordered = tuple(kind for kind in KINDS if kind in kinds)
        runs.append(PlannedRun(run, model, dataset, tuple(missing), ordered))
    if register:
        store.write(lambda c: _register(c, identified, datasets.values(), runs), repeatable=True)
    return Plan(tuple(runs), force, tuple(errors))


def _report_notes(datasets: Iterable[Dataset], log: Callable[[str], None]) -> None:
    """What users should know of datasets; what is true of several is said once."""
    names: dict[str, list[str]] = {}
    for dataset in datasets:
        for note in dataset.notes:
            names.setdefault(note, []).append(dataset.name)
    for note, of in names.items():
        log(f"dataset {of[0]}{f' and {len(of) - 1} more' if len(of) > 1 else ''}: {note}")


def _register(
    connection: duckdb.DuckDBPyConnection,
    identified: Iterable[tuple[PlannedModel, str | None]],
    datasets: Iterable[Dataset],
    runs: Iterable[PlannedRun],
) -> None:
    for model, revision in identified:
        records.register_model(connection, model.model, revision)
    for dataset in datasets:
        records.register_dataset(connection, dataset)
    for planned in runs:
        records.register_run(connection, planned.run)


def _committed(store: Store) -> dict[str, dict[int, set[str]]]:
    found: dict[str, dict[int, set[str]]] = {}
    for run_id, shard, kept in store.rows("select run_id, shard, kept from shards"):
        found.setdefault(run_id, {})[shard] = set(kept)
    return found


def _check_fit(model: PlannedModel, task: Task, keep: tuple[str, ...]) -> None:
    dataset, condition = task.dataset, task.condition
    space = label_space(dataset.label_space)
    classes = space.n_outputs or len(dataset.classes)
    if space.rule != "none" and model.model.num_classes != classes:
        raise ModelError(
            f"{model.title} does not fit the dataset {dataset.name}",
            expected=f"{classes} classes, those of the label space {dataset.label_space}",
            found=f"{model.model.num_classes} classes",
            hint="choose a model trained on these classes",
        )
    if condition.is_attack and space.rule != "identity":
        raise UsageError(
            f"{condition} climbs the loss of a model's own classes, and {dataset.name} has others",
            expected=f"a dataset in the model's own classes, not in the label space {space.name}",
        )
    if condition.is_attack and model.preprocessing is None:
        raise ModelError(
            f"{model.title} prepares its images itself, so {condition} has no pixels to alter",
            expected="a timm data config: attacks work on pixels in [0, 1], with the normalisation inside the model",
        )
    if condition.is_transformation and model.preprocessing is None:
        raise ModelError(
            f"{model.title} prepares its images itself, so {condition} cannot come before its crop",
            hint="return a timm data config instead of a function",
        )
    if task.framing != "model" and model.preprocessing is None:
        raise ModelError(
            f"{model.title} prepares its images itself, so {dataset.name} cannot be framed as {task.framing}",
            hint="return a timm data config instead of a function, or --framing model",
        )
    if "features" in keep and model.model.feature_width is None:
        raise no_features(model.title)
