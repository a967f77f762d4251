"""Pairs of models with their runs over the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qubastore.errors import UsageError
from qubastore.lake.database import Database
from qubastore.runs.lookup import RunName, complete_runs_of, named_model


@dataclass(frozen=True)
class Pair:
    """Two models and the runs of both over the same images in the same way.

    Attributes:
        a: Name of the first model.
        b: Name of the second model.
        runs: (run of a, run of b), by dataset.
    """

    a: str
    b: str
    runs: list[tuple[RunName, RunName]]


def pair(store: Database, a: str, b: str, *, dataset: str | None = None) -> Pair:
    """Pair two models with the complete runs that they share over a dataset, framing, condition, precision and decoder.

    Raises:
        UsageError: on an unknown model, the same model twice, or if they have no runs in common.
    """
    (name_a, id_a), (name_b, id_b) = named_model(store, a), named_model(store, b)
    if id_a == id_b:
        raise UsageError(f"{name_a} is named twice", expected="two different models")
    others = {run.task: run for run in complete_runs_of(store, id_b)}
    both = [(run, others[run.task]) for run in complete_runs_of(store, id_a) if run.task in others]
    chosen = [runs for runs in both if dataset in (None, runs[0].dataset)]
    if not chosen:
        raise UsageError(
            f"{name_a} and {name_b} have no complete runs in common" + (f" on {dataset}" if dataset else ""),
            found=f"runs of both on {', '.join(dict.fromkeys(one.dataset for one, _ in both))}" if both else None,
            hint="qubastore show runs",
        )
    return Pair(name_a, name_b, chosen)


def left_out(store: Database, runs: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    """The samples that two models' runs over the same images must leave out to keep only those that both have.

    Args:
        store: An open store.
        runs: (run id of the first model, run id of the second), pair by pair.

    Returns:
        Run -> samples that it has and the other run is missing; only runs with such samples.
    """
    ids = list({run for pair in runs for run in pair})
    failed: dict[str, set[int]] = {run: set() for run in ids}
    for run, sample in store.rows("select run_id, sample_id from failures where list_contains(?, run_id)", [ids]):
        failed[run].add(sample)
    found = {}
    for pair in runs:
        for one, other in (pair, pair[::-1]):
            if more := failed[other] - failed[one]:
                found[one] = sorted(more)
    return found
