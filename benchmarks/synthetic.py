"""Synthetic stores of the size reached after years of use, made without images: models, runs, summaries, shards."""

from __future__ import annotations

from pathlib import Path

import qubastore
from qubastore.metrics.catalogue import METRICS
from qubastore.metrics.suites import QUBA
from qubastore.store import Store

N_MODELS = 326


def store_of_summaries(path: Path, runs_per_model: int, n_models: int = N_MODELS) -> None:
    """Make a store with `runs_per_model` complete runs for each of `n_models` models, those of the suite quba first.

    Every run has its summary and all its metrics; outputs are left out, as queries of the per-run tables ignore them.
    """
    roles = list({(role.dataset, role.condition, role.framing, role.n_samples): role for role in QUBA.roles}.values())
    tasks = [(r.dataset, r.condition, r.framing, r.n_samples, r.label_space) for r in roles][:runs_per_model]
    tasks += [(f"other-{i}", "clean", "model", 50_000, "imagenet-1k") for i in range(runs_per_model - len(tasks))]
    names = ", ".join(f"('{m.name}', {m.version})" for m in METRICS if m.over == "run")
    with qubastore.init(path) as store:
        store.write(lambda c: c.register("tasks", _arrow(tasks)))
        store.write(lambda c: [c.execute(statement) for statement in _statements(names, n_models)])


def _arrow(tasks: list[tuple[object, ...]]) -> object:
    import pyarrow as pa

    columns = ("dataset", "condition", "framing", "n_samples", "label_space")
    return pa.table(dict(zip(columns, map(list, zip(*tasks, strict=True)), strict=True)))


def _statements(metrics: str, n_models: int) -> list[str]:
    return [
        f"""insert into models select 'm' || i, 'model-' || i, 'timm', '{{}}', '', '{{}}', 224, 224, 1000,
            1000000 + 1000 * i, 512, 'logits', now(), 1000, 1000 from range({n_models}) as t(i)""",
        """insert into datasets
            select 'd' || row_number() over (), dataset, n_samples, label_space, [], '/data', now(), map {}
            from (select distinct dataset, n_samples, label_space from tasks)""",
        """insert into runs
            select models.model_id || datasets.dataset_id || left(tasks.condition, 5), models.model_id,
                datasets.dataset_id, tasks.framing, tasks.condition, 'fp32', 1, 'measured', 1024, 49, map {}, now(),
                'pillow', null
            from models, tasks join datasets on datasets.name = tasks.dataset""",
        """insert into run_summary
            select run_id, 50000, 0, 20000 + hash(run_id) % 20000, 45000, 35000, 40000, 20000, now() from runs""",
        f"""insert into run_metrics
            select run_id, metric, version, (hash(run_id || metric) % 1000) / 2000 + 0.2
            from runs, (values {metrics}) as m(metric, version)""",
    ]


def store_of_shards(path: Path, n_shards: int) -> None:
    """Make a store with `n_shards` committed shards, 100 per run, and only the rows that describe them."""
    with qubastore.init(path) as store:
        for statement in (
            f"""insert into runs select 'r' || i, 'm' || (i % 100), 'd' || (i // 100), 'model', 'clean', 'fp32', 1,
                'measured', 1024, 100, map {{}}, now(), 'pillow', null from range({n_shards // 100}) as t(i)""",
            """insert into shards select run_id, shard, shard * 1024, 1024, 1024, 0, ['outputs', 'logits'], 256, 'gpu',
                1.0, now(), null, map {}, 0 from runs, range(100) as t(shard)""",
        ):
            store.write(lambda c, statement=statement: c.execute(statement))


__all__ = ["Store", "store_of_shards", "store_of_summaries"]
