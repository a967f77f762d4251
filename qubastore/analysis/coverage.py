"""Which runs a model is missing for each quality dimension, and the command that makes each of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qubastore.conditions import PILLOW
from qubastore.datasets.catalogue import KNOWN_DATASETS
from qubastore.errors import UsageError
from qubastore.lake.database import Database
from qubastore.lake.snapshot import Snapshot
from qubastore.metrics.dimensions import DIMENSIONS, Dimension
from qubastore.runs.lookup import named_model
from qubastore.runs.run import place


@dataclass(frozen=True)
class MissingRun:
    """A run that a dimension needs and the model does not have, or that cannot be used.

    Attributes:
        run: Description of the run, such as `imagenet-val under fgsm(eps=8/255)`.
        reason: Why it is missing or cannot be used.
        command: The command that makes it; empty if no command does.
    """

    run: str
    reason: str
    command: str


@dataclass(frozen=True)
class DimensionState:
    """The state of one dimension of one model.

    Attributes:
        dimension: Its name.
        value: Its value; None if something is missing.
        lacks: The missing runs, or the other reason why there is no value.
    """

    dimension: str
    value: float | None
    lacks: list[MissingRun] = field(default_factory=list)


def dimension_states(store: Database, model: str, suite: str = "quba") -> list[DimensionState]:
    """Every dimension of a measured model, with its value or what is missing for it.

    Args:
        store: An open store.
        model: Its name, as `qubastore show models` prints it.
        suite: Name of the suite.

    Raises:
        UsageError: on an unknown model or suite.
    """
    model, model_id = named_model(store, model, suite)
    return states_of_models(store, {model: model_id}, suite)[model]


def states_of_models(store: Database, models: Mapping[str, str], suite: str) -> dict[str, list[DimensionState]]:
    """The dimensions of several measured models, as `dimension_states` gives them for one, with the same few queries.

    Args:
        store: An open store.
        models: Name -> id.
        suite: Name of the suite.

    Raises:
        UsageError: on an unknown suite.
    """
    ids = list(models.values())
    columns = ", ".join(dimension.column for dimension in DIMENSIONS)
    with Snapshot(store, ["suites", "measured_dimensions", "dimension_runs"], tables=["models"]) as copy:
        tasks: list[Task] = copy.rows(
            "select role, dataset, condition, framing, decoder, n_samples from suites where suite = ? order by all",
            [suite],
        )
        if not tasks:
            known = [row[0] for row in copy.rows("select distinct suite from suites order by suite")]
            raise UsageError(f"unknown suite {suite!r}", expected=f"one of {', '.join(known)}")
        of_models = "where suite = ? and list_contains(?, model_id)"
        found = copy.rows(f"select model_id, {columns} from measured_dimensions {of_models}", [suite, ids])
        parameters = dict(copy.rows("select model_id, parameters / 1e6 from models"))
        answering = set(
            copy.rows(
                f"select model_id, dataset, condition, framing, decoder from dimension_runs {of_models}"
                " and run_id is not null",
                [suite, ids],
            )
        )
    figures = {model_id: values for model_id, *values in found}
    unanswered = {
        model: [task for task in tasks if (model_id, *task[1:5]) not in answering] for model, model_id in models.items()
    }
    lacking = _missing_runs(store, models, unanswered)
    states = {}
    for model, model_id in models.items():
        of_model = figures.get(model_id, [None] * len(DIMENSIONS))
        values = dict(zip((d.name for d in DIMENSIONS), of_model, strict=True))
        if values["parameters"] is None:
            values["parameters"] = parameters[model_id]
        states[model] = [_state(d, values, tasks, lacking[model], suite) for d in DIMENSIONS]
    return states


def _state(
    dimension: Dimension,
    values: Mapping[str, float | None],
    tasks: Sequence[Task],
    lacking: Mapping[tuple[str, ...], MissingRun],
    suite: str,
) -> DimensionState:
    value = values[dimension.name]
    lacks: list[MissingRun] = []
    if value is None:
        for role in dimension.roles:
            played = [task for task in tasks if task[0] == role]
            if not played:
                lacks.append(MissingRun(f"the role {role}", f"suite {suite} has no dataset in it", ""))
            lacks += [lacking[task[1:5]] for task in played if task[1:5] in lacking]
        lacks = lacks or [_other_reason(dimension.name, values)]
    return DimensionState(dimension.name, value, lacks)


Task = tuple[str, str, str, str, str, int | None]
"""Role, dataset, condition, framing, decoder, and the full number of samples if known."""


def _missing_runs(
    store: Database, models: Mapping[str, str], tasks: Mapping[str, Sequence[Task]]
) -> dict[str, dict[tuple[str, ...], MissingRun]]:
    """Model -> dataset, condition, framing and decoder -> the missing run, with the reason."""
    if not any(tasks.values()):
        return {model: {} for model in models}
    runs: dict[tuple[str, ...], list[_Run]] = {}
    for *task, run_id, n_samples, complete, done in store.rows(
        """
        with done as (select run_id, sum(n_samples)::bigint as n from shards group by run_id)
        select
            run.model_id, run.dataset, run.condition, run.framing, run.decoder, run.run_id, run.n_samples, run.complete,
            coalesce(done.n, 0)
        from run_details as run left join done using (run_id)
        where list_contains(?, run.model_id) order by run.n_samples desc, run.run_id
        """,
        [list(models.values())],
    ):
        runs.setdefault(tuple(task), []).append(_Run(run_id, n_samples, complete, done))
    paths = _dataset_paths(store)
    return {
        model: {
            task[1:5]: _missing_run(
                runs.get((model_id, *task[1:5]), []), task, command(model, task, paths.get(task[1], "PATH"))
            )
            for task in tasks[model]
        }
        for model, model_id in models.items()
    }


@dataclass(frozen=True)
class _Run:
    run_id: str
    n_samples: int
    complete: bool
    done: int


def _missing_run(runs: Sequence[_Run], task: Task, command: str) -> MissingRun:
    _, dataset, condition, framing, _, n_samples = task
    name = place(dataset, framing, condition)
    full = [run for run in runs if n_samples in (None, run.n_samples)]
    if len([run for run in full if run.complete]) > 1:
        ids = ", ".join(run.run_id for run in full)
        return MissingRun(name, f"several runs match: {ids}", f"qubastore rm run {full[-1].run_id}")
    if full:
        return MissingRun(name, f"unfinished: {full[0].done:,} of {full[0].n_samples:,} images", command)
    if runs:
        return MissingRun(name, f"a subset: {runs[0].n_samples:,} of {n_samples:,} images", command)
    return MissingRun(name, "not run" + ("" if n_samples is None else f" ({n_samples:,} images)"), command)


def _dataset_paths(store: Database) -> dict[str, str]:
    """Dataset -> the path that it was last read from, with its layout if that is not class folders."""
    rows = store.rows(
        """
        with cues as (
            -- Either all images of a dataset have a texture, or none.
            select dataset_id from samples where sample_id = 0 and factors['texture'] is not null
        )
        select datasets.name, datasets.root || if(cues.dataset_id is null, '', ',layout=shape-texture')
        from datasets left join cues using (dataset_id)
        where datasets.root is not null
        order by datasets.created_at
        """
    )
    return dict(rows)


def _other_reason(dimension: str, values: Mapping[str, float | None]) -> MissingRun:
    """Why there is no value although no run is missing."""
    if dimension == "parameters":
        return MissingRun("the model", "imported predictions do not give its number of parameters", "")
    if dimension in ("accuracy", "class_balance"):
        return MissingRun("the clean run", "it has too few classes or images", "")
    if dimension == "calibration_error":
        return MissingRun("the clean run", "it has no logits, which ACE needs: run it with --keep outputs,logits", "")
    if dimension == "shape_bias":
        return MissingRun("the cue-conflict run", "no decision was for a shape or a texture", "")
    if values["accuracy"] == 0:
        return MissingRun("the clean run", "clean accuracy is 0, so relative figures are undefined", "")
    return MissingRun("a run", "it has no accuracy: no image could be decoded", "")


def collapsed(lacks: Sequence[MissingRun]) -> list[MissingRun]:
    """Missing runs, with the parts of a known dataset merged where several are missing for the same reason."""
    sets: dict[tuple[str, str], list[MissingRun]] = {}
    for lack in lacks:
        part, _, framing = lack.run.partition(" ")
        name, slash, _ = part.partition("/")
        known = slash and part in KNOWN_DATASETS
        sets.setdefault((f"{name} {framing}".strip() if known else lack.run, lack.reason), []).append(lack)
    found = []
    for (name, reason), parts in sets.items():
        one = parts[0]
        if len(parts) > 1:
            cell = one.run.partition(" ")[0]
            command = one.command.replace(f"--dataset {cell}", f"--dataset {cell.partition('/')[0]}")
            one = MissingRun(f"{len(parts)} parts of {name}", reason, command)
        found.append(one)
    return found


def spec_text(model: str) -> str:
    """The model specification to type, as far as the name gives it: a `python:` file's folder is not part of it."""
    name = re.sub(r"@[0-9a-f]{6}$", "", model)
    return name.replace("python:", "python:DIR/", 1) if name.startswith("python:") else name


def command(model: str, task: Task, path: str) -> str:
    """The command that makes a run."""
    _, dataset, condition, framing, decoder, _ = task
    known = KNOWN_DATASETS.get(dataset)
    words = ["qubastore", "ingest", "--model", spec_text(model)]
    words += ["--dataset", dataset, "--data-root", "DIR"] if known else ["--dataset", f"{dataset}={path}"]
    if framing != (known.framing if known else "model"):
        words += ["--framing", framing]
    if condition != "clean":
        words += ["--condition", condition]
    if decoder != PILLOW:
        words += ["--decoder", decoder]
    return shlex.join(words)
