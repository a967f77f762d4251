"""Options of intervals and tests: number of resamples, level and seed."""

from __future__ import annotations

from dataclasses import dataclass

from qubastore.errors import UsageError

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
"""Defaults."""


@dataclass(frozen=True)
class BootstrapOptions:
    """Options of intervals and tests.

    Attributes:
        resamples: Number of resamples, at least 2.
        level: Confidence level of intervals, and 1 - significance level of tests; between 0 and 1.
        seed: Seed of the draws, 0 or more.

    Raises:
        UsageError: on values out of range.
    """

    resamples: int = RESAMPLES
    level: float = LEVEL
    seed: int = SEED

    def __post_init__(self) -> None:
        if self.resamples < 2 or self.seed < 0:
            found = f"{self.resamples} resamples with seed {self.seed}"
            raise UsageError(found, expected="at least 2 resamples and a seed of 0 or more")
        if not 0 < self.level < 1:
            raise UsageError(f"the level is {self.level}", expected="a number between 0 and 1", hint="--level 0.95")
