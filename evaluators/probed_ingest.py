"""An ingest of backbones on a task of one's own: their features, a probe for each, and what needs both together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qubastore.conditions import Condition
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.label_spaces import OWN_CLASSES, TRANSFER
from qubastore.datasets.task_layouts import SPLITS
from qubastore.derived.probe_models import save_probe
from qubastore.errors import QubastoreError, UsageError
from qubastore.evaluators.driver import ingest
from qubastore.evaluators.ingest_report import IngestReport
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.evaluators.planning.configuration import ProbeTask
from qubastore.evaluators.planning.plan import PlannedRun
from qubastore.evaluators.progress import Display, Silent
from qubastore.metrics.suites import Suite
from qubastore.models.loaders import PROBE
from qubastore.models.spec import ModelSpec
from qubastore.store import Store


def ingest_with_probes(
    store: Store,
    models: Sequence[ModelSpec | InMemoryModel | str],
    datasets: Sequence[Dataset],
    *,
    suite: Suite,
    probe: ProbeTask,
    display: Display | None = None,
    **options: Any,
) -> list[IngestReport]:
    """Run backbones over the datasets of a suite and keep features, fit a probe for each, and attack the probes.

    Probes are called `probe:TASK-MODEL`. Steps that are done are not repeated.

    Args:
        store: A store open for writing.
        models: As for `ingest`.
        datasets: The splits of the task, and other datasets of the same classes.
        suite: The suite: its conditions are run, attacks on backbone and probe together.
        probe: The task to probe, and how.
        display: Shows progress.
        options: Further arguments of `ingest`, but not `conditions` or `keep`.

    Returns:
        A report of the backbones' runs, with probes that could not be fitted among its errors; and one of the attacks,
        if the suite has any and it is no dry run.

    Raises:
        UsageError: if the task has no splits, or attacks are asked of k-NN probes.
    """
    display = display or Silent()
    attacks = [role for role in suite.roles if Condition.parse(role.condition).is_attack]
    _check(datasets, suite, probe, bool(attacks), options)
    named = [data for data in datasets if data.name in suite.datasets or data.name.startswith(f"{probe.task}/")]
    data = [_of_the_task(each) for each in named]
    others = replace(suite, roles=tuple(role for role in suite.roles if role not in attacks))
    report = ingest(store, models, data, suite=others, keep=("outputs", "features"), display=display, **options)
    if options.get("dry_run"):
        return [report]
    saved = []
    for title, runs in _splits(report, probe.task).items():
        try:
            found = save_probe(
                store, title, name=probe_name(probe.task, title), method=probe.method, log=display.log, **runs
            )
        except QubastoreError as error:
            display.log(f"probe of {title} on {probe.task}: failed\n{error}")
            report.errors.append((title, f"{probe.task}, as a probe", error))
            continue
        saved.append(found.model)
    if not attacks or not saved:
        return [report]
    attacked = [each for each in data if each.name in {role.dataset for role in attacks}]
    of_attacks = replace(suite, roles=tuple(attacks))
    return [report, ingest(store, [*models, *saved], attacked, suite=of_attacks, display=display, **options)]


def probe_name(task: str, model: str) -> str:
    """The name of the probe of a model on a task, without the model's loader."""
    backbone = model.partition(":")[2] if re.match(r"\w+:", model) else model
    return re.sub(r"[,:@=\s/]+", "-", f"{task}-{backbone}")


def _check(
    datasets: Sequence[Dataset], suite: Suite, probe: ProbeTask, has_attacks: bool, options: dict[str, Any]
) -> None:
    names = {data.name for data in datasets}
    if missing := {f"{probe.task}/{split}" for split in ("train", "test")} - names:
        raise UsageError(
            f"the task {probe.task} has no {' and no '.join(sorted(missing))}",
            expected='a dataset with splits: layout = "splits", or "holdout" for class folders without splits',
        )
    if not any((role.dataset, role.condition) == (f"{probe.task}/test", "clean") for role in suite.roles):
        raise UsageError(
            f"suite {suite.name} has no role with {probe.task}/test as it is, on which the probes are tested",
            hint=f'clean = {{ dataset = "{probe.task}/test", samples = N }}',
        )
    if has_attacks and probe.method == "knn":
        raise UsageError(
            "the suite has attacks, and k-NN probes have no gradients",
            hint='method = "linear" in [probe], or leave out the role adversarial',
        )
    if given := [name for name in ("conditions", "keep", "limit") if options.get(name) is not None]:
        raise UsageError(
            f"{given[0]} cannot be chosen in a suite with [probe]",
            expected="the suite's own conditions, on all images, with the features that probes are fitted on",
        )


def _of_the_task(data: Dataset) -> Dataset:
    """A dataset of the user's own classes, which are those of the task and not the models'."""
    return replace(data, label_space=TRANSFER) if data.label_space == OWN_CLASSES else data


def _splits(report: IngestReport, task: str) -> dict[str, dict[str, Any]]:
    """Model -> split -> id of its run on the unaltered images of a task."""
    found: dict[str, dict[str, Any]] = {}

    def is_split(planned: PlannedRun) -> bool:
        return planned.dataset.name.startswith(f"{task}/") and planned.run.condition == "clean"

    for planned in filter(is_split, report.plan.runs):
        split = planned.dataset.name.removeprefix(f"{task}/")
        if planned.model.model.loader != PROBE and split in SPLITS:
            found.setdefault(planned.model.title, {})[split] = planned.run.run_id
    # What a model has no run of could not be planned, which is reported already.
    return {title: runs for title, runs in found.items() if {"train", "test"} <= runs.keys()}
