"""Intervals of a store's runs over images made of parts: dimensions, ranks and differences."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy import stats

import qubastore
from qubastore.analysis.differences import of_models, of_runs
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.lake.rows import insert
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.request import RankRequest
from qubastore.ranking.resampling import Resampler
from qubastore.runs.image_sets import image_set
from qubastore.runs.publish import publish_runs
from qubastore.statistics.bootstrap import Draws, shares
from qubastore.statistics.crossed import wilson
from qubastore.statistics.options import BootstrapOptions
from tests.statistics.plain_variance import plain_variance
from tests.support.runs import add_run, both_runs

CLASSES = ["bear", "cat", "dog"]


N_FOREGROUNDS = 40


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
        rows = [("parts", role, name, "clean", "model", None, "", "pillow") for role, name in roles]
        made.write(lambda c: insert(c, "own_suites", rows))
        for name, skill in (("good", 1.5), ("poor", 0.8)):
            generator = np.random.default_rng(len(name) + ord(name[0]))
            for data in (None, backgrounds("same", 3), backgrounds("rand", 5), cues()):
                labels = [i % 3 for i in range(60)] if data is None else [s.label for s in data.samples]
                logits = generator.normal(size=(len(labels), 3))
                logits[np.arange(len(labels)), labels] += skill
                add_run(made, logits, labels, name=name, data=data, classes=CLASSES, complete=False)
        publish_runs(made)
        yield made


def hits_of(store, model, dataset):
    query = """
        select sample_id, prediction = label, prediction from outputs join run_details using (run_id)
        where model = ? and dataset = ? order by sample_id
    """
    return [np.array(column) for column in zip(*store.rows(query, [model, dataset]), strict=True)]


def groups(pattern, text):
    """The groups of a pattern that a text must match."""
    match = re.fullmatch(pattern, text)
    assert match is not None
    return match.groups()


def test_shape_bias_of_a_store(store):
    ids = dict(store.rows("select name, model_id from models"))
    found = Resampler(store, "parts", BootstrapOptions(4000)).dimensions(ids["good"])["shape_bias"]
    assert found.crossed is not None
    _, is_shape, prediction = hits_of(store, "good", "cues")
    is_texture = prediction == [texture for *_, texture in cue_images()]
    bias = is_shape.sum() / (is_shape | is_texture).sum()
    assert found.value == pytest.approx(bias)
    contributions = (is_shape - bias * (is_shape | is_texture)) / (is_shape | is_texture).sum()
    names = [groups(r".*/(\w+)-(\w+)\.png", key) for _, key, _ in cue_images()]
    variance = plain_variance(contributions, [name[0] for name in names], [name[1] for name in names])
    assert found.crossed.spread.variance == pytest.approx(variance, rel=1e-9)
    size, z = bias * (1 - bias) / variance, stats.t.ppf(0.975, found.crossed.spread.freedom)
    assert found.interval() == pytest.approx(wilson(bias, size, np.array([-z, z])), abs=0.01)


def test_object_focus_draws_foregrounds_in_both_sets_at_once(store):
    ids = dict(store.rows("select name, model_id from models"))
    found = Resampler(store, "parts", BootstrapOptions(4000)).dimensions(ids["poor"])["object_focus"]
    assert found.crossed is not None
    clean = hits_of(store, "poor", "pets")[1]
    contributions, first, second = [], [], []
    for name, step, sign in (("same", 3, -1), ("rand", 5, 1)):
        hit = hits_of(store, "poor", name)[1]
        contributions += list(sign * (hit - hit.mean()) / len(hit) / clean.mean())
        first += [i % N_FOREGROUNDS for i in range(len(hit))]
        second += [(i * step + i // N_FOREGROUNDS) % 17 for i in range(len(hit))]
    variance = plain_variance(contributions, first, second)
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
    images = image_set(store, dataset_id)
    hit = np.empty(60, bool)
    hit[images.position] = hits_of(store, "good", "pets")[1]
    drawn = shares(hit[None], Draws.of(60, 200, 7, images.number))[0]
    found = resampler.dimensions(ids["good"])["accuracy"]
    np.testing.assert_array_equal(found.resamples, drawn - (drawn.mean() - found.value))
    assert found.crossed is None
