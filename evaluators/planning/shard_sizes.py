"""How many samples a shard has: some seconds of work on the devices that are there.

A shard costs a fixed amount (a task, a file, a row), so that a GPU wants large ones; a kill loses the shards in flight,
so that a CPU wants small ones. The sizes of new runs are chosen once the cluster is known, from the speeds that the
store has measured, and stored with the runs. A run of which a shard is committed keeps its size, whatever device goes
on with it. The size does not change outputs: batches are cut by the samples' places, and shards are multiples of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qubastore.evaluators.planning.plan import Plan, PlannedRun
from qubastore.evaluators.worker.messages import SHARDS_AT_A_TIME
from qubastore.runs.run import new_shard_size, whole_batches
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb


SECONDS = 5.0
"""How long a model should take for a shard, about, if its size can be chosen freely."""


UNMEASURED = 8192
"""Samples in a shard of a model whose speed on a GPU is not known yet."""


LARGEST = 8192
"""Maximum number of samples in a shard, whose decoded images wait in memory."""


SMALLEST_ON_GPU = 1024
"""The largest batch that is tried (`worker.batch_size`), so that no shard cuts a batch."""


SHARDS_PER_EVALUATOR = 4
"""Minimum number of shards for each evaluator in a group's work, so that all have something to do until the end."""


def shard_size(
    n_samples: int,
    seconds_per_image: float | None,
    *,
    on_gpu: bool,
    at_most: int = LARGEST,
    batch_size: int | None = None,
) -> int:
    """Number of samples per shard of a new run: a power of two, or the next multiple of a batch size that is not.

    Args:
        n_samples: Number of samples of its dataset.
        seconds_per_image: Time that a model of its group takes for an image, on average; None if it is not known.
        on_gpu: Whether the evaluators have GPUs.
        at_most: Maximum, for memory and to keep all evaluators busy; it is never below the smallest size of a device.
        batch_size: Number of images per forward pass, if it is fixed.

    >>> shard_size(50_000, 1 / 20, on_gpu=False), shard_size(50_000, 1 / 500, on_gpu=False)
    (1024, 2048)
    >>> shard_size(50_000, None, on_gpu=True), shard_size(50_000, 1 / 1500, on_gpu=True)
    (8192, 8192)
    >>> shard_size(50_000, None, on_gpu=False), shard_size(1_000, None, on_gpu=False)
    (1024, 128)
    """
    smallest = SMALLEST_ON_GPU if on_gpu else new_shard_size(n_samples)
    unmeasured = UNMEASURED if on_gpu else smallest
    wanted = unmeasured if seconds_per_image is None else SECONDS / seconds_per_image
    # The nearest power of two, but not above the limit.
    nearest: int = 2 ** round(math.log2(max(wanted, 1)))
    size = max(smallest, min(nearest, 1 << (max(1, min(at_most, LARGEST)).bit_length() - 1)))
    return whole_batches(size, batch_size)


