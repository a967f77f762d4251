"""The fingerprint of a network: what it answers to a few fixed images, so that a changed network is another model.

Weights alone do not say what a network computes: code, plain numbers, buffers that no checkpoint holds and files that
it reads decide too. Two fingerprints are compared number by number, within a tolerance that covers what processors and
thread counts change in the last digits; they are never compared by a hash of rounded numbers, which a difference in the
last digit can change. A new model's id holds such a hash all the same (`digest`): it only has to differ between models
that differ, and its rounding is finer than the tolerance, so equal digests mean the same function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

DOUBLE, SINGLE = "float64", "float32"


TOLERANCES = {DOUBLE: 1e-6, SINGLE: 1e-4}
"""Largest difference of two answers that are the same, relative to the largest of all answers."""


_DIGEST_BITS = {DOUBLE: 24, SINGLE: 15}
"""Bits of the largest answer that a digest keeps: steps of at most 1.2e-7 and 6.1e-5 of it, below the tolerance."""


VERSION = 1
"""Raised when the images change: fingerprints of different versions say nothing about one another."""


@dataclass(frozen=True)
class Fingerprint:
    """Answers to the fixed images (`qubastore.evaluators.loaders.fixed_images`).

    Attributes:
        values: (n,) float64, all answers in a row: logits image by image; image and text vectors of zero-shot models.
        precision: `float64`, or `float32` for networks that cannot be run in double precision.
        version: Which images.
        packages: Package -> version that computed them.
    """

    values: NDArray[np.float64] = field(repr=False)
    precision: str = DOUBLE
    version: int = VERSION
    packages: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls, values: Sequence[float] | NDArray[Any], precision: str, version: int, packages: Any = ()
    ) -> Fingerprint:
        """A fingerprint from stored values; packages as pairs or a mapping."""
        pairs = packages.items() if hasattr(packages, "items") else packages
        return cls(np.asarray(values, np.float64), precision, version, tuple(sorted(pairs or ())))

    def agrees(self, other: Fingerprint) -> bool | None:
        """Whether both are of the same function, within the wider tolerance of the two; None where they are answers to
        other images.
        """
        if self.version != other.version:
            return None
        return same_answers(self.values, other.values, max(TOLERANCES[f.precision] for f in (self, other)))

    @property
    def digest(self) -> str:
        """A hash of the answers on a grid finer than the tolerance: equal digests mean the same function."""
        finite = np.isfinite(self.values)
        largest = np.abs(self.values[finite]).max(initial=0.0)
        step = 2.0 ** (np.frexp(largest)[1] - _DIGEST_BITS[self.precision])
        # What is not finite keeps its kind; -0.0 and 0.0 are one.
        steps = np.where(finite, np.round(np.where(finite, self.values, 0.0) / step) + 0.0, self.values)
        data = np.where(np.isnan(steps), np.nan, steps).astype("<f8").tobytes()
        head = f"{self.version}|{self.precision}|{step!r}|".encode()
        return hashlib.sha256(head + data).hexdigest()[:32]


def same_answers(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> bool:
    """Whether no two answers differ by more than `tolerance` times the largest of `one`; NaN and infinity equal
    themselves.
    """
    if one.shape != other.shape:
        return False
    finite = np.isfinite(one) & np.isfinite(other)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return False
    largest = np.abs(one[finite]).max(initial=0.0)
    return bool((np.abs(one[finite] - other[finite]) <= tolerance * largest).all())
