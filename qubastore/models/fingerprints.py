"""The fingerprint of a network: its outputs for a few fixed images, so that a changed network is another model.

Weights alone do not determine what a network computes: its code, constants, buffers that are not in the checkpoint and
files that it reads matter too. Two fingerprints are compared number by number, within a tolerance for the last digits,
which depend on the processor and the number of threads; they are never compared by a hash of rounded numbers, which a
difference in the last digit can change. The id of a new model contains such a hash all the same (`digest`): it only has
to differ between models that differ, and its rounding is finer than the tolerance, so equal digests mean the same
function.
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
"""Largest difference at which two outputs count as equal, relative to the largest of all outputs."""


_DIGEST_BITS = {DOUBLE: 24, SINGLE: 15}
"""Bits of the largest output that a digest keeps: steps of at most 1.2e-7 and 6.1e-5 of it, below the tolerance."""


VERSION = 1
"""Increased when the images change: fingerprints of different versions cannot be compared."""


@dataclass(frozen=True)
class Fingerprint:
    """A network's outputs for the fixed images (`qubastore.evaluators.loaders.fixed_images`).

    Attributes:
        values: (n,) float64, all outputs concatenated: logits image by image; image and text vectors of zero-shot
            models.
        precision: `float64`, or `float32` for networks that cannot be run in double precision.
        version: Version of the fixed images.
        packages: (package, version) pairs of the packages that computed the outputs.
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
        """Whether both are of the same function, within the wider tolerance of the two; None if they were computed from
        different images.
        """
        if self.version != other.version:
            return None
        return same_answers(self.values, other.values, max(TOLERANCES[f.precision] for f in (self, other)))

    @property
    def digest(self) -> str:
        """A hash of the outputs, rounded to a grid finer than the tolerance.

        Equal digests mean equal outputs within the tolerance; different ones prove nothing: compare with `agrees`.
        """
        finite = np.isfinite(self.values)
        largest = np.abs(self.values[finite]).max(initial=0.0)
        step = 2.0 ** (np.frexp(largest)[1] - _DIGEST_BITS[self.precision])
        # NaN and infinities are kept as they are; -0.0 and 0.0 are the same.
        steps = np.where(finite, np.round(np.where(finite, self.values, 0.0) / step) + 0.0, self.values)
        data = np.where(np.isnan(steps), np.nan, steps).astype("<f8").tobytes()
        head = f"{self.version}|{self.precision}|{step!r}|".encode()
        return hashlib.sha256(head + data).hexdigest()[:32]


def same_answers(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> bool:
    """Whether no two outputs differ by more than `tolerance` times the largest of `one`; NaN and infinity equal
    themselves.
    """
    if one.shape != other.shape:
        return False
    finite = np.isfinite(one) & np.isfinite(other)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return False
    largest = np.abs(one[finite]).max(initial=0.0)
    return bool((np.abs(one[finite] - other[finite]) <= tolerance * largest).all())
