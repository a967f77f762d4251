"""Intervals of dimensions, scores and ranks: against plain loops over the drawn images, SciPy, and by simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from qubastore.cli.main import cli
from qubastore.errors import UsageError
from qubastore.metrics import resampled_ace
from qubastore.metrics.transforms import adaptive_calibration
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.request import RankRequest
from qubastore.ranking.resampling import Resampler
from qubastore.ranking.ties import pairwise_p_values, tie_groups
from qubastore.runs.image_sets import image_set
from qubastore.statistics.bootstrap import Draws, resample
from qubastore.statistics.estimates import Estimate
from qubastore.statistics.options import BootstrapOptions
from tests.support.runs import CLASSES, SETS, made

RESAMPLES = 40


C, N = len(CLASSES), SETS["pets", "clean"][1]


@pytest.fixture
def store(tiny_suite):
    return tiny_suite


def plain_dimensions(name, drawn):
    """All dimensions of a model over drawn images: dataset -> indices of its samples."""

    def accuracy(dataset, condition="clean"):
        logits, labels = made(name, dataset, condition, SETS[dataset, condition][1])
        return (logits.argmax(axis=1) == labels)[drawn[dataset]].mean()

    logits, labels = (part[drawn["pets"]] for part in made(name, "pets", "clean", N))
    p = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=1, keepdims=True)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    ece = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    of_class = [labels == c for c in range(C)]
    spread = np.std([right[members].mean() for members in of_class], ddof=1)
    deviation = np.mean([p[members, c].std() for c, members in enumerate(of_class)])
    clean = accuracy("pets")
    ace = adaptive_calibration.compute(*(part[drawn["pets"]] for part in made(name, "pets", "clean", N)))
    attacked = [accuracy("pets", "fgsm(eps=1/255)"), accuracy("pets", "pgd(eps=1/255)")]
    logits, labels = (part[drawn["cues"]] for part in made(name, "cues", "clean", 90))
    shape, texture = logits.argmax(axis=1) == labels, logits.argmax(axis=1) == (labels + 1) % C
    return {
        "accuracy": clean,
        "adversarial_robustness": stats.gmean(attacked) / clean,
        "corruption_robustness": np.mean([accuracy("fog"), accuracy("snow")]) / clean,
        "ood_robustness": stats.gmean([accuracy("sketch"), accuracy("drawings")]) / clean,
        "calibration_error": np.sqrt(ece * ace),
        "class_balance": np.sqrt((1 - spread) * (1 - deviation)),
        "object_focus": 1 - (accuracy("same") - accuracy("random")) / clean,
        "shape_bias": shape.sum() / (shape.sum() + texture.sum()),
    }


def test_every_dimension_of_every_resample_is_that_of_a_plain_loop(store):
    resampler = Resampler(store, "tiny", BootstrapOptions(RESAMPLES, seed=3))
    ids = dict(store.rows("select name, dataset_id from datasets"))
    for name, model_id in store.rows("select name, model_id from models"):
        found = resampler.dimensions(model_id)
        assert len(found) == 9
        whole = plain_dimensions(name, {ds: np.arange(n) for (ds, _), (_, n) in SETS.items()})
        loops = []
        for number in range(RESAMPLES):
            drawn = {}
            for (dataset, _), (_, n) in SETS.items():
                images = image_set(store, ids[dataset])
                counts = Draws.of(n, RESAMPLES, 3, images.number).counts[number]
                drawn[dataset] = np.repeat(np.arange(n), counts[images.position])
            loops.append(plain_dimensions(name, drawn))
        for dimension, value in whole.items():
            assert found[dimension].value == pytest.approx(value, abs=1e-12)
            raw = np.array([loop[dimension] for loop in loops])
            np.testing.assert_allclose(found[dimension].resamples, raw - raw.mean() + value, atol=1e-12)


def test_images_with_the_same_names_are_drawn_together(store):
    datasets = store.rows("select name, dataset_id from datasets")
    numbers = {name: image_set(store, dataset_id).number for name, dataset_id in datasets}
    assert numbers["pets"] == numbers["fog"] == numbers["snow"]
    # Names are numbers here, so that sets of one size are one set of images.
    assert len(set(numbers.values())) == 5


def test_intervals_and_ranks_are_quantiles_of_rankings(store):
    """Each resample is put in place of the figures and ranked by a plain formula."""
    ranking, placed = rank_intervals(
        store, RankRequest({"calibration": 2}, suite="tiny"), BootstrapOptions(resamples=RESAMPLES, seed=3)
    )
    resampler = Resampler(store, "tiny", BootstrapOptions(RESAMPLES, seed=3))
    ids = dict(store.rows("select name, model_id from models"))
    scales = {
        row[0]: row[1:]
        for row in store.rows(
            "select dimension, any_value(mean), any_value(std), any_value(weight), any_value(direction) from"
            " quba_contributions(map {'calibration': 2::double}, suite_name := 'tiny') group by dimension"
        )
    }
    scores = {}
    for each in placed:
        found = resampler.dimensions(ids[each.model])
        parts = [
            weight * sign * ((found[name].resamples - mean) / std if std else 0)
            for name, (mean, std, weight, sign) in scales.items()
        ]
        scores[each.model] = sum(parts) / sum(scale[2] for scale in scales.values())
    table = np.array([scores[each.model] for each in placed])
    places = stats.rankdata(-table, axis=0, method="min")
    for number, each in enumerate(placed):
        assert each.rank == number + 1
        assert each.quba_interval is not None
        assert each.quba_interval == pytest.approx(tuple(np.quantile(table[number], [0.025, 0.975])), abs=1e-12)
        expected = np.quantile(places[number], [0.025, 0.975], method="inverted_cdf")
        assert each.rank_interval == tuple(expected)
        assert each.quba_interval[0] <= each.quba <= each.quba_interval[1]
    assert [each.model for each in placed[:2]] == [row[1] for row in ranking.rows[:2]]
    assert "same for every model, seed 3" in ranking.notes[0]


def test_who_cannot_be_told_apart():
    generator = np.random.default_rng(0)
    quba = generator.normal(size=(2000, 4)) * 0.1 + [1.0, 0.95, 0.2, 0.2]
    scores = np.array([1.0, 0.95, 0.2, 0.2])
    p = pairwise_p_values(scores, quba)
    raw = []
    for one, other in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3)):
        z = (scores[one] - scores[other]) / np.std(quba[:, one] - quba[:, other], ddof=1)
        raw.append(2 * stats.norm.cdf(-abs(z)))
    # Holm by hand, of six pairs: the last has no difference.
    ordered = np.argsort(raw)
    corrected, highest = {}, 0.0
    for place, index in enumerate(ordered):
        highest = max(highest, min(1, (6 - place) * raw[index]))
        corrected[index] = highest
    assert [p[0, 1], p[0, 2], p[0, 3], p[1, 2], p[1, 3]] == pytest.approx([corrected[i] for i in range(5)])
    assert p[2, 3] == p[0, 0] == 1
    assert tie_groups(scores, quba, 0.05) == [1, 1, 2, 2]


def test_the_front_of_resamples(store):
    _, placed = rank_intervals(
        store,
        RankRequest(suite="tiny", pareto=["accuracy", "calibration_error"]),
        BootstrapOptions(resamples=RESAMPLES, seed=3),
    )
    resampler = Resampler(store, "tiny", BootstrapOptions(RESAMPLES, seed=3))
    ids = dict(store.rows("select name, model_id from models"))
    points = {
        name: [(r, -c) for r, c in zip(found["accuracy"].resamples, found["calibration_error"].resamples, strict=True)]
        for name, found in ((name, resampler.dimensions(model_id)) for name, model_id in ids.items())
    }
    for each in placed:
        others = [points[name] for name in points if name != each.model]
        free = [
            not any(o[i][0] >= mine[0] and o[i][1] >= mine[1] and o[i] != mine for o in others)
            for i, mine in enumerate(points[each.model])
        ]
        assert each.on_front == pytest.approx(np.mean(free))


@pytest.mark.parametrize("metric", ["accuracy", "ece", "class_balance", "ace"])
def test_intervals_cover(metric):
    """Of many synthetic sets: 95 % intervals hold what the metric is on average over sets of that size."""
    n, n_sets, n_classes = 400, 1000, 5
    skill = np.linspace(0.5, 2.5, n_classes)
    values, intervals = [], []
    for number in range(n_sets):
        generator = np.random.default_rng([7, number])
        labels = generator.integers(0, n_classes, n).astype(np.int32)
        logits = 1.5 * generator.normal(size=(n, n_classes)).astype(np.float32)
        logits[np.arange(n), labels] += skill[labels]
        p = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=1, keepdims=True)
        draws = Draws.of(n, 200, seed=number)
        if metric == "ace":
            value, found = (
                adaptive_calibration.compute(logits, labels),
                resampled_ace.resampled(logits, labels, draws),
            )
        else:
            outputs = p.argmax(axis=1) == labels, p.max(axis=1), labels, p[np.arange(n), labels]
            value = getattr(resample(*outputs, Draws(np.ones((1, n), np.uint8))), metric)[0]
            found = getattr(resample(*outputs, draws), metric)
        values.append(value)
        intervals.append(Estimate.of(value, found).interval())
    truth = np.mean(values)
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.93 <= covered <= 0.97


def test_on_the_command_line(store):
    arguments = ["rank", "--suite", "tiny", "--intervals", "--resamples", "50", "--store", str(store.location.text)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "do not differ significantly" in done.output
    done = CliRunner().invoke(cli, [*arguments, "--format", "json"])
    rows = json.loads(done.stdout)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(row["quba_low"] <= row["quba"] <= row["quba_high"] for row in rows)
    assert all(row["parameters_low"] == row["parameters"] for row in rows)
    published = CliRunner().invoke(
        cli, ["rank", "--intervals", "--top", "2", "--format", "json", "--store", str(store.location.text)]
    )
    assert [row["quba_low"] for row in json.loads(published.stdout)] == [None, None]
    assert "have no samples" in published.stderr


def test_wrong_numbers(store):
    with pytest.raises(UsageError, match="level"):
        rank_intervals(store, RankRequest(suite="tiny"), BootstrapOptions(level=95))
    with pytest.raises(UsageError, match="at least 2"):
        rank_intervals(store, RankRequest(suite="tiny"), BootstrapOptions(resamples=1))
    done = CliRunner().invoke(cli, ["rank", "--level", "0.9", "--store", str(store.location.text)])
    assert done.exit_code == 2
