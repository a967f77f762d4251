"""The bootstrap: resample by resample against a plain loop, paired between models, and what its spread means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qubastore.statistics.bootstrap import Draws, resample, shares

N, C = 400, 7


@pytest.fixture(scope="module")
def outputs():
    generator = np.random.default_rng(1)
    label = generator.integers(0, C, N)
    confidence = generator.uniform(0, 1, N)
    right = generator.uniform(size=N) < confidence
    return right, confidence, label, np.where(right, confidence, (1 - confidence) / (C - 1))


Outputs = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Of samples: whether right, confidence, label, probability of the label."""


def plain(right, confidence, label, truth, drawn):
    """Accuracy, ECE and class balance of drawn samples, bin by bin and class by class."""
    right, confidence, label, truth = right[drawn], confidence[drawn], label[drawn], truth[drawn]
    ece = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    drawn_classes = [c for c in range(C) if (label == c).any()]
    spread = np.std([right[label == c].mean() for c in drawn_classes], ddof=1)
    deviation = np.mean([truth[label == c].std() for c in drawn_classes])
    return right.mean(), ece, np.sqrt((1 - spread) * (1 - deviation))


def test_every_resample_is_that_of_a_plain_loop(outputs: Outputs):
    draws = Draws.of(N, 70, seed=3)
    found = resample(*outputs, draws)
    for number, counts in enumerate(draws.counts):
        assert counts.sum() == N
        drawn = np.repeat(np.arange(N), counts)
        want = plain(*outputs, drawn)
        got = (found.accuracy[number], found.ece[number], found.class_balance[number])
        assert got == pytest.approx(want, abs=1e-12)


def test_resamples_depend_on_seed_stratum_and_number_alone():
    one, other = Draws.of(N, 130, seed=5), Draws.of(N, 65, seed=5)
    np.testing.assert_array_equal(one.counts[:65], other.counts)
    assert (Draws.of(N, 65, seed=6).counts != other.counts).any()
    assert (Draws.of(N, 65, seed=5, stratum=1).counts != other.counts).any()


def test_a_run_without_some_samples_is_paired_with_one_that_has_all(outputs):
    """What a resample drew of the samples that are there; the others are left out of its share."""
    right = outputs[0]
    draws, there = Draws.of(N, 20), np.arange(N) % 7 != 0
    found = shares(right[None, there], draws.at(np.flatnonzero(there)))
    for number, counts in enumerate(draws.counts):
        drawn = np.repeat(np.arange(N), counts)
        drawn = drawn[there[drawn]]
        assert found[0, number] == pytest.approx(right[drawn].mean(), abs=1e-15)


def test_models_over_the_same_samples_are_paired(outputs):
    """One model that is right wherever the other is, and on ten samples more, is above it in every resample."""
    right, confidence, label, truth = outputs
    better = right.copy()
    better[np.flatnonzero(~right)[:10]] = True
    draws = Draws.of(N, 50)
    lower = resample(right, confidence, label, truth, draws).accuracy
    upper = resample(better, confidence, label, truth, draws).accuracy
    assert (upper >= lower).all()
    assert (upper > lower).mean() > 0.9


def test_the_spread_of_accuracy_is_the_binomial_one(outputs: Outputs):
    found = resample(*outputs, Draws.of(N, 2000)).accuracy
    share = outputs[0].mean()
    assert found.mean() == pytest.approx(share, abs=0.002)
    assert found.std() == pytest.approx(np.sqrt(share * (1 - share) / N), rel=0.05)
