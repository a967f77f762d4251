"""Intervals over images that cross two kinds of parts: by hand, against plain loops and SciPy, and by simulation."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import qubastore
from benchmarks.coverage import EFFECTS, coverage, design
from qubastore.analysis.differences import of_models, of_runs
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.errors import UsageError
from qubastore.lake.rows import insert
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.request import RankRequest
from qubastore.ranking.resampling import Resampler
from qubastore.runs.commit import commit_shard
from qubastore.runs.publish import complete_runs
from qubastore.runs.shard import Failure
from qubastore.statistics.bootstrap import Draws, resample, shares
from qubastore.statistics.crossed import Crossed, Multipliers, jackknife, spread, wilson
from qubastore.statistics.estimates import Estimate
from qubastore.statistics.options import BootstrapOptions
from qubastore.statistics.sampling_units import Units, units_of
from tests.conftest import shared
from tests.support.runs import add_run, both_runs, write_shard

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


def plain_variance(contributions, first, second):
    """The multiway variance, pair of images by pair of images."""
    total = {}
    for kind, same in (
        ("first", lambda i, j: first[i] == first[j]),
        ("second", lambda i, j: second[i] == second[j]),
        ("both", lambda i, j: first[i] == first[j] and second[i] == second[j]),
    ):
        n = {"first": len(set(first)), "second": len(set(second)), "both": len(set(zip(first, second, strict=True)))}
        summed = 0.0
        for i in range(len(contributions)):
            for j in range(len(contributions)):
                summed += contributions[i] * contributions[j] if same(i, j) else 0
        total[kind] = summed * n[kind] / (n[kind] - 1)
    return max(total["first"] + total["second"] - total["both"], total["both"])


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


CLASSES = ["bear", "cat", "dog"]


N_CUES, N_FOREGROUNDS = 90, 40


def cue_images():
    """Every shape with six textures of other classes."""
    cells = [(s, number, t) for s in range(3) for number in range(5) for t in range(3) if t != s]
    return [(s, f"{CLASSES[s]}/{CLASSES[s]}{n}-{CLASSES[t]}{k}.png", t) for s, n, t in cells for k in range(3)]


def cues():
    samples = [
        Sample(key, i + 1, shape, {"shape": CLASSES[shape], "texture": CLASSES[texture]})
        for i, (shape, key, texture) in enumerate(cue_images())
    ]
    return Dataset("cues", tuple(samples), tuple(CLASSES), "own-classes", "/cues")


def backgrounds(name, step):
    """Every foreground twice, over other backgrounds in either set."""
    keys = [f"fg_f{i % N_FOREGROUNDS}_bg_b{(i * step + i // N_FOREGROUNDS) % 17}.png" for i in range(2 * N_FOREGROUNDS)]
    labels = [int(i % N_FOREGROUNDS % 3) for i in range(len(keys))]
    samples = [
        Sample(f"{CLASSES[label]}/{key}", i + 1, label, {})
        for i, (key, label) in enumerate(zip(keys, labels, strict=True))
    ]
    return Dataset(name, tuple(samples), tuple(CLASSES), "own-classes", f"/{name}")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two models with a clean run, both background sets and cue-conflict, all but the clean set of images of parts."""
    roles = (("clean", "pets"), ("same_background", "same"), ("random_background", "rand"), ("cue_conflict", "cues"))
    with qubastore.init(tmp_path_factory.mktemp("crossed") / "store") as made:
        rows = [("parts", role, name, "clean", "model", None, "") for role, name in roles]
        made.write(lambda c: insert(c, "own_suites", rows))
        for name, skill in (("good", 1.5), ("poor", 0.8)):
            generator = np.random.default_rng(len(name) + ord(name[0]))
            for data in (None, backgrounds("same", 3), backgrounds("rand", 5), cues()):
                labels = [i % 3 for i in range(60)] if data is None else [s.label for s in data.samples]
                logits = generator.normal(size=(len(labels), 3))
                logits[np.arange(len(labels)), labels] += skill
                add_run(made, logits, labels, name=name, data=data, classes=CLASSES, complete=False)
        complete_runs(made)
        yield made


def hits_of(store, model, dataset):
    query = """
        select sample_id, prediction = label, prediction from outputs join run_details using (run_id)
        where model = ? and dataset = ? order by sample_id
    """
    return [np.array(column) for column in zip(*store.rows(query, [model, dataset]), strict=True)]


