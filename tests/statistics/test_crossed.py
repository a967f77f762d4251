"""Intervals over images that cross two kinds of parts: by hand, against plain loops and SciPy, and by simulation."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import EFFECTS, coverage, design
from qubastore.statistics.bootstrap import Draws, resample
from qubastore.statistics.crossed import Crossed, Multipliers, jackknife, spread, wilson
from qubastore.statistics.estimates import Estimate
from qubastore.statistics.sampling_units import Units, units_of
from tests.conftest import shared
from tests.statistics.plain_variance import plain_variance, plain_variance_of

CUES = {"shape": "bear", "texture": "cat"}


@pytest.mark.parametrize(
    ("key", "factors", "parts"),
    [
        ("bear/bear10-cat2.png", CUES, ("shape bear10", "texture cat2")),
        ("bear10-cat2.png", {"shape": "polar bear", "texture": "cat"}, None),
        ("bear10-cat2.png", {}, None),
        ("bear/bear-cat.png", CUES, None),
        ("00_dog/fg_n02085_01_bg_n02_9.JPEG", {}, ("foreground n02085_01", "background n02_9")),
        ("00_dog/n02085_01.JPEG", {}, None),
    ],
)
def test_what_images_are_made_of(key, factors, parts):
    units = units_of([(key, factors)])
    if parts is None:
        assert units is None
        return
    assert units is not None
    # The same name is the same part, wherever it is.
    again = units_of([("x/fg_a_bg_b.png", {}), ("y/fg_a_bg_c.png", {}), ("y/alone.png", {}), (key, factors)])
    assert again is not None
    assert (units.first[0], units.second[0]) == (again.first[3], again.second[3])
    assert again.first[0] == again.first[1] != again.first[2]
    assert len(set(again.second)) == 4


def groups(pattern, text):
    """The groups of a pattern that a text must match."""
    match = re.fullmatch(pattern, text)
    assert match is not None
    return match.groups()


def of_codes(first, second):
    return Units(np.asarray(first, np.int64), np.asarray(second, np.int64))


def test_the_variance_by_hand():
    """Four images of two shapes and two textures, contributions 3, 1, -1, -3.

    Shapes: (3 + 1)^2 + (-1 - 3)^2 = 32, times 2 / 1; textures: (3 - 1)^2 + (1 - 3)^2 = 8, times 2 / 1; single images:
    9 + 1 + 1 + 9 = 20, times 4 / 3. V = 64 + 16 - 26.67. Degrees of freedom: the textures' 16 are below 26.67, the
    shapes' have the weight sqrt(1 - 26.67 / 64) and one degree.
    """
    found = spread(np.array([3.0, 1, -1, -3]), of_codes([0, 0, 1, 1], [0, 1, 0, 1]))
    single = 20 * 4 / 3
    assert found.variance == pytest.approx(80 - single)
    assert found.freedom == pytest.approx((80 - single) ** 2 / (64**2 * math.sqrt(1 - single / 64) + single**2 / 3))
    # Contributions that cancel within shapes and within textures: never below what single images vary.
    floor = spread(np.array([1.0, -1, -1, 1]), of_codes([0, 0, 1, 1], [0, 1, 0, 1]))
    assert floor.variance == pytest.approx(4 * 4 / 3)
    assert spread(np.zeros(4), of_codes([0, 0, 1, 1], [0, 1, 0, 1])).variance == 0


def test_few_parts_that_carry_all_are_few_degrees_of_freedom():
    """Forty shapes with two images each and textures of their own; k shapes have the sum 2 or -2, the others 0.

    V_first = 4 k * 40 / 39, of 3 * (4 k)^2 / (16 k) = 3 k degrees, at least 8 and at most 39. Every image alone:
    V = 2 k * 80 / 79.
    """
    units = of_codes(np.repeat(np.arange(40), 2), np.arange(80) + 40)
    for k, degrees in ((2, 8), (4, 12), (20, 39)):
        contributions = np.repeat([1.0, -1.0] * 20, 2)
        contributions[2 * k :] = 0
        first, single = 4 * k * 40 / 39, 2 * k * 80 / 79
        found = spread(contributions, units)
        assert found.variance == pytest.approx(first)
        total = first**2 * math.sqrt(1 - single / first) / degrees + single**2 / 79
        assert found.freedom == pytest.approx(first**2 / total)


@pytest.mark.parametrize("effect", [0, 1])
def test_the_variance_is_that_of_plain_loops(effect):
    generator = np.random.default_rng(effect)
    first, second = generator.integers(0, 12, 80), generator.integers(0, 7, 80)
    contributions = generator.normal(size=80) + effect * (generator.normal(size=12)[first] + second - 3)
    contributions -= contributions.mean()
    found = spread(contributions, of_codes(first, second + 100)).variance
    assert found == pytest.approx(plain_variance(contributions, first.tolist(), second.tolist()), rel=1e-9)


def test_numbers_depend_on_seed_part_and_resample_alone():
    units = design(60, 12, 8, np.random.default_rng(0))
    contributions = np.random.default_rng(1).normal(size=60)
    many, few = Multipliers(130, 5), Multipliers(65, 5)
    np.testing.assert_array_equal(many.sums(contributions, units)[:65], few.sums(contributions, units))
    order = np.random.default_rng(2).permutation(60)
    np.testing.assert_allclose(few.sums(contributions[order], units.at(order)), few.sums(contributions, units))
    assert (Multipliers(65, 6).sums(contributions, units) != few.sums(contributions, units)).all()


def a_share(hits, counting, units, multipliers):
    share = hits.sum() / counting.sum()
    crossed = Crossed((hits - share * counting) / counting.sum(), units, multipliers, share, counting)
    return Estimate.of(share, np.full(multipliers.n, share), crossed)


@pytest.mark.parametrize("hits", [0, 1, 3, 60, 119, 120])
def test_the_interval_of_a_share_is_wilson_s_where_every_part_is_in_one_image(hits):
    units = of_codes(np.arange(120), np.arange(120) + 1000)
    found = a_share(np.arange(120) < hits, np.ones(120, bool), units, Multipliers(20_000, 0)).interval()
    # The variance has the n - 1 of a sample in it, and the distribution is Student's.
    size = 119 if 0 < hits < 120 else 120
    z = stats.t.ppf(0.975, 119) if 0 < hits < 120 else stats.norm.ppf(0.975)
    expected = wilson(hits / 120, size, np.array([-z, z]))
    assert found == pytest.approx(expected, abs=0.004)
    exact = stats.binomtest(hits, 120).proportion_ci(method="wilson")
    assert found == pytest.approx((exact.low, exact.high), abs=0.006)


def test_resamples_have_the_variance():
    generator = np.random.default_rng(3)
    units = design(600, 80, 48, generator)
    contributions = generator.normal(size=600) + generator.normal(size=80)[units.first]
    contributions -= contributions.mean()
    varies = Crossed(contributions, units, Multipliers(20_000, 0))
    assert varies.deviations.std() == pytest.approx(math.sqrt(varies.spread.variance), rel=0.03)
    assert varies.scaled(-2).deviations == pytest.approx(-2 * varies.deviations)


def test_a_difference_has_its_own_variance():
    """Two models whose shapes and textures matter alike: what is left of the difference is single images."""
    generator = np.random.default_rng(4)
    units = design(1200, 160, 48, generator)
    logit = 1.5 * generator.normal(size=160)[units.first] + 1.5 * generator.normal(size=48)[units.second - 160]
    probability, every = 1 / (1 + np.exp(-logit)), np.ones(1200, bool)
    multipliers = Multipliers(5000, 0)
    a, b = (a_share(generator.uniform(size=1200) < probability, every, units, multipliers) for _ in range(2))
    apart = a.minus(b)
    contributions = a.crossed.contributions - b.crossed.contributions
    expected = spread(contributions, units)
    assert apart.resamples.std() == pytest.approx(math.sqrt(expected.variance), rel=0.05)
    assert expected.variance < 0.3 * (a.crossed.spread.variance + b.crossed.spread.variance)
    t = abs(apart.value) / math.sqrt(expected.variance)
    assert apart.p_value() == pytest.approx(2 * stats.t.sf(t, expected.freedom))
    assert a.minus(a).interval() == (0, 0)
    # Over other images the parts of which are the same ones, in another order.
    order = generator.permutation(1200)
    moved = replace(b.crossed, contributions=b.crossed.contributions[order], units=units.at(order))
    again = a.minus(replace(b, crossed=moved))
    np.testing.assert_allclose(again.resamples, apart.resamples, atol=1e-9)


def test_the_jackknife_of_a_mean_and_of_a_calibration_error():
    generator = np.random.default_rng(5)
    hit, confidence = generator.uniform(size=90) < 0.6, generator.uniform(size=90)

    def figures(draws):
        found = resample(hit, confidence, np.arange(90, dtype=np.int32) % 3, confidence, draws)
        return {"accuracy": found.accuracy, "ece": found.ece}

    found = jackknife(figures, 90)
    np.testing.assert_allclose(found["accuracy"], (hit - hit.mean()) / 90, atol=1e-12)
    without = np.array([figures(Draws(np.array([np.arange(90) != i], np.uint8)))["ece"][0] for i in range(90)])
    np.testing.assert_allclose(found["ece"], (without.mean() - without) * 89 / 90, atol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "effects", "biases"),
    [
        ((1200, 160, 48), "none", (0.5, 0.6)),
        ((1200, 160, 48), "strong", (0.5, 0.6)),
        ((200, 160, 48), "weak", (0.25, 0.25)),
        ((200, 63, 19), "texture", (0.5, 0.6)),
        ((200, 160, 48), "none", (0.03, 0.05)),
        ((1200, 160, 48), "strong", (0.01, 0.05)),
        ((1200, 160, 48), "none", (0.99, 0.98)),
    ],
)
def test_intervals_cover(sizes: tuple[int, int, int], effects, biases):
    """The whole table: python -m benchmarks.coverage."""
    found = coverage(*sizes, EFFECTS[effects], biases, sets=800)
    assert 0.93 <= found.one <= 0.97
    assert 0.93 <= found.apart <= 0.97
    if effects == "strong" and biases[0] == 0.5:
        assert found.images < 0.75


def test_people_on_the_real_images():
    """Five people's answers to the 1,280 images: no interval is narrower than that of single images."""
    found = {}
    for file in sorted(shared("data", "human").glob("cue-conflict_*.csv")):
        rows = list(csv.DictReader(file.read_text().splitlines()))
        names = [groups(r".*_([a-z]+)(\d+)-([a-z]+)(\d+)\.png", row["imagename"]) for row in rows]
        kept = [(row["object_response"], name) for row, name in zip(rows, names, strict=True) if name[0] != name[2]]
        units = units_of([("{}{}-{}{}.png".format(*name), {"shape": name[0], "texture": name[2]}) for _, name in kept])
        assert units is not None
        assert [len(parts) for parts, _ in units.parts] == [160, 48]
        shape, texture = (np.array([answer == name[kind] for answer, name in kept]) for kind in (0, 2))
        person = a_share(shape, shape | texture, units, Multipliers(4000, 0))
        parts = [[name[:2] for _, name in kept], [name[2:] for _, name in kept]]
        assert person.crossed.spread.variance == pytest.approx(plain_variance_of(person, *parts), rel=1e-9)
        assert person.crossed.spread.variance >= (person.crossed.contributions**2).sum()
        found[rows[0]["subj"]] = person
    assert [each.value for each in found.values()] == pytest.approx(
        [0.96172, 0.94381, 0.96731, 0.91909, 0.96398], abs=1e-5
    )
    assert all(0.01 < each.interval()[1] - each.interval()[0] < 0.1 for each in found.values())
