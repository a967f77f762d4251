"""A run of twelve images, to damage and to copy: its logits, its files, its faults, its rows."""

from __future__ import annotations

import numpy as np

from qubastore.maintenance.doctor import examine
from qubastore.runs.commit import commit_shard
from tests.support.runs import write_shard

LABELS = np.arange(12) % 4


def logits(seed=0, n=12):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def found(store, *, deep=True):
    return [(fault.check, fault.run_id, fault.shard) for fault in examine(store, deep=deep)]


def file_of(store, run_id, kind="outputs"):
    return next((store.data_path / "main" / kind / f"run_id={run_id}").glob("run-*.parquet"))


def commit_again(store, run_id, shards=(0, 1, 2)):
    for number in shards:
        part = slice(4 * number, 4 * number + 4)
        shard = write_shard(store, run_id, number, 4 * number, logits()[part], LABELS[part])
        assert commit_shard(store, shard, dataset_id="x")


def change(store, statement):
    store.write(lambda c: c.execute(statement))


def tables(store):
    queries = {
        "outputs": "from outputs order by run_id, sample_id",
        "logits": "from logits order by run_id, sample_id",
        "metrics": "from run_metrics order by all",
        "models": "select * exclude (created_at) from models order by model_id",
        "samples": "from samples order by dataset_id, sample_id",
        "runs": "select * exclude (created_at) from runs order by run_id",
        "shards": "select * exclude (committed_at, driver_id, checksums) from shards order by run_id, shard",
    }
    return {name: str(store.rows(query)) for name, query in queries.items()}
