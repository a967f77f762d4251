"""The benchmark of the driver's commits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figures, Row

if TYPE_CHECKING:
    import duckdb

    from qubastore.datasets.dataset import Dataset
    from qubastore.evaluators.cluster.commits import Commits
    from qubastore.evaluators.cluster.jobs import Job
    from qubastore.models.model import Model
    from qubastore.runs.run import Run
    from qubastore.store import Store

N_MODELS = 8


def commits(folder: Path) -> Iterator[Row]:
    """The driver's commit path for the shards of a CPU and for those of a GPU."""
    yield _commits(folder / "small", 256, 1024, most=0.002)
    yield _commits(folder / "large", 64, 8192)


def _commits(folder: Path, n_shards: int, shard_size: int, most: float | None = None) -> Row:
    """The driver's commit path for a group of 8 models, in CPU seconds of all threads.

    The evaluators' files are left out, as they are written elsewhere, and so is publishing.
    """
    import qubastore as package
    from qubastore.datasets.dataset import Dataset, Sample
    from qubastore.evaluators.worker.messages import ShardResult
    from qubastore.models.model import Model
    from qubastore.runs.run import Run
    from qubastore.runs.shard import Shard

    size = n_shards * shard_size
    data = Dataset("photographs", tuple(Sample(f"{i:06d}.jpg", 1, 0) for i in range(size)), ("one",), "own", "/data")
    models = [Model(f"net{i}", "python", {"name": i}, str(i), {}, (8, 8), 1, 1, 4, "logits") for i in range(N_MODELS)]
    runs = [Run(model.model_id, data.dataset_id, size, shard_size) for model in models]
    kept = ("outputs", "logits")
    with package.init(folder) as store:
        path, jobs = drivers_path(store, data, models, runs, kept)
        seconds = 0.0
        for job in jobs:
            result = ShardResult(contents={i: f"{i:032x}" for i in range(job.first, job.end)})
            for run in runs:
                files = {
                    kind: store.files.path("staged", f"{run.run_id}-{job.shard:05d}-{kind}.parquet") for kind in kept
                }
                sums = dict.fromkeys(kept, "0" * 32)
                result.shards.append(
                    Shard(run.run_id, job.shard, job.first, shard_size, files, (), 32, "cpu", 1.0, kept, sums)
                )
            started = time.process_time()
            path.add(job, result)
            seconds += time.process_time() - started
        started = time.process_time()
        path.commit()
        seconds += time.process_time() - started
        n = N_MODELS * n_shards
        assert store.rows("select count(*) from shards") == [(n,)]
    return Row(
        f"the driver's commits, CPU per shard ({n:,} shards of {shard_size:,} samples, {N_MODELS} models a group)",
        f"{1000 * seconds / n:.2f} ms",
        "-",
        "-",
        f"under {1000 * most:g} ms" if most else "-",
        seconds / n < most if most else None,
        "two kinds of output; a transaction has up to 64 shards",
        Figures("ms", 1000 * seconds / n),
    )


def drivers_path(
    store: Store, data: Dataset, models: Sequence[Model], runs: Sequence[Run], kept: tuple[str, ...]
) -> tuple[Commits, list[Job]]:
    """Register one run per model; what commits its shards as an ingest does, without publishing, and the jobs."""
    from qubastore.evaluators.cluster.commits import Commits
    from qubastore.evaluators.cluster.jobs import jobs_of
    from qubastore.evaluators.ingest_report import IngestReport
    from qubastore.evaluators.planning.plan import Plan, PlannedRun
    from qubastore.evaluators.progress import Silent
    from qubastore.runs import records

    def register(connection: duckdb.DuckDBPyConnection) -> None:
        records.register_dataset(connection, data)
        for model, run in zip(models, runs, strict=True):
            records.register_model(connection, model)
            records.register_run(connection, run)

    store.write(register)
    planned = [
        PlannedRun(run, _Planned(model), data, tuple(range(run.n_shards)), kept)  # type: ignore[arg-type]
        for run, model in zip(runs, models, strict=True)
    ]
    plan = Plan(tuple(planned), replace=False)
    path = Commits(store, plan, False, "driver", _NoPublisher(), Silent(), IngestReport(plan), print)  # type: ignore[arg-type]
    return path, jobs_of(planned)


@dataclass(frozen=True)
class _Planned:
    """What a job needs to know of a planned model."""

    model: Model

    @property
    def model_id(self) -> str:
        """Its id."""
        return self.model.model_id


class _NoPublisher:
    """In place of the publisher, which is measured by itself."""

    def submit(self, runs: list[str]) -> None:
        """Nothing."""

    def store_ready(self) -> None:
        """Nothing."""
