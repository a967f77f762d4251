"""Tests and corrections: Spearman's rank correlation, Wilcoxon's signed ranks, Holm's step-down correction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Spearman's rho and its two-sided p-value from the t approximation, as in scipy.stats.spearmanr.

    It avoids importing scipy.stats, which takes a third of a second: too long for a command that only queries.
    """
    import numpy as np
    from scipy.special import stdtr

    ranks: list[NDArray[np.float64]] = []
    for values in (x, y):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        # Equal values share the mean of their ranks.
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    rho = float(np.clip(np.corrcoef(ranks[0], ranks[1])[0, 1], -1, 1))
    freedom = len(x) - 2
    if abs(rho) == 1:
        return rho, 0.0
    return rho, float(2 * stdtr(freedom, -abs(rho) * np.sqrt(freedom / ((1 + rho) * (1 - rho)))))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; tests without a p-value are ignored.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[index] = highest
    return corrected


def signed_rank(differences: Any) -> tuple[float, float]:
    """Matched-pairs rank-biserial correlation and Wilcoxon's p-value; pairs without a difference are left out."""
    import numpy as np
    from scipy import stats

    kept = differences[differences != 0]
    if not len(kept):
        return 0.0, 1.0
    ranks = stats.rankdata(np.abs(kept))
    effect = float((ranks[kept > 0].sum() - ranks[kept < 0].sum()) / ranks.sum())
    with warnings.catch_warnings():
        # With ties, SciPy falls back from the exact distribution to the normal approximation, and warns.
        warnings.simplefilter("ignore")
        return effect, float(stats.wilcoxon(kept).pvalue)
