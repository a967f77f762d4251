"""Which models of a ranking do not differ significantly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qubastore.statistics.estimates import p_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qubastore.statistics.crossed import Crossed, Spread


def pairwise_p_values(
    scores: NDArray[np.float64], quba: NDArray[np.float64], crossed: Sequence[Mapping[str, Crossed]] = ()
) -> NDArray[np.float64]:
    """The p-value of the difference of every two models, Holm-corrected over all pairs.

    Args:
        scores: (n,) scores.
        quba: (n_resamples, n) resamples of the scores.
        crossed: For every model, how its score varies with images that cross two kinds of parts, by dimension; the
            resamples then exclude that variation.

    Returns:
        (n, n) symmetric; 1 on the diagonal, and for models whose difference is 0.
    """
    import itertools

    import numpy as np

    from qubastore.statistics.tests import holm

    n = len(scores)
    pairs = list(itertools.combinations(range(n), 2))
    raw = []
    for one, other in pairs:
        spreads = _spreads(crossed[one], crossed[other]) if crossed else ()
        raw.append(p_value(float(scores[one] - scores[other]), quba[:, one] - quba[:, other], spreads))
    p = np.ones((n, n))
    for (one, other), value in zip(pairs, holm(raw), strict=True):
        p[one, other] = p[other, one] = value
    return p


def _spreads(one: Mapping[str, Crossed], other: Mapping[str, Crossed]) -> list[Spread]:
    """How the difference of two scores varies with crossed images, by dimension."""
    return [
        one[name].spread_apart(other[name]) if name in one and name in other else (one.get(name) or other[name]).spread
        for name in dict.fromkeys([*one, *other])
    ]


def tie_groups(
    scores: NDArray[np.float64],
    quba: NDArray[np.float64],
    alpha: float,
    crossed: Sequence[Mapping[str, Crossed]] = (),
) -> list[int]:
    """The group of each of n models, best first: a group ends before the first model that differs from its first."""
    p = pairwise_p_values(scores, quba, crossed)
    groups: list[int] = []
    leader = 0
    for number in range(len(scores)):
        if number and p[leader, number] < alpha:
            leader = number
        groups.append(groups[-1] + (leader == number) if groups else 1)
    return groups
