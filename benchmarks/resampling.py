"""Benchmarks of the bootstrap against plain loops and against NumPy's bincount."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Figures, Row, alternate, timed


def bootstrap(folder: Path) -> Iterator[Row]:
    """Bootstrap of accuracy, ECE and class balance: 1,000 resamples of 50,000 samples."""
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
        """A straightforward loop over resamples, bins and classes."""
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
            "ours": lambda: timed(lambda: resample(right, confidence, label, truth, Draws.of(len(label)))),
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
        Figures("s", ours.median, times["plain"].median, times["plain"].median / ours.median),
    )


def resampled_ace(folder: Path) -> Iterator[Row]:
    """ACE of 1,000 resamples of 50,000 samples and 1,000 classes, in CPU seconds, which threads do not shorten."""
    from qubastore.metrics.resampled_ace import resampled
    from qubastore.metrics.transforms.adaptive_calibration import compute
    from qubastore.statistics.bootstrap import Draws

    del folder

    generator = np.random.default_rng(0)
    n, n_classes, plainly = 50_000, 1000, 2
    labels = generator.integers(0, n_classes, n).astype(np.int32)
    logits = generator.normal(size=(n, n_classes)).astype(np.float32)
    # Right for 92 % of the samples, and far off for some, as networks are.
    logits[np.arange(n), labels] += (7 + 2.5 * generator.normal(size=n)).astype(np.float32)
    draws = Draws.of(n)

    started = time.process_time()
    found = resampled(logits, labels, draws)
    ours = time.process_time() - started
    started = time.process_time()
    plain = [compute(logits.repeat(counts, axis=0), labels.repeat(counts)) for counts in draws.counts[:plainly]]
    against = (time.process_time() - started) * draws.n / plainly
    yield Row(
        "ACE of 1,000 resamples of 50,000 samples and 1,000 classes, CPU seconds",
        f"{ours:.0f} s",
        f"the ACE of the drawn samples, one resample after the other: {against:.0f} s"
        f" ({plainly} resamples, times {draws.n // plainly})",
        f"{against / ours:.0f} x",
        "under 20 s",
        ours < 20,
        f"accuracy {(logits.argmax(axis=1) == labels).mean():.2f};"
        f" the first two resamples differ by {np.abs(found[:plainly] - plain).max():.1e}",
        Figures("s", ours, against, against / ours),
    )
