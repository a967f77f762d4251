"""Benchmark of fitting linear probes: time and memory against scikit-learn, on the same features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figures, Row, in_process

N, WIDTH, CLASSES, C = 100_000, 768, 100, 0.01

FEATURES = f"""
import sys, time
import numpy as np
random = np.random.default_rng(0)
means = 0.12 * random.normal(size=({CLASSES}, {WIDTH})).astype(np.float32)
labels = random.integers(0, {CLASSES}, {N}).astype(np.int64)
features = random.standard_normal(({N}, {WIDTH}), np.float32)
features += means[labels]
"""

OURS = f"""
from qubastore.statistics import logistic
from qubastore.statistics.logistic import fit_logistic
logistic.TOLERANCE = float(sys.argv[1])
started = time.perf_counter()
found = fit_logistic(features, labels, {CLASSES}, {C})
RESULT = {{"seconds": time.perf_counter() - started}}
"""

THEIRS = f"""
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
model = make_pipeline(StandardScaler(), LogisticRegression(C={C}, max_iter=1000, tol=float(sys.argv[1])))
started = time.perf_counter()
model.fit(features.astype(np.float64), labels)
RESULT = {{"seconds": time.perf_counter() - started}}
"""


def probes(folder: Path) -> Iterator[Row]:
    """One linear probe of 100,000 x 768 features and 100 classes, with one value of its hyperparameter."""
    del folder
    tolerance = "1e-6"
    ours, theirs = (in_process(FEATURES + code, tolerance) for code in (OURS, THEIRS))
    loose = in_process(FEATURES + THEIRS, "1e-4")
    yield Row(
        f"a linear probe of {N:,} x {WIDTH} features, {CLASSES} classes, one C, gradient below 1e-6",
        f"{ours['seconds']:.0f} s, peak {ours['peak_mib'] / 1024:.2f} GiB",
        f"scikit-learn to the same tolerance: {theirs['seconds']:.0f} s, {theirs['peak_mib'] / 1024:.2f} GiB;"
        f" to its own, 1e-4: {loose['seconds']:.0f} s",
        f"{ours['seconds'] / theirs['seconds']:.2f}x the time, {ours['peak_mib'] / theirs['peak_mib']:.2f}x the memory",
        "-",
        None,
        "each once, in a process of its own; the peak includes the features, 0.29 GiB in float32",
        Figures("s", ours["seconds"], theirs["seconds"], ours["seconds"] / theirs["seconds"]),
    )
