"""How intervals and tests are made: resamples, level and seed."""

from __future__ import annotations

from dataclasses import dataclass

from qubastore.errors import UsageError

RESAMPLES = 1000
LEVEL = 0.95
"""Defaults."""


@dataclass(frozen=True)
class BootstrapOptions:
    """How intervals and tests are made.

    Attributes:
        resamples: How many, at least 2.
        level: Of intervals, and 1 - the level of tests; between 0 and 1.
        seed: Of the draws, 0 or more.

    Raises:
        UsageError: on numbers that cannot be.
    """

    resamples: int = RESAMPLES
    level: float = LEVEL
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 2 or self.seed < 0:
            found = f"{self.resamples} resamples with seed {self.seed}"
            raise UsageError(found, expected="at least 2, and a seed from 0 up")
        if not 0 < self.level < 1:
            raise UsageError(f"the level is {self.level}", expected="a number between 0 and 1", hint="--level 0.95")
