"""Ranking with intervals, where the replicates of runs are kept: ten models with all dimensions of the suite quba."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import REPEATS, Figures, Row, alternate, command_seconds, qubastore
from benchmarks.synthetic import store_of_summaries

if TYPE_CHECKING:
    import duckdb

    from qubastore.store import Store

N_MODELS, N_RUNS = 10, 86
N_CUES, N_MIXED = 1280, 4050


def intervals(folder: Path) -> Iterator[Row]:
    """Rank ten models with intervals in fresh processes, against the ranking without intervals."""
    store = folder / "store"
    make_store(store)
    rank = qubastore("rank", "--source", "measured", "--store", str(store), "--format", "json")
    times = alternate(
        {
            "intervals": lambda: command_seconds(*rank, "--intervals"),
            "plain": lambda: command_seconds(*rank),
        },
        repeats=REPEATS,
    )
    seconds = times["intervals"].median
    yield Row(
        f"`rank --intervals` of {N_MODELS} models with nine dimensions, {N_RUNS} runs each, replicates kept",
        f"{seconds:.2f} s",
        f"`rank`: {times['plain'].median:.2f} s",
        f"{seconds / times['plain'].median:.1f}x",
        "under 2 s",
        seconds < 2,
        times["intervals"].spread,
        Figures("s", seconds, times["plain"].median),
    )


def make_store(path: Path) -> None:
    """Make a store with the summaries, replicates and composed images that such a ranking reads.

    Outputs are there only for the images composed of parts, which are not drawn one by one: mixed_same, mixed_rand and
    cue-conflict, in their real numbers.
    """
    import qubastore as package

    store_of_summaries(path, N_RUNS, N_MODELS)
    with package.open(path, read_only=False) as store:
        datasets = dict(store.rows("select name, dataset_id from datasets"))
        sizes = "n_outputs = n_samples, n_correct = n_samples * (40 + hash(run_summary.run_id) % 40) // 100"
        of_runs = "from runs join datasets using (dataset_id) where runs.run_id = run_summary.run_id"
        store.write(lambda c: c.execute(f"update run_summary set {sizes} {of_runs}"))
        classes = [f"c{number}" for number in range(16)]
        store.write(lambda c: c.execute("update datasets set classes = ? where name = 'cue-conflict'", [classes]))
        for name, samples in (("cue-conflict", _cues()), ("mixed_same", _mixed(0)), ("mixed_rand", _mixed(1))):
            _add_samples(store, datasets[name], samples)
        _add_replicates(store)


def _cues() -> list[tuple[str, int, dict[str, str]]]:
    """Images with the shape of one of 160 pictures and the texture of one of 48, 8 of each shape."""
    pairs = [(shape, texture) for shape in range(160) for texture in range(9) if shape // 10 != (shape + texture) % 16]
    return [
        (
            f"c{shape // 10}/c{shape // 10}{shape % 10 + 1}-c{(shape + texture) % 16}{texture % 3 + 1}.png",
            shape // 10,
            {"shape": f"c{shape // 10}", "texture": f"c{(shape + texture) % 16}"},
        )
        for shape, texture in pairs
    ][:N_CUES]


def _mixed(shift: int) -> list[tuple[str, int, dict[str, str]]]:
    """Images with a foreground of their own on one of 450 backgrounds."""
    return [(f"{i % 9}/fg_f{i}_bg_b{(i + shift) % 450}.JPEG", i % 9, {}) for i in range(N_MIXED)]


def _add_samples(store: Store, dataset_id: str, samples: list[tuple[str, int, dict[str, str]]]) -> None:
    """Store a dataset's samples, and an output of every one of its runs for each."""
    from qubastore.lake.rows import insert

    runs = [row[0] for row in store.rows("select run_id from runs where dataset_id = ? order by 1", [dataset_id])]
    generator = np.random.default_rng(0)

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        columns = connection.execute("describe samples").fetchall()
        rows = []
        for number, (key, label, factors) in enumerate(samples):
            known: dict[str, Any] = {
                "dataset_id": dataset_id,
                "sample_id": number,
                "key": key,
                "label": label,
                "factors": factors,
            }
            rows.append(tuple(known.get(name) for name, *_ in columns))
        insert(connection, "samples", rows)
        names = [name for name, *_ in connection.execute("describe outputs").fetchall()]
        for run_id in runs:
            values = {
                "label": [label for _, label, _ in samples],
                "prediction": generator.integers(0, 16, len(samples)).tolist(),
            }
            rows = [
                tuple({"run_id": run_id, "sample_id": i, **{k: v[i] for k, v in values.items()}}.get(n) for n in names)
                for i in range(len(samples))
            ]
            insert(connection, "outputs", rows)
        if "shape" in samples[0][2]:
            insert(connection, "cue_summary", [(run, category, 80, 30, 40) for run in runs for category in range(16)])

    store.write(work)


def _add_replicates(store: Store) -> None:
    """Store a thousand replicates of the accuracy of every run, and of the other figures of the clean ones."""
    from qubastore.lake.rows import insert
    from qubastore.runs.replicates import DESIGN, VERSIONS

    composed = "('cue-conflict', 'mixed_same', 'mixed_rand')"
    runs = store.rows(
        f"""
        select run_id, n_outputs, n_correct / n_outputs, datasets.name = 'imagenet-val'
        from run_summary join runs using (run_id) join datasets using (dataset_id) where datasets.name not in {composed}
        """
    )
    generator = np.random.default_rng(0)
    rows = []
    for run_id, n, accuracy, is_clean in runs:
        for metric in ("accuracy", "ece", "class_balance", "ace") if is_clean else ("accuracy",):
            values = generator.binomial(n, accuracy, 1000) / n
            rows.append((run_id, metric, VERSIONS[metric], DESIGN, 0, f"00000000:{n}", n, values))
    for part in _parts(rows, 64):
        store.write(lambda connection, part=part: insert(connection, "replicates", part))


def _parts(rows: list[Any], size: int) -> Iterator[list[Any]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


if __name__ == "__main__":
    import sys

    shutil.rmtree(sys.argv[1], ignore_errors=True)
    make_store(Path(sys.argv[1]))
