"""Fingerprints: answers to fixed images, and networks whose outputs are not repeatable."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qubastore.errors import ModelError
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.fixed_images import check_repeatable, fixed_pixels
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.models.fingerprints import DOUBLE, SINGLE, TOLERANCES, Fingerprint, same_answers
from tests.evaluators.loaders.changing_net import described


def test_fingerprint_by_hand(net):
    """The mean of each fixed image decides all three logits: -(mean - k/2)^2 * 40."""
    means = fixed_pixels(8, 8).astype(np.float32).astype(np.float64) / 255
    means = means.reshape(4, -1).mean(axis=1)
    centres = np.arange(3) / 2
    found = described(net).fingerprint
    assert found.precision == DOUBLE
    np.testing.assert_allclose(found.values.reshape(4, 3), -((means[:, None] - centres) ** 2) * 40, atol=1e-5)


def test_what_fails_in_double_precision_is_fingerprinted_in_single():
    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(192, 2))
            self.plain = torch.full((2,), 0.5)  # no buffer: it stays float32

        def forward(self, x):
            return torch.mm(x.flatten(1), self.weight) @ torch.diag(self.plain)

    class Cast(Fixed):
        def forward(self, x):
            return x.float().flatten(1) @ self.weight.float()

    config = {"input_size": (3, 8, 8)}
    for network in (Fixed(), Cast()):
        loaded = InMemoryModel("net", network, config).load()
        found = describe(loaded).fingerprint
        assert found is not None
        assert found.precision == SINGLE
        assert network.weight.dtype == torch.float32


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=20),
    st.sampled_from([DOUBLE, SINGLE]),
    st.floats(-1, 1),
)
def test_equal_digests_mean_the_same_function(values, precision, noise):
    """Whatever the values: a digest is equal only within the tolerance, and is that of the stored values read back."""
    one = Fingerprint.of(values, precision, 1)
    other = Fingerprint.of(np.asarray(values) * (1 + noise * TOLERANCES[precision] * 3), precision, 1)
    assert one.agrees(Fingerprint.of(one.values.tolist(), precision, 1))
    assert one.digest == Fingerprint.of(one.values.tolist(), precision, 1).digest
    if one.digest == other.digest:
        assert one.agrees(other)


def test_tolerance_is_relative_to_the_largest_answer():
    assert same_answers(np.array([1000.0, 0.0]), np.array([1000.0, 0.0009]), 1e-6)
    assert not same_answers(np.array([1000.0, 0.0]), np.array([1000.0, 0.0011]), 1e-6)
    assert not same_answers(np.array([1.0]), np.array([np.nan]), 1e-6)
    assert same_answers(np.array([np.nan, np.inf, 1]), np.array([np.nan, np.inf, 1]), 1e-6)
    assert not same_answers(np.zeros(2), np.zeros(3), 1e-6)


class Grey(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = torch.nn.Parameter(torch.arange(4).float() / 3)

    def forward(self, x):
        return -((x.mean((1, 2, 3))[:, None] - self.centres[None]) ** 2) * 40


class Dropped(Grey):
    def forward(self, x):
        return torch.nn.functional.dropout(super().forward(x), 0.5)


class Seeded(Grey):
    """Draws the same numbers each time, by the place in the batch."""

    def forward(self, x):
        noise = torch.randn(len(x), 1, generator=torch.Generator().manual_seed(0))
        return super().forward(x) * (1 + noise)


class Counting(Grey):
    """Changes with every pass."""

    passes = 0

    def forward(self, x):
        self.passes += 1
        return super().forward(x) + torch.arange(4) * self.passes


class OfBatch(Grey):
    def forward(self, x):
        answers = super().forward(x)
        return answers - answers.mean(0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Dropped(), "for the same images each time"),
        (Counting(), "for the same images each time"),
        (OfBatch(), "depending on the other images of its batch"),
        (Seeded(), "depending on the other images of its batch"),
    ],
)
def test_a_network_that_answers_differently_gets_no_identity(network, message):
    loaded = InMemoryModel("net", network, {"input_size": (3, 8, 8)}).load()
    with pytest.raises(ModelError, match=message) as caught:
        describe(loaded)
    assert "differ by up to" in str(caught.value)
    check_repeatable(InMemoryModel("net", Grey(), {"input_size": (3, 8, 8)}).load())


def test_importing_fingerprints_needs_no_torch():
    code = "import qubastore.models.fingerprints, qubastore.models.recognition, sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
