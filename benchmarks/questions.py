"""Rows of questions: start-up, rankings over large stores, metrics of kept logits, the bootstrap, storage."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, alternate, command_seconds, in_process, qubastore
from benchmarks.synthetic import N_MODELS, store_of_shards, store_of_summaries

GROWTH = (10, 100, 1000)
"""Runs per model."""


def start_up(folder: Path) -> Iterator[Row]:
    """`rank` from nothing, beside the least that any command over DuckDB could take."""
    import qubastore as package

    package.init(folder / "published").close()
    environment = {"QUBASTORE_STORE": str(folder / "published")}
    times = alternate(
        {
            "rank": lambda: command_seconds(*qubastore("rank"), environment=environment),
            "imports": lambda: command_seconds(sys.executable, "-c", "import duckdb, click"),
            "sql": lambda: command_seconds(*qubastore("sql", "select 1"), environment=environment),
            "help": lambda: command_seconds(*qubastore("--help")),
        },
        repeats=9,
    )
    rank, least = times["rank"], times["imports"]
    yield Row(
        "`qubastore rank`, cold start, 326 published models",
        f"{rank.median:.3f} s",
        f'`python -c "import duckdb, click"`: {least.median:.3f} s',
        f"overhead {1000 * (rank.median - least.median):.0f} ms",
        "under 0.5 s",
        rank.median < 0.5,
        f"{rank.spread}; `sql` {times['sql'].median:.3f} s, `--help` {times['help'].median:.3f} s",
    )


def large_stores(folder: Path) -> Iterator[Row]:
    """Rankings over 326 models with 10, 100 and 1,000 complete runs each."""
    commands = {
        # With 10 runs, no model has all nine dimensions.
        "rank": ("rank", "--source", "measured", "--partial"),
        "correlate": ("correlate",),
        "metric_values": ("sql", "select metric, count(*), avg(value) from metric_values group by all"),
    }
    for runs in GROWTH:
        store_of_summaries(folder / f"runs{runs}", runs)
    for name, arguments in commands.items():
        times = alternate(
            {
                str(runs): lambda runs=runs, arguments=arguments: command_seconds(
                    *qubastore(*arguments), environment={"QUBASTORE_STORE": str(folder / f"runs{runs}")}
                )
                for runs in GROWTH
            }
        )
        growth = ", ".join(f"{runs}: {times[str(runs)].median:.2f} s" for runs in GROWTH)
        middle = times["100"]
        factor = times["1000"].median / middle.median
        yield Row(
            f"`{name}`, {N_MODELS} models x 100 runs (1.3 billion rows stand behind them)",
            f"{middle.median:.2f} s",
            f"runs per model: {growth}",
            f"10 times the runs take {factor:.1f} times as long",
            "under 1 s, growth linear at most",
            middle.median < 1 and factor <= 10,
            middle.spread,
        )
    for runs in GROWTH:
        shutil.rmtree(folder / f"runs{runs}")


def planning(folder: Path) -> Iterator[Row]:
    """What an ingest reads before it begins, with 100,000 shards committed."""
    import qubastore as package
    from qubastore.evaluators.planning.plan import _committed

    store_of_shards(folder / "shards", 100_000)
    with package.open(folder / "shards", read_only=False) as store:
        times = alternate({"plan": lambda: _timed(lambda: _committed(store))})["plan"]
    yield Row(
        "resume planning, 100,000 shards committed",
        f"{times.median:.2f} s",
        "-",
        "-",
        "under 2 s",
        times.median < 2,
        times.spread,
    )
    shutil.rmtree(folder / "shards")


def commits(folder: Path) -> Iterator[Row]:
    """A shard of 1,024 samples, its files written: the transaction alone."""
    import qubastore as package
    from qubastore.runs.commit import commit_shard
    from tests.support.runs import add_run, write_shard

    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(1024, 100)).astype(np.float32), generator.integers(0, 100, 1024)
    with package.init(folder / "commits") as store:
        n = 40
        run = add_run(store, np.tile(logits, (n, 1)), np.tile(labels, n), shard_size=1024, complete=False)
        dataset = store.rows("select dataset_id from runs")[0][0]
        for table in ("shards", "outputs", "logits"):
            store.write(lambda c, table=table: c.execute(f"delete from {table}"))
        seconds = []
        for number in range(n):
            shard = write_shard(store, run, number, 1024 * number, logits, labels)
            started = time.perf_counter()
            assert commit_shard(store, shard, dataset_id=dataset)
            seconds.append(time.perf_counter() - started)
    median = float(np.median(seconds))
    yield Row(
        "commit of a shard (outputs and logits of 1,024 samples, files written before)",
        f"{1000 * median:.0f} ms",
        "-",
        "-",
        "under 50 ms",
        median < 0.05,
        f"{n} commits, {1000 * min(seconds):.0f} to {1000 * max(seconds):.0f} ms",
    )


MAKE_LOGITS = """
import numpy as np
generator = np.random.default_rng(0)
n, classes = 50_000, 1_000
labels = generator.integers(0, classes, n).astype(np.int32)
logits = generator.normal(0, 2, (n, classes)).astype(np.float32)
logits[np.arange(n), labels] += 7
"""

OURS = """
import sys, time
import numpy as np, qubastore
from qubastore.runs.summaries import bin_rows
from qubastore.metrics.transforms import adaptive_calibration
with qubastore.open(sys.argv[1]) as store:
    run = store.rows("select run_id from runs")[0][0]
    started = time.perf_counter()
    frame = store.sql("select label, prediction, confidence from outputs order by sample_id").fetchnumpy()
    right = frame["prediction"] == frame["label"]
    bins = bin_rows(frame["confidence"], right)
    ece = sum(abs(hits - summed) for _, _, hits, summed in bins) / len(right)
    logits = np.empty((len(right), 1000), np.float32)
    first = 0
    for batch in store.logits(run):
        logits[first : first + len(batch)] = batch.column("values").flatten().to_numpy().reshape(len(batch), -1)
        first += len(batch)
    ace = adaptive_calibration.compute(logits, frame["label"])