def with_shard_sizes(
    store: Store,
    planned: Plan,
    *,
    on_gpu: bool,
    evaluators: int,
    room: int | None = None,
    batch_size: int | None = None,
    driver: str | None = None,
) -> Plan:
    """Choose the shard sizes of the runs to do of which no shard is committed, and store them with the runs.

    Runs that share decoding get the same size, because their shards are decoded together: that of a run which has begun
    already, if there is one. Runs that another active ingest lists keep theirs.

    Args:
        store: A store open for writing.
        planned: The plan.
        on_gpu: Whether the evaluators have GPUs.
        evaluators: Number of evaluators.
        room: Bytes for decoded images: as many shards of each evaluator fit as it is given at a time.
        batch_size: Number of images per forward pass, if it is fixed.
        driver: Id of this ingest among the active ones.

    Returns:
        The plan with these sizes.
    """
    todo = planned.todo
    speeds = _speeds(store, todo, on_gpu=on_gpu)
    ids = [p.run.run_id for p in todo]

    def choose(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, int]]:
        """Run -> the size to store, and the one that is stored."""
        named = "list_contains(?, run_id)"
        stored = dict(connection.execute(f"select run_id, shard_size from runs where {named}", [ids]).fetchall())
        begun = connection.execute(f"select distinct run_id from shards where {named}", [ids]).fetchall()
        others = connection.execute(
            "select distinct unnest(run_ids) from drivers where driver_id is distinct from ?", [driver]
        ).fetchall()
        fixed = {run_id for (run_id,) in begun + others} & stored.keys()
        kept = {run_id: stored[run_id] for run_id in fixed}
        sizes = _sizes(todo, speeds, kept, on_gpu, max(1, evaluators), room, batch_size)
        return {run_id: (size, stored[run_id]) for run_id, size in sizes.items() if run_id in stored}

    def work(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, int]]:
        found = choose(connection)
        by_counts: dict[tuple[int, int], list[str]] = defaultdict(list)
        for p in todo:
            size, stored = found.get(p.run.run_id, (p.run.shard_size,) * 2)
            if size != stored:
                by_counts[size, replace(p.run, shard_size=size).n_shards].append(p.run.run_id)
        for (size, n_shards), runs in by_counts.items():
            connection.execute(
                "update runs set shard_size = ?, n_shards = ? where list_contains(?, run_id)", [size, n_shards, runs]
            )
        return found

    found = store.ask(choose)
    if any(size != stored for size, stored in found.values()):
        found = store.write(work, repeatable=True)
    sizes = {run_id: size for run_id, (size, _) in found.items()}
    return replace(planned, runs=tuple(_resized(p, sizes.get(p.run.run_id)) for p in planned.runs))


def _resized(planned: PlannedRun, size: int | None) -> PlannedRun:
    """A planned run with another shard size, all of whose shards are missing."""
    if size is None or size == planned.run.shard_size:
        return planned
    run = replace(planned.run, shard_size=size)
    return replace(planned, run=run, missing=tuple(range(run.n_shards)))


def _sizes(
    todo: Sequence[PlannedRun],
    speeds: Mapping[tuple[str, str], float],
    fixed: Mapping[str, int],
    on_gpu: bool,
    evaluators: int,
    room: int | None,
    batch_size: int | None,
) -> dict[str, int]:
    """Run -> shard size."""
    groups: dict[str, dict[tuple[str, str, str], list[PlannedRun]]] = {}
    for p in todo:
        groups.setdefault(p.group, {}).setdefault((p.run.dataset_id, p.run.framing, p.run.condition), []).append(p)
    sizes = {}
    for of_group in groups.values():
        images = sum(members[0].run.n_samples for members in of_group.values())
        for members in of_group.values():
            at_most = images // (SHARDS_PER_EVALUATOR * evaluators)
            if room is not None:
                held = SHARDS_AT_A_TIME["gpu" if on_gpu else "cpu"] * evaluators
                at_most = min(at_most, room // (held * members[0].image_bytes))
            times = [_seconds_per_image(speeds, p) for p in members]
            known = [time for time in times if time is not None]
            # The driver's work per model should not take longer than the models'. Attacks take many passes.
            seconds = sum(known) / len(known) if known else None
            if seconds is None and members[0].condition.is_attack:
                at_most = 0
            chosen = shard_size(
                members[0].run.n_samples, seconds, on_gpu=on_gpu, at_most=at_most, batch_size=batch_size
            )
            begun = next((fixed[p.run.run_id] for p in members if p.run.run_id in fixed), chosen)
            sizes.update({p.run.run_id: fixed.get(p.run.run_id, begun) for p in members})
    return sizes


def _seconds_per_image(speeds: Mapping[tuple[str, str], float], planned: PlannedRun) -> float | None:
    speed = speeds.get((planned.model.model_id, planned.run.condition))
    return 1 / speed if speed else None


def _speeds(store: Store, todo: Iterable[PlannedRun], *, on_gpu: bool) -> dict[tuple[str, str], float]:
    """(Model, condition) -> images per second of the forward passes on such devices, as the store has measured them."""
    models = sorted({p.model.model_id for p in todo})
    rows = store.rows(
        """
        select runs.model_id, runs.condition, sum(n_samples) / sum(seconds)
        from shards
        join runs using (run_id)
        where list_contains(?, runs.model_id) and (shards.device <> 'cpu') = ? and seconds > 0 and shards.device <> ''
        group by all
        """,
        [models, on_gpu],
    )
    return {(model_id, condition): speed for model_id, condition, speed in rows}
