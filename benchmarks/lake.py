"""A lake of the size of the zoo: 326 models x 86 runs, made by the project's own commit and publication.

Each run has 1,000 rows of outputs, one per class, and summaries of real shape. Runs are published 64 to a transaction.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.lake_postgres import in_postgres
from benchmarks.lake_questions import questions, questions_to_postgres
from benchmarks.measure import Figures, Row, timed

if TYPE_CHECKING:
    import duckdb

    from qubastore.runs.shard import Shard
    from qubastore.store import Store

N_MODELS, N_RUNS = 326, 86
N_SAMPLES = 1000
FEW = 100
"""Runs of the small lake that the large one is compared with."""


def lake(folder: Path) -> Iterator[Row]:
    """Build the lake and ask it; LAKE_RUNS in the environment makes a smaller one."""
    n_runs = int(os.environ.get("LAKE_RUNS", N_MODELS * N_RUNS))
    small, large = folder / "small", folder / "large"
    make_lake(small, FEW)
    started = time.perf_counter()
    figures = make_lake(large, n_runs)
    built = time.perf_counter() - started
    size = sum(file.stat().st_size for file in large.rglob("*") if file.is_file())
    catalog = (large / "catalog.sqlite").stat().st_size
    yield Row(
        f"building a lake of {n_runs:,} runs of {N_SAMPLES:,} samples and 1,000 classes",
        f"{built / 60:.1f} min",
        "-",
        "-",
        "under 20 min and 10 GB",
        built < 1200 and size < 10e9,
        f"{size / 1e9:.2f} GB, catalog {catalog / 1e6:.0f} MB, {figures['snapshots']:,} snapshots,"
        f" {figures['files']:,} files of outputs, {figures['small_files']:,} of all other tables",
        Figures("min", built / 60),
    )
    publishing = 1000 * figures["publish"] / n_runs
    yield Row(
        "publishing a run of the lake, in transactions of 64",
        f"{publishing:.0f} ms",
        "-",
        "-",
        "-",
        None,
        "merging its files, sums and metrics included",
        Figures("ms", publishing),
    )
    yield from questions(small, large, n_runs, FEW)
    with in_postgres(large, folder / "empty") as url:
        if url is None:
            print("lake: PostgreSQL is not installed, so its rows are left out: make test-cluster", file=sys.stderr)
        else:
            yield from questions_to_postgres(large, url, n_runs)


def make_lake(path: Path, n_runs: int) -> dict[str, float]:
    """Make a store of published runs; return the seconds of publishing, and counts of files and snapshots."""
    import qubastore
    from qubastore.lake.ducklake import METADATA
    from qubastore.runs.commit import commit_shards
    from qubastore.runs.publish import publish_runs

    publishing, last = 0.0, time.monotonic()
    with qubastore.init(path) as store:
        runs = list(_register(store, n_runs))
        for first in range(0, n_runs, 64):
            part = runs[first : first + 64]
            commit_shards(store, [_shard(store, run, first + number) for number, run in enumerate(part)])
            publishing += timed(lambda part=part: publish_runs(store, part))
            if time.monotonic() - last > 10:
                last = time.monotonic()
                print(f"lake: {first + len(part):,} of {n_runs:,} runs", file=sys.stderr, flush=True)
        count = f"select count(*) from {METADATA}.ducklake_data_file where end_snapshot is null"
        ((files,),) = store.rows("select count(*) from ducklake_list_files('store', 'outputs')")
        ((total,),) = store.rows(count)
        ((snapshots,),) = store.rows("select count(*) from ducklake_snapshots('store')")
    return {"publish": publishing, "files": files, "small_files": total - files, "snapshots": snapshots}


def _register(store: Store, n_runs: int) -> Iterator[str]:
    """Register models, datasets and runs, as plain rows; yield the ids of the runs."""
    from datetime import UTC, datetime

    from qubastore.hashing import identifier
    from qubastore.lake.rows import insert
    from qubastore.runs.run import Run

    n_datasets = min(N_RUNS, n_runs)
    models = [identifier("model", number) for number in range(-(-n_runs // n_datasets))]
    datasets = [identifier("dataset", number) for number in range(n_datasets)]
    runs = [Run(model, dataset, N_SAMPLES, N_SAMPLES) for model in models for dataset in datasets][:n_runs]
    now = datetime.now(UTC)

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        insert(
            connection,
            "models",
            [
                (model, f"model-{i}", "timm", "{}", "", "{}", 224, 224, 1000, 10**6, 512, "logits", now, 1000, 1000)
                for i, model in enumerate(models)
            ],
        )
        insert(
            connection,
            "datasets",
            [
                (dataset, f"set-{i}", N_SAMPLES, "imagenet-1k", [], "/data", now, [])
                for i, dataset in enumerate(datasets)
            ],
        )
        insert(
            connection,
            "runs",
            [
                (
                    *(r.run_id, r.model_id, r.dataset_id, "model", "clean", "fp32", 1, "measured", N_SAMPLES, 1, []),
                    *(now, r.decoder, None),
                )
                for r in runs
            ],
        )

    store.write(work)
    return iter([run.run_id for run in runs])


def _shard(store: Store, run_id: str, seed: int) -> Shard:
    """A run's one shard: 1,000 samples, each of another class, with outputs of random values."""
    from qubastore.runs import outputs
    from qubastore.runs.shard import Shard

    generator = np.random.default_rng(seed)
    labels = np.arange(N_SAMPLES, dtype=np.int32)
    confidence = generator.random(N_SAMPLES)
    columns: dict[str, np.ndarray] = {
        "label": labels,
        "prediction": np.where(generator.random(N_SAMPLES) < 0.7, labels, 0).astype(np.int32),
        "confidence": confidence,
        "label_probability": confidence / 2,
        "label_logit": generator.random(N_SAMPLES).astype(np.float32),
        "logsumexp": 7 + generator.random(N_SAMPLES),
        "sum_squared_probability": confidence / 3,
        "top5_class": generator.integers(0, 1000, (N_SAMPLES, 5), dtype=np.int32),
        "top5_logit": generator.random((N_SAMPLES, 5)).astype(np.float32),
    }
    ids = np.arange(N_SAMPLES, dtype=np.int32)
    written = outputs.write_shard(store.files, run_id, 0, {"outputs": outputs.outputs_table(run_id, ids, columns)})
    return Shard(run_id, 0, 0, N_SAMPLES, written.files, checksums=written.checksums, batch_size=32, device="none")


def main() -> None:
    """Make a lake in a folder, to look at it: `python -m benchmarks.lake FOLDER RUNS`."""
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    print(make_lake(Path(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