RESULT = {"seconds": time.perf_counter() - started, "ece": float(ece), "ace": ace}
"""

REFERENCE = """
import time
started = time.perf_counter()
wide = logits.astype(np.float64)
wide = np.exp(wide - wide.max(axis=1, keepdims=True))
wide /= wide.sum(axis=1, keepdims=True)
prediction, confidence = wide.argmax(axis=1), wide.max(axis=1)
edges = np.linspace(0, 1, 16)
which = np.digitize(confidence, edges[1:-1], right=True)
right = (prediction == labels).astype(float)
sums = [np.bincount(which, values, minlength=15) for values in (right, confidence)]
ece = np.abs(sums[0] - sums[1]).sum() / n
errors = []
for c in range(classes):
    p, hit = wide[:, c], (labels == c).astype(float)
    keep = p > 0
    p, hit = p[keep], hit[keep]
    position = np.minimum(np.round(np.linspace(0, len(p), 15, endpoint=False)).astype(int), len(p) - 1)
    which = np.digitize(p, np.sort(p)[position][1:])
    count = np.bincount(which, minlength=15)
    gaps = np.bincount(which, hit, minlength=15) - np.bincount(which, p, minlength=15)
    errors.append(np.abs(gaps[count > 0]).sum() / len(p))
RESULT = {"seconds": time.perf_counter() - started, "ece": float(ece), "ace": float(np.mean(errors))}
"""

TORCHMETRICS = """
import time, torch
from torchmetrics.functional.classification import multiclass_calibration_error
scores, right = torch.from_numpy(logits), torch.from_numpy(labels).long()
started = time.perf_counter()
ece = multiclass_calibration_error(scores.softmax(1), right, classes, n_bins=15)
RESULT = {"seconds": time.perf_counter() - started, "ece": float(ece)}
"""


def calibration(folder: Path) -> Iterator[Row]:
    """ECE and ACE of 50,000 x 1,000 kept logits, and what keeping them costs."""
    import qubastore as package
    from tests.support.runs import add_run

    scope: dict[str, np.ndarray] = {}
    exec(MAKE_LOGITS, scope)
    logits, labels = scope["logits"], scope["labels"]
    with package.init(folder / "logits") as store:
        run = add_run(store, logits, labels, shard_size=1024, bits=16, complete=False)
        kept = sum(f.stat().st_size for f in (store.data_path / "main" / "logits" / f"run_id={run}").iterdir())
    found: dict[str, dict[str, float]] = {}

    def way(name: str, code: str, *arguments: str) -> float:
        found[name] = in_process(code, *arguments)
        return found[name]["seconds"]

    times = alternate(
        {
            "ours": lambda: way("ours", OURS, str(folder / "logits")),
            "reference": lambda: way("reference", MAKE_LOGITS + REFERENCE),
            "torchmetrics": lambda: way("torchmetrics", MAKE_LOGITS + TORCHMETRICS),
        },
        warm_up=False,
    )
    ours, reference = times["ours"], times["reference"]
    ratio = reference.median / ours.median
    peak = found["ours"]["peak_mib"] / 1024
    yield Row(
        "ECE + ACE of 50,000 x 1,000 kept logits, read from the store",
        f"{ours.median:.2f} s, peak {peak:.2f} GiB",
        f"the study's algorithm on logits in memory: {reference.median:.2f} s,"
        f" {found['reference']['peak_mib'] / 1024:.2f} GiB; torchmetrics, ECE: {times['torchmetrics'].median:.2f} s",
        f"{ratio:.1f} x",
        ">= 10 x, under 1.5 GiB",
        ratio >= 10 and peak < 1.5,
        f"{ours.spread}; ACE differs by {abs(found['ours']['ace'] - found['reference']['ace']):.1e} (16-bit logits)",
    )
    yield _storage(folder, logits, kept)
    shutil.rmtree(folder / "logits")


def _storage(folder: Path, logits: np.ndarray, kept: int) -> Row:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from qubastore.statistics.scores import round_significant

    flat = pa.array(logits.reshape(-1))
    column = pa.ListArray.from_arrays(pa.array(np.arange(len(logits) + 1, dtype=np.int32) * 1000), flat)
    pq.write_table(pa.table({"values": column}), folder / "plain.parquet", compression="zstd", use_dictionary=False)
    plain = (folder / "plain.parquet").stat().st_size / logits.size
    part = logits[:5000]

    def softmax(values: np.ndarray) -> np.ndarray:
        shifted = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    error = np.abs(softmax(part) - softmax(round_significant(part, 16))).max()
    each = kept / logits.size
    return Row(
        "storage, bytes per kept logit (16 significant bits)",
        f"{each:.2f}",
        f"float32 Parquet with zstd: {plain:.2f}",
        f"{plain / each:.2f} x smaller",
        "<= 2.4 at a probability error under 1e-4",
        bool(each <= 2.4 and error < 1e-4),
        f"largest error of a probability {error:.1e}",
    )


def bootstrap(folder: Path) -> Iterator[Row]:
    """1,000 resamples of 50,000 samples: accuracy, ECE, class balance."""
    from qubastore.statistics.bootstrap import Draws, resample

    del folder

    generator = np.random.default_rng(0)
    n = 50_000
    label = generator.integers(0, 1000, n)
    confidence = generator.uniform(0.05, 1, n)
    right = generator.uniform(size=n) < confidence
    truth = np.where(right, confidence, (1 - confidence) / 3)
    edges = np.linspace(0, 1, 16)

    def plain(resamples: int) -> float:
        """A loop over resamples, bins and classes, as one writes it."""
        started = time.perf_counter()
        for number in range(resamples):
            drawn = np.random.default_rng([0, number]).integers(0, n, n)
            hit, sure, of, p = right[drawn], confidence[drawn], label[drawn], truth[drawn]
            hit.mean()
            for low, high in itertools.pairwise(edges):
                inside = (sure > low) & (sure <= high)
                if inside.any():
                    inside.mean() * abs(hit[inside].mean() - sure[inside].mean())
            np.std([hit[of == c].mean() for c in range(1000)], ddof=1)
            np.mean([p[of == c].std() for c in range(1000)])
        return time.perf_counter() - started

    def counted(resamples: int) -> float:
        """The same with bincount instead of loops over bins and classes."""
        started = time.perf_counter()
        for number in range(resamples):
            drawn = np.random.default_rng([0, number]).integers(0, n, n)
            hit, sure, of, p = right[drawn], confidence[drawn], label[drawn], truth[drawn]
            hit.mean()
            which = np.searchsorted(edges, sure)
            np.abs(np.bincount(which, hit, 16) - np.bincount(which, sure, 16)).sum() / n
            size = np.bincount(of, minlength=1000)
            (np.bincount(of, hit, 1000) / size).std(ddof=1)
            mean = np.bincount(of, p, 1000) / size
            np.sqrt(np.bincount(of, (p - mean[of]) ** 2, 1000) / size).mean()
        return time.perf_counter() - started

    times = alternate(
        {
            "ours": lambda: _timed(lambda: resample(right, confidence, label, truth, Draws.of(len(label)))),
            "plain": lambda: 100 * plain(10),
            "counted": lambda: 10 * counted(100),
        }
    )
    ours = times["ours"]
    yield Row(
        "bootstrap of accuracy, ECE and class balance, 1,000 resamples of 50,000 samples",
        f"{ours.median:.2f} s",
        f"the same in a NumPy loop: {times['plain'].median:.0f} s (10 resamples, times 100);"
        f" with bincount for bins and classes: {times['counted'].median:.1f} s (100, times 10)",
        f"{times['plain'].median / ours.median:.0f} x; {times['counted'].median / ours.median:.1f} x",
        ">= 10 x",
        times["plain"].median / ours.median >= 10,
        ours.spread,
    )


def _timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


__all__ = ["bootstrap", "calibration", "commits", "large_stores", "planning", "start_up"]
