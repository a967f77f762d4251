"""Benchmarks of kept logits: calibration errors computed from them, and the space that they take."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Figures, Row, alternate, in_process

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
    """ECE and ACE of 50,000 x 1,000 kept logits, and the storage that they take."""
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
        Figures("s", ours.median, reference.median, ratio),
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
        Figures("bytes", float(each), float(plain), float(plain / each)),
    )
