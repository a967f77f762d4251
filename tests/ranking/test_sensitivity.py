"""What makes one model overtake another, and how often each stays on top: against re-ranking, and by hand."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.errors import UsageError
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from qubastore.ranking.sensitivity import flips, ranks, sensitivity


def places(store, weights):
    ranking = rank(store, RankRequest(weights, source="published"))
    return {row[1]: row[0] for row in ranking.rows}


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 40), (9, 200), (300, 325)])
def test_every_flip_is_what_ranking_again_says(published, first, second):
    weights = {"calibration": 2.0}
    ranking = rank(published, RankRequest(weights, source="published"))
    a, b = ranking.rows[first][1], ranking.rows[second][1]
    _, found = flips(published, a, b, RankRequest(weights, source="published"))
    assert len(found) == 9
    for flip in found:
        others = {"calibration": 2.0} if flip.dimension != "calibration_error" else {}
        if flip.needed is None:
            # Neither nothing of it nor very much of it is enough.
            for factor in (1e-9, 1e9):
                now = places(published, {**others, flip.dimension: factor})
                assert now[a] < now[b]
            continue
        assert flip.factor is not None
        factor, more = flip.factor, flip.needed > flip.weight
        before, after = (factor * (1 + sign * 1e-6 * (1 if more else -1)) for sign in (-1, 1))
        now = places(published, {**others, flip.dimension: before})
        assert now[a] < now[b]
        now = places(published, {**others, flip.dimension: after})
        assert now[b] < now[a]
    changes = [abs(flip.needed - flip.weight) / flip.weight for flip in found if flip.needed is not None]
    assert changes
    assert changes == sorted(changes)


def test_flips_that_make_no_sense(published):
    ranking = rank(published, RankRequest(source="published"))
    a, b = ranking.rows[0][1], ranking.rows[1][1]
    with pytest.raises(UsageError, match="is not below"):
        flips(published, b, a, RankRequest(source="published"))
    with pytest.raises(UsageError, match="did you mean"):
        flips(published, a, b + "x", RankRequest(source="published"))
    with pytest.raises(UsageError, match="--partial"):
        flips(published, a, b, RankRequest(source="published", partial=True))


def test_sensitivity_is_a_plain_loop_over_rankings(published):
    """The same draws, each ranked by the SQL of `rank`."""
    ranking, standings = sensitivity(
        published, RankRequest({"robustness": 0}, source="published"), draws=4, concentration=20, seed=3
    )
    from qubastore.metrics.dimensions import DIMENSIONS

    w = np.array([ranking.weights[dimension.name] for dimension in DIMENSIONS])
    drawn = np.random.default_rng(3).dirichlet(20 * w[w > 0] / w.sum(), 4)
    names = [dimension for dimension, weight in zip(DIMENSIONS, w, strict=True) if weight > 0]
    ranks = []
    for draw in drawn:
        factors = {d.name: value / d.default_weight for d, value in zip(names, draw, strict=True)}
        ranks.append(places(published, {**factors, "robustness": 0}))
    for standing in standings:
        mine = [each[standing.model] for each in ranks]
        assert standing.first == np.mean([place == 1 for place in mine])
        assert standing.top5 == np.mean([place <= 5 for place in mine])
        assert standing.top10 == np.mean([place <= 10 for place in mine])
    assert [standing.rank for standing in standings] == [row[0] for row in ranking.rows]


def test_draws_are_seeded_and_stay_close_with_a_large_concentration(published):
    drawn = partial(sensitivity, published, RankRequest(source="published"), draws=50)
    once, again = (drawn(seed=1)[1] for _ in range(2))
    other = drawn(seed=2)[1]
    assert once == again
    assert once != other
    close = drawn(concentration=1e9)[1]
    assert [standing.low for standing in close[:100]] == [standing.rank for standing in close[:100]]
    assert close[0].first == 1


def test_equal_scores_share_a_place():
    assert ranks(np.array([[0.5, 0.7, 0.5, 0.1]])).tolist() == [[2, 1, 2, 4]]


@pytest.mark.parametrize(
    ("options", "message"), [({"concentration": 0}, "above 0"), ({"concentration": float("nan")}, "above 0")]
)
def test_wrong_draws(published, options, message):
    with pytest.raises(UsageError, match=message):
        sensitivity(published, RankRequest(source="published"), **options)


def test_the_commands(empty_store):
    def ask(*arguments):
        return CliRunner().invoke(cli, ["sensitivity", "--store", str(empty_store), *arguments])

    shown = ask("--top", "3", "--draws", "20")
    assert shown.exit_code == 0
    assert "%" in shown.output
    rows = json.loads(ask("--flip", "EVA02-b-21k", "Hiera-B-Plus", "--format", "json").stdout)
    assert {"dimension", "needed", "factor"} < set(rows[0])
    assert "has no effect with --flip" in ask("--flip", "a", "b", "--draws", "5").output
