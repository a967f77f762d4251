"""ACE of many resamples at once: that of the samples drawn, computed resample by resample."""

from __future__ import annotations

import numpy as np
import pytest

from qubastore.metrics import resampled_ace
from qubastore.metrics.resampled_ace import resampled
from qubastore.metrics.transforms.adaptive_calibration import compute
from qubastore.statistics.bootstrap import Draws


def made(n, n_classes, boost=3.0, scale=1.0, dtype=np.float32):
    """Logits that favour the label by `boost`; (n, n_classes) float32, (n,) int32."""
    generator = np.random.default_rng(n)
    labels = generator.integers(0, n_classes, n).astype(np.int32)
    logits = generator.normal(size=(n, n_classes)) * scale
    logits[np.arange(n), labels] += boost
    return logits.astype(dtype).astype(np.float32), labels


def one_by_one(logits, labels, draws):
    return [compute(logits.repeat(counts, axis=0), labels.repeat(counts)) for counts in draws.counts]


@pytest.mark.parametrize(
    "options",
    [
        {"n": 3000, "n_classes": 20},
        {"n": 6000, "n_classes": 90, "boost": 6.0},
        {"n": 3000, "n_classes": 5, "boost": 0.0},
        {"n": 3000, "n_classes": 20, "scale": 400.0},
        {"n": 2000, "n_classes": 11, "dtype": np.float16},
        {"n": 900, "n_classes": 3, "boost": 1.0, "scale": 0.0},
        {"n": 40, "n_classes": 60},
        {"n": 1, "n_classes": 4},
    ],
    ids=["usual", "sure", "uninformed", "zeros", "rounded", "ties", "classes-without-samples", "one"],
)
def test_every_resample_is_that_of_the_samples_drawn(options):
    logits, labels = made(**options)
    draws = Draws.of(len(labels), 12, seed=4)
    np.testing.assert_allclose(resampled(logits, labels, draws), one_by_one(logits, labels, draws), rtol=0, atol=1e-12)


def test_leaving_one_sample_out_each():
    logits, labels = made(150, 4)
    draws = Draws((1 - np.eye(150)).astype(np.uint8))
    np.testing.assert_allclose(resampled(logits, labels, draws), one_by_one(logits, labels, draws), rtol=0, atol=1e-12)


def test_samples_drawn_more_than_255_times():
    logits, labels = made(60, 4)
    draws = Draws(np.random.default_rng(0).integers(0, 700, (5, 60)).astype(np.uint16))
    np.testing.assert_allclose(resampled(logits, labels, draws), one_by_one(logits, labels, draws), rtol=0, atol=1e-12)


def test_nothing_drawn_of_a_class():
    """Class 1 has no draws in the first resample, and the second draws one sample alone."""
    logits, labels = made(30, 2)
    counts = np.zeros((2, 30), np.uint8)
    counts[0, labels == 0] = 1
    counts[1, 3] = 1
    draws = Draws(counts)
    np.testing.assert_allclose(resampled(logits, labels, draws), one_by_one(logits, labels, draws), rtol=0, atol=1e-12)


@pytest.mark.parametrize("deviations", [0.0, 0.3])
def test_a_search_that_begins_too_high_is_done_from_the_lowest(monkeypatch, deviations):
    """With margins that are far too small, classes are searched anew, and the results stay."""
    logits, labels = made(3000, 12)
    draws = Draws.of(3000, 12)
    searched = []
    inner = resampled_ace._error_from

    def spy(each, drawn, lowest_bin, low):
        searched.append(low)
        return inner(each, drawn, lowest_bin, low)

    monkeypatch.setattr(resampled_ace, "_DEVIATIONS", deviations)
    monkeypatch.setattr(resampled_ace, "_error_from", spy)
    found = resampled(logits, labels, draws)
    assert len(searched) > 12
    assert {0} < set(searched)
    np.testing.assert_allclose(found, one_by_one(logits, labels, draws), rtol=0, atol=1e-12)


def test_most_samples_are_not_searched(monkeypatch):
    """A model that knows its classes has their samples on top: a fraction of all is looked at."""
    logits, labels = made(20_000, 50, boost=8.0)
    searched = []
    inner = resampled_ace._error_from

    def spy(each, drawn, lowest_bin, low):
        searched.append(len(each.probability) - low)
        return inner(each, drawn, lowest_bin, low)

    monkeypatch.setattr(resampled_ace, "_error_from", spy)
    resampled(logits, labels, Draws.of(20_000, 3))
    assert sum(searched) < 0.2 * logits.size
