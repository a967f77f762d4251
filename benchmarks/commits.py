"""The benchmark of the driver's commits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figures, Row

if TYPE_CHECKING:
    import duckdb

    from qubastore.models.model import Model

N_MODELS, N_SHARDS, SHARD = 8, 256, 1024


def commits(folder: Path) -> Iterator[Row]:
    """The driver's commit path: 256 shards of 1,024 samples for a group of 8 models, in CPU seconds of all threads.

    The evaluators' files are left out, as they are written elsewhere, and so is publishing.
    """
    import qubastore as package
    from qubastore.datasets.dataset import Dataset, Sample
    from qubastore.evaluators.cluster.commits import Commits
    from qubastore.evaluators.cluster.jobs import jobs_of
    from qubastore.evaluators.ingest_report import IngestReport
    from qubastore.evaluators.planning.plan import Plan, PlannedRun
    from qubastore.evaluators.progress import Silent
    from qubastore.evaluators.worker.messages import ShardResult
    from qubastore.models.model import Model
    from qubastore.runs import records
    from qubastore.runs.run import Run
    from qubastore.runs.shard import Shard

    size = N_SHARDS * SHARD
    data = Dataset("photographs", tuple(Sample(f"{i:06d}.jpg", 1, 0) for i in range(size)), ("one",), "own", "/data")
    models = [Model(f"net{i}", "python", {"name": i}, str(i), {}, (8, 8), 1, 1, 4, "logits") for i in range(N_MODELS)]
    runs = [Run(model.model_id, data.dataset_id, size, SHARD) for model in models]
    kept = ("outputs", "logits")
    planned = [
        PlannedRun(run, _Planned(model), data, tuple(range(N_SHARDS)), kept)  # type: ignore[arg-type]
        for run, model in zip(runs, models, strict=True)
    ]

    def register(connection: duckdb.DuckDBPyConnection) -> None:
        records.register_dataset(connection, data)
        for model, run in zip(models, runs, strict=True):
            records.register_model(connection, model)
            records.register_run(connection, run)

    with package.init(folder / "commits") as store:
        store.write(register)
        plan = Plan(tuple(planned), replace=False)
        path = Commits(store, plan, False, "driver", _NoPublisher(), Silent(), IngestReport(plan), print)  # type: ignore[arg-type]
        seconds = 0.0
        for job in jobs_of(planned):
            result = ShardResult(contents={i: f"{i:032x}" for i in range(job.first, job.end)})
            for run in runs:
                files = {
                    kind: store.files.path("staged", f"{run.run_id}-{job.shard:05d}-{kind}.parquet") for kind in kept
                }
                sums = dict.fromkeys(kept, "0" * 32)
                result.shards.append(
                    Shard(run.run_id, job.shard, job.first, SHARD, files, (), 32, "cpu", 1.0, kept, sums)
                )
            started = time.process_time()
            path.add(job, result)
            seconds += time.process_time() - started
        started = time.process_time()
        path.commit()
        seconds += time.process_time() - started
        n = N_MODELS * N_SHARDS
        assert store.rows("select count(*) from shards") == [(n,)]
    yield Row(
        f"the driver's commits, CPU per shard ({n:,} shards, {N_MODELS} models a group)",
        f"{1000 * seconds / n:.2f} ms",
        "-",
        "-",
        "under 2 ms",
        seconds / n < 0.002,
        "two kinds of output; a transaction has up to 64 shards",
        Figures("ms", 1000 * seconds / n),
    )


@dataclass(frozen=True)
class _Planned:
    """What a job needs to know of a planned model."""

    model: Model

    @property
    def model_id(self) -> str:
        return self.model.model_id


class _NoPublisher:
    """In place of the publisher, which is measured by itself."""

    def submit(self, runs: list[str]) -> None: ...

    def store_ready(self) -> None: ...