def test_shape_bias_of_a_store(store):
    ids = dict(store.rows("select name, model_id from models"))
    found = Resampler(store, "parts", BootstrapOptions(4000)).dimensions(ids["good"])["shape_bias"]
    _, is_shape, prediction = hits_of(store, "good", "cues")
    is_texture = prediction == [texture for *_, texture in cue_images()]
    bias = is_shape.sum() / (is_shape | is_texture).sum()
    assert found.value == pytest.approx(bias)
    contributions = (is_shape - bias * (is_shape | is_texture)) / (is_shape | is_texture).sum()
    names = [groups(r".*/(\w+)-(\w+)\.png", key) for _, key, _ in cue_images()]
    variance = plain_variance(contributions, [name[0] for name in names], [name[1] for name in names])
    assert found.crossed is not None
    assert found.crossed.spread.variance == pytest.approx(variance, rel=1e-9)
    size, z = bias * (1 - bias) / variance, stats.t.ppf(0.975, found.crossed.spread.freedom)
    assert found.interval() == pytest.approx(wilson(bias, size, np.array([-z, z])), abs=0.01)


def test_object_focus_draws_foregrounds_in_both_sets_at_once(store):
    ids = dict(store.rows("select name, model_id from models"))
    found = Resampler(store, "parts", BootstrapOptions(4000)).dimensions(ids["poor"])["object_focus"]
    clean = hits_of(store, "poor", "pets")[1]
    contributions, first, second = [], [], []
    for name, step, sign in (("same", 3, -1), ("rand", 5, 1)):
        hit = hits_of(store, "poor", name)[1]
        contributions += list(sign * (hit - hit.mean()) / len(hit) / clean.mean())
        first += [i % N_FOREGROUNDS for i in range(len(hit))]
        second += [(i * step + i // N_FOREGROUNDS) % 17 for i in range(len(hit))]
    variance = plain_variance(contributions, first, second)
    assert found.crossed is not None
    assert found.crossed.spread.variance == pytest.approx(variance, rel=1e-6)
    gap = hits_of(store, "poor", "same")[1].mean() - hits_of(store, "poor", "rand")[1].mean()
    # The clean images are drawn as ever, and their part is on top.
    of_clean = clean.std() / math.sqrt(len(clean)) * abs(gap) / clean.mean() ** 2
    assert found.resamples.std() == pytest.approx(math.sqrt(variance + of_clean**2), rel=0.1)
    assert found.value == pytest.approx(1 - gap / clean.mean())


def test_figures_of_runs_and_their_differences(store):
    runs = dict(store.rows("select model, run_id from run_details where dataset = 'cues'"))
    table = of_runs(store, *both_runs(store, runs["good"], runs["poor"]), options=BootstrapOptions(resamples=4000))
    found = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert set(found) == {"accuracy", "ece", "ace", "calibration_error", "class_balance"}
    hits = [hits_of(store, name, "cues")[1] for name in ("good", "poor")]
    names = [groups(r".*/(\w+)-(\w+)\.png", key) for _, key, _ in cue_images()]
    contributions = sum(sign * (hit - hit.mean()) / len(hit) for sign, hit in zip((1, -1), hits, strict=True))
    variance = plain_variance(contributions, [name[0] for name in names], [name[1] for name in names])
    row = found["accuracy"]
    width = row["difference_high"] - row["difference_low"]
    assert width == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.15)
    for row in found.values():
        assert row["a_low"] < row["a"] < row["a_high"]
        assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_ranks_and_dimensions_with_parts(store):
    _, placed = rank_intervals(store, RankRequest(suite="parts", partial=True), BootstrapOptions(resamples=500))
    assert [each.model for each in placed] == ["good", "poor"]
    for each in placed:
        assert each.quba_interval is not None
        assert each.quba_interval[0] < each.quba < each.quba_interval[1]
    found = {
        row[0]: row
        for row in of_models(store, "good", "poor", suite="parts", options=BootstrapOptions(resamples=500)).rows
    }
    assert {"accuracy", "object_focus", "shape_bias"} <= set(found)
    assert all(0 < found[name][-1] <= 1 for name in ("object_focus", "shape_bias"))


def test_images_of_no_parts_are_drawn_as_ever(store):
    """To the bit."""
    ids = dict(store.rows("select name, model_id from models"))
    resampler = Resampler(store, "parts", BootstrapOptions(200, seed=7))
    (dataset_id,) = store.rows("select dataset_id from datasets where name = 'pets'")[0]
    stratum, position = resampler.images(dataset_id)
    hit = np.empty(60, bool)
    hit[position] = hits_of(store, "good", "pets")[1]
    drawn = shares(hit[None], Draws.of(60, 200, 7, stratum))[0]
    found = resampler.dimensions(ids["good"])["accuracy"]
    np.testing.assert_array_equal(found.resamples, drawn - (drawn.mean() - found.value))
    assert found.crossed is None


def test_models_over_different_images_are_not_paired(tmp_path):
    """One name, other images: a difference is refused; where some are the same, they alone have one."""
    generator = np.random.default_rng(0)
    with qubastore.init(tmp_path / "store") as store:
        rows = [
            ("mine", role, name, "clean", "model", None, "") for role, name in (("clean", "pets"), ("shifted", "x"))
        ]
        store.write(lambda c: insert(c, "own_suites", rows))
        for name, n, n_shifted in (("a", 30, 20), ("b", 30, 24), ("c", 33, 24)):
            for dataset, size in (("pets", n), ("x", n_shifted)):
                labels = [i % 3 for i in range(size)]
                add_run(
                    store, generator.normal(size=(size, 3)) + np.eye(3)[labels] * 2, labels, name=name, dataset=dataset
                )
        table = of_models(store, "a", "b", suite="mine", options=BootstrapOptions(resamples=20))
        found = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
        assert found["accuracy"]["difference"] is not None
        assert (found["ood_robustness"]["a"] is None, found["ood_robustness"]["difference"]) == (False, None)
        assert "different images: x" in " ".join(table.notes)
        with pytest.raises(UsageError, match=r"different images: pets"):
            of_models(store, "a", "c", suite="mine", options=BootstrapOptions(resamples=20))
        notes = rank_intervals(store, RankRequest(suite="mine", partial=True), BootstrapOptions(resamples=20))[0].notes
        assert "different images that are called pets, x" in " ".join(notes)
        runs = [row[0] for row in store.rows("select run_id from run_details where dataset = 'pets' order by model")]
        with pytest.raises(UsageError, match="is over"):
            of_runs(store, *both_runs(store, runs[0], runs[2]))


def test_what_both_could_decode_counts(tmp_path):
    """The last image failed in one run: both accuracies are over the others."""
    labels = np.array([i % 3 for i in range(30)], np.int32)
    generator = np.random.default_rng(1)
    a, b = (generator.normal(size=(30, 3)) + np.eye(3)[labels] for _ in range(2))
    a[29] = np.eye(3)[labels[29]] * 9
    with qubastore.init(tmp_path / "store") as store:
        store.write(lambda c: insert(c, "own_suites", [("mine", "clean", "pets", "clean", "model", None, "")]))
        one = add_run(store, a, labels, name="a")
        run_id = _run_with_a_failure(store, b, labels)
        table = of_runs(store, *both_runs(store, one, run_id), options=BootstrapOptions(resamples=20))
        found = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
        right = [(each[:29].argmax(axis=1) == labels[:29]).mean() for each in (a, b)]
        assert (found["accuracy"]["a"], found["accuracy"]["b"]) == pytest.approx(tuple(right))
        assert "1 outputs" in " ".join(table.notes)
        models = of_models(store, "a", "b", suite="mine", options=BootstrapOptions(resamples=20))
        assert models.rows[0][1] == pytest.approx(right[0])


def _run_with_a_failure(store, logits, labels):
    run_id = add_run(store, logits, labels, name="b", complete=False)
    dataset_id = store.rows("select dataset_id from runs where run_id = ?", [run_id])[0][0]
    tables = ("shards", "outputs", "logits")
    store.write(lambda c: [c.execute(f"delete from {table} where run_id = ?", [run_id]) for table in tables])
    shard = write_shard(store, run_id, 0, 0, logits[:29], labels[:29])
    failed = (Failure(29, "class2/00029.png", "truncated"),)
    assert commit_shard(store, replace(shard, n_samples=30, failures=failed), dataset_id=dataset_id)
    complete_runs(store)
    return run_id


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


def plain_variance_of(person, first, second):
    """As `plain_variance`, part by part: a million pairs of images are too many."""
    total = []
    for names in (first, second, list(zip(first, second, strict=True))):
        sums: dict[object, float] = {}
        for name, value in zip(names, person.crossed.contributions.tolist(), strict=True):
            sums[name] = sums.get(name, 0.0) + value
        total.append(math.fsum(value**2 for value in sums.values()) * len(sums) / (len(sums) - 1))
    return max(total[0] + total[1] - total[2], total[2])
