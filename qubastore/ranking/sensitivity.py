"""How much a ranking depends on its weights: what makes one model overtake another, and how often each is on top.

Both use the standardised values s = sign * (x - mean) / std of each model and dimension: QUBA = sum(w * s) / sum(w),
so that A is above B exactly if sum(w * (s_A - s_B)) > 0. The normalisation stays fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qubastore.attachments.attached import AttachedDatabase
from qubastore.errors import UsageError
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.explain import not_ranked
from qubastore.ranking.rank import rank_with_contributions
from qubastore.ranking.request import RankRequest
from qubastore.ranking.result import Ranking

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DEFAULTS = RankRequest()

DRAWS = 1_000


CONCENTRATION = 50.0
"""Concentration of the Dirichlet distribution: the standard deviation of a weight that is a ninth of the total is then
0.044, two fifths of it."""


@dataclass(frozen=True)
class Flip:
    """The change of one weight with which B overtakes A.

    Attributes:
        dimension: The dimension whose weight changes; the other weights stay the same.
        a: Standardised value of A; larger is better.
        b: Standardised value of B.
        weight: The current weight.
        needed: The weight at which both have the same score; beyond it B is above A. None if there is no such weight.
        factor: `needed` as a factor of the default weight, for `--weight`; None if `needed` is None.
    """

    dimension: str
    a: float
    b: float
    weight: float
    needed: float | None
    factor: float | None


@dataclass(frozen=True)
class Standing:
    """How a model ranks over weights drawn around the chosen ones.

    Attributes:
        model: Its name.
        source: Source of its figures.
        rank: Its rank with the chosen weights.
        first: Share of draws in which it is first, 0 to 1; models that share a rank each count.
        top5: Share of draws in which its rank is 5 or better.
        top10: Share of draws in which its rank is 10 or better.
        low: The 5 % quantile of its rank.
        high: The 95 % quantile of its rank.
    """

    model: str
    source: str
    rank: int
    first: float
    top5: float
    top10: float
    low: float
    high: float


def flips(store: AttachedDatabase, a: str, b: str, request: RankRequest = _DEFAULTS) -> tuple[Ranking, list[Flip]]:
    """The smallest change of each single weight that makes `b` overtake `a`.

    Args:
        store: An open store.
        a: The model that is ranked above `b`.
        b: The model that should overtake it.
        request: The ranking; not `partial`, where scores are divided by different weights.

    Returns:
        The ranking, and one row per weighted dimension: ordered by the size of the change relative to the weight, those
        that cannot change the order last.

    Raises:
        UsageError: if a model is not in the ranking, or `b` is already above `a`.
    """
    if request.partial:
        raise UsageError(
            "--flip cannot be used with --partial, which divides each model's score by its own total weight",
            hint="leave --partial out",
        )
    ranking, scores = _scores(store, request)
    names = [model.model for model in ranking.models]
    first, second = (_named(name, names) for name in (a, b))
    if ranking.models[first].source != ranking.models[second].source:
        raise UsageError(f"{a} and {b} are in different sources and never ranked together", hint="--source measured")
    w = _vector(ranking.weights)
    apart = scores[first] - scores[second]
    gap = float(w @ apart)
    if gap <= 0:
        raise UsageError(f"{b} is not below {a} in this ranking", hint=f"--flip {_quoted(b)} {_quoted(a)}")
    found = []
    for number, dimension in enumerate(DIMENSIONS):
        if w[number] == 0:
            continue
        difference = float(apart[number])
        needed = w[number] - gap / difference if difference else -1.0
        # A tie at weight 0 does not count as overtaking.
        reachable = needed > 0
        found.append(
            Flip(
                dimension.name,
                float(scores[first][number]),
                float(scores[second][number]),
                float(w[number]),
                float(needed) if reachable else None,
                float(needed / dimension.default_weight) if reachable else None,
            )
        )
    return ranking, sorted(found, key=_change)


def _change(flip: Flip) -> tuple[bool, float, str]:
    if flip.needed is None:
        return True, 0.0, flip.dimension
    return False, abs(flip.needed - flip.weight) / flip.weight, flip.dimension


def sensitivity(
    store: AttachedDatabase,
    request: RankRequest = _DEFAULTS,
    *,
    draws: int = DRAWS,
    concentration: float = CONCENTRATION,
    seed: int = 0,
) -> tuple[Ranking, list[Standing]]:
    """How often each model is first, in the top 5 and in the top 10, over weights drawn around the chosen ones.

    Weights are drawn from a Dirichlet distribution with the parameters concentration * w / sum(w): its mean is the
    chosen weights, a weight of 0 stays 0, and the larger the concentration, the closer the draws are to the mean.

    Args:
        store: An open store.
        request: The ranking; not `partial`.
        draws: Number of draws.
        concentration: Concentration of the distribution, above 0.
        seed: Seed of the draws.

    Returns:
        The ranking, and one row per model in its order.

    Raises:
        UsageError: with `partial`, or if the concentration is not above 0.
    """
    import numpy as np

    if request.partial:
        raise UsageError("--partial leaves out dimensions, so weights cannot be drawn for all models alike")
    if not (concentration > 0 and np.isfinite(concentration)):
        raise UsageError(f"the concentration is {concentration}", expected="a number above 0")
    ranking, scores = _scores(store, request)
    sources = [model.source for model in ranking.models]
    w = _vector(ranking.weights)
    used = w > 0
    drawn = np.random.default_rng(seed).dirichlet(concentration * w[used] / w.sum(), draws)
    quba = drawn @ scores[:, used].T
    places = np.empty(quba.shape, np.int64)
    for source in dict.fromkeys(sources):
        mine = np.array([each == source for each in sources])
        places[:, mine] = ranks(quba[:, mine])
    low, high = np.quantile(places, [0.05, 0.95], axis=0, method="nearest")
    standings = [
        Standing(
            model.model,
            model.source,
            model.rank,
            float((places[:, n] == 1).mean()),
            float((places[:, n] <= 5).mean()),
            float((places[:, n] <= 10).mean()),
            float(low[n]),
            float(high[n]),
        )
        for n, model in enumerate(ranking.models)
    ]
    return ranking, standings


def ranks(quba: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks within each row, 1 is best; equal scores share the better rank."""
    import numpy as np

    ordered = np.sort(-quba, axis=1)
    return np.stack([np.searchsorted(row, -mine, side="left") for row, mine in zip(ordered, quba, strict=True)]) + 1


def _scores(store: AttachedDatabase, request: RankRequest) -> tuple[Ranking, NDArray[np.float64]]:
    """A ranking, and (models, 9) standardised values in its order; larger is better, 0 without a weight."""
    import numpy as np

    ranking, contributions = rank_with_contributions(store, request)
    order = {dimension.name: number for number, dimension in enumerate(DIMENSIONS)}
    places = {(model.model, model.source): number for number, model in enumerate(ranking.models)}
    scores = np.zeros((len(ranking.models), len(DIMENSIONS)))
    for each in contributions:
        if (place := places.get((each.model, each.source))) is not None:
            scores[place, order[each.dimension]] = each.score
    return ranking, scores


def _vector(weights: Mapping[str, float]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([weights[dimension.name] for dimension in DIMENSIONS])


def _named(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise not_ranked(name, names)
    return names.index(name)


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name
