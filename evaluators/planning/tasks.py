"""Tasks: datasets under framings and conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qubastore.conditions import CLEAN, Condition
from qubastore.datasets.dataset import Dataset
from qubastore.metrics.suites import Suite


@dataclass(frozen=True)
class Task:
    """A dataset under a framing and a condition, on which every model is run."""

    dataset: Dataset
    framing: str
    condition: Condition


def tasks_of(
    datasets: Sequence[Dataset],
    suite: Suite | None = None,
    conditions: Sequence[Condition] = (),
    framing: str | None = None,
) -> list[Task]:
    """The tasks of datasets, without duplicates.

    Args:
        datasets: Datasets, full or limited.
        suite: Gives the conditions and framings of the datasets in its roles.
        conditions: Replace the suite's conditions; without either, `clean`.
        framing: Replaces the suite's framings; without either, the dataset's own.
    """
    tasks = []
    for dataset in datasets:
        roles = [role for role in suite.roles if role.dataset == dataset.name] if suite else []
        framings = [framing] if framing else list(dict.fromkeys(r.framing for r in roles)) or [dataset.framing]
        for chosen in framings:
            required = [Condition.parse(role.condition) for role in roles if framing or role.framing == chosen]
            tasks += [Task(dataset, chosen, each) for each in conditions or required or [Condition(CLEAN, {})]]
    return list({(t.dataset.dataset_id, t.framing, str(t.condition)): t for t in tasks}.values())
