"""The runs that represent each model in a suite, and the dimensions computed from their accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qubastore.lake.database import Database
from qubastore.lake.snapshot import Snapshot
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.runs.replicates import SummarisedRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Without = Mapping[str, Sequence[int]]
"""Run -> samples to leave out of it: those missing from the run it is compared with."""


@dataclass(frozen=True)
class DimensionRun(SummarisedRun):
    """A run that represents a model in a role of a suite."""

    role: str
    dataset: str
    condition: str


def dimension_runs_of(store: Database, suite: str) -> dict[str, tuple[dict[str, float], list[DimensionRun]]]:
    """Every model of a suite: its dimensions and the runs that represent it, ordered by role, dataset and condition.

    Runs one query for all models, on an in-memory snapshot.
    """
    columns = ", ".join(dimension.column for dimension in DIMENSIONS)
    with Snapshot(store, ["measured_dimensions", "dimension_runs"], tables=["run_summary"]) as copy:
        rows = copy.rows(f"select model_id, {columns} from measured_dimensions where suite = ?", [suite])
        chosen = copy.rows(
            """
            select
                answer.model_id, answer.run_id, dataset_id, n_outputs, n_correct, computed_at, role, dataset,
                answer.condition
            from dimension_runs as answer
            join runs on runs.run_id = answer.run_id
            join run_summary on run_summary.run_id = answer.run_id
            where suite = ? order by role, dataset, answer.condition
            """,
            [suite],
        )
    known: dict[str, tuple[dict[str, float], list[DimensionRun]]] = {}
    for model_id, *values in rows:
        named = zip((d.name for d in DIMENSIONS), values, strict=True)
        known[model_id] = {name: value for name, value in named if value is not None}, []
    for model_id, *run in chosen:
        known.setdefault(model_id, ({}, []))[1].append(DimensionRun(*run))
    return known


def of_shares(
    chosen_runs: Sequence[DimensionRun], accuracies: Mapping[str, NDArray[np.float64]], values: Mapping[str, float]
) -> dict[str, NDArray[np.float64]]:
    """The dimensions of a model that depend on accuracies alone, for k sets of accuracies.

    Args:
        chosen_runs: The runs that represent the model.
        accuracies: Run -> (k,) accuracies.
        values: The model's dimensions.

    Returns:
        Dimension -> (k,); NaN where no image of the clean set was classified correctly.
    """
    import numpy as np

    by_role = {role: [one for one in chosen_runs if one.role == role] for role in {one.role for one in chosen_runs}}
    found: dict[str, NDArray[np.float64]] = {}
    if "clean" not in by_role:
        return found
    clean = accuracies[by_role["clean"][0].run_id]

    def relative(role: str) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            divided = np.array([accuracies[one.run_id] for one in by_role[role]]) / clean
        return np.where(clean > 0, divided, np.nan)

    if "accuracy" in values:
        found["accuracy"] = clean
    for name, role in (("adversarial_robustness", "adversarial"), ("ood_robustness", "shifted")):
        if name in values:
            with np.errstate(divide="ignore"):
                found[name] = np.exp(np.log(relative(role)).mean(axis=0))
    if "corruption_robustness" in values:
        found["corruption_robustness"] = relative("corrupted").mean(axis=0)
    if "object_focus" in values:
        found["object_focus"] = 1 - (relative("same_background") - relative("random_background"))[0]
    return found
