"""What differs between models, runs, measured and published: against plain loops and SciPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import qubastore
from qubastore.analysis.against_published import OTHER_INPUT, against_published
from qubastore.analysis.differences import of_models, of_runs
from qubastore.cli.main import cli
from qubastore.errors import UsageError
from qubastore.lake.rows import insert
from qubastore.ranking.resampling import Resampler
from qubastore.runs.image_sets import image_set
from qubastore.statistics.bootstrap import Draws
from qubastore.statistics.options import BootstrapOptions
from qubastore.statistics.tests import holm
from tests.support.runs import CLASSES, SETS, add_run, both_runs, dataset_of, made


@pytest.fixture
def store(tiny_suite):
    return tiny_suite


def run(store, *arguments):
    return CliRunner().invoke(cli, [*map(str, arguments), "--store", str(store.location.text)])


def named(table):
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_two_models_dimension_by_dimension(store):
    found = named(of_models(store, "good", "poor", suite="tiny", options=BootstrapOptions(resamples=60, seed=2)))
    assert len(found) == 9
    ids = dict(store.rows("select name, model_id from models"))
    resampler = Resampler(store, "tiny", BootstrapOptions(60, seed=2))
    a, b = (resampler.dimensions(ids[name]) for name in ("good", "poor"))
    raw = []
    for name, row in found.items():
        assert row["difference"] == pytest.approx(a[name].value - b[name].value, abs=1e-15)
        if name == "parameters":
            assert (row["a_low"], row["difference_low"], row["p_value"]) == (None, None, None)
            continue
        apart = a[name].resamples - b[name].resamples
        bounds = np.quantile(apart, [0.025, 0.975])
        assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(bounds), abs=1e-15)
        z = row["difference"] / np.std(apart, ddof=1)
        raw.append(2 * stats.norm.cdf(-abs(z)))
        assert row["p_value"] == pytest.approx(raw[-1], rel=1e-9)
    assert [row["p_holm"] for name, row in found.items() if name != "parameters"] == pytest.approx(holm(raw))
    assert found["accuracy"]["p_holm"] < 0.05


def test_the_difference_of_accuracies_is_that_of_a_plain_loop(store):
    """Paired: each resample draws the same images for both."""
    found = named(of_models(store, "good", "fair", suite="tiny", options=BootstrapOptions(resamples=30, seed=5)))[
        "accuracy"
    ]
    (dataset_id,) = store.rows("select dataset_id from datasets where name = 'pets'")[0]
    images = image_set(store, dataset_id)
    n = SETS["pets", "clean"][1]
    hits = []
    for name in ("good", "fair"):
        logits, labels = made(name, "pets", "clean", n)
        hits.append(logits.argmax(axis=1) == labels)
    gaps = []
    for counts in Draws.of(n, 30, 5, images.number).counts:
        drawn = np.repeat(np.arange(n), counts[images.position])
        gaps.append(hits[0][drawn].mean() - hits[1][drawn].mean())
    gaps = np.array(gaps) - np.mean(gaps) + hits[0].mean() - hits[1].mean()
    assert found["difference_low"] == pytest.approx(np.quantile(gaps, 0.025), abs=1e-12)
    # A pairing that is lost would show: independent draws spread wider.
    assert found["difference_high"] - found["difference_low"] < found["a_high"] - found["a_low"] + 0.1


def test_two_runs_and_their_images(store):
    runs = dict(store.rows("select model, run_id from run_details where dataset = 'pets' and condition = 'clean'"))
    pair = both_runs(store, runs["good"][:8], runs["poor"])
    found = named(of_runs(store, *pair, options=BootstrapOptions(resamples=20)))
    assert set(found) == {"accuracy", "ece", "ace", "calibration_error", "class_balance"}
    for name, row in found.items():
        query = "select value from run_metrics where run_id = ? and metric = ?"
        assert row["a"] == store.rows(query, [runs["good"], name])[0][0]
    flips = json.loads(run(store, "compare", runs["good"], runs["poor"], "--show", "flips", "--format", "json").stdout)
    good, poor = (made(name, "pets", "clean", 80) for name in ("good", "poor"))
    right = [logits.argmax(axis=1) == labels for logits, labels in (good, poor)]
    assert len(flips) == (right[0] != right[1]).sum()
    assert {row["right"] for row in flips} == {"a", "b"}
    paths = run(store, "compare", runs["good"], runs["poor"], "--show", "paths").stdout.split()
    assert paths == [f"/pets/{row['key']}" for row in flips]
    fgsm = store.rows(
        "select run_id from run_details where model = 'good' and dataset = 'pets' and condition <> 'clean'"
    )
    found = named(of_runs(store, *both_runs(store, runs["good"], fgsm[0][0]), options=BootstrapOptions(resamples=20)))
    assert found["accuracy"]["difference"] > 0


def test_published_figures_that_are_contradicted(tmp_path):
    """A model of the study whose accuracy was measured far from the published figure, on a suite of four images."""
    with qubastore.init(tmp_path / "store") as store:
        name, _, parameters = store.rows(
            "select zoo.stored_as, studied.model, studied.parameters_m from zoo join rankable as studied on"
            " studied.model = zoo.model and studied.source = 'hesse2025'"
            " where zoo.study = 'hesse2025' and zoo.stored_as like 'timm:%' order by all limit 1"
        )[0]
        store.write(
            lambda c: c.execute(
                "insert into own_suites values ('mine', 'clean', 'pets', 'clean', 'model', 80, '', 'pillow')"
            )
        )
        logits, labels = made("poor", "pets", "clean", 80)
        add_run(store, logits, labels, name=name, parameters=round(parameters * 1e6) + 30_000)
        found = against_published(store, suite="mine", options=BootstrapOptions(resamples=50))
        rows = {row[2]: dict(zip(found.columns, row, strict=True)) for row in found.rows}
        assert {row["model"] for row in rows.values()} == {name}
        assert (rows["accuracy"]["published_as"],) in store.rows("select model from zoo where stored_as = ?", [name])
        assert rows["accuracy"]["contradicts"] == (
            not rows["accuracy"]["low"] <= rows["accuracy"]["published"] <= rows["accuracy"]["high"]
        )
        assert rows["accuracy"]["contradicts"]
        # 0.03 million more are within the published figure's last digit.
        assert not rows["parameters"]["contradicts"]
        assert "published figures lie outside" in found.notes[0]
        done = run(store, "compare", "--against", "published", "--suite", "mine", "--resamples", 20)
        line = next(line for line in done.stdout.splitlines() if line.startswith("accuracy"))
        assert line.endswith("contradicted")
        with pytest.raises(UsageError, match="study"):
            against_published(store, suite="quba")


def test_published_figures_are_compared_as_the_study_framed_its_images(tmp_path):
    """Accuracy is in both suites, shape bias of whole images in quba alone: that one is marked, with the command."""
    with qubastore.init(tmp_path / "store") as store:
        name, published_as = store.rows(
            "select stored_as, model from studied_models where study = 'hesse2025' and model = 'ResNet50d-A1'"
        )[0]
        _add_as_measured(store, name, {"pets": "model", "cues": "whole"})
        found = against_published(store, options=BootstrapOptions(resamples=5))
        rows = {row[2]: dict(zip(found.columns, row, strict=True)) for row in found.rows}
        assert {row["published_as"] for row in rows.values()} == {published_as}
        assert {name: row["suite"] for name, row in rows.items() if name in ("accuracy", "shape_bias")} == {
            "accuracy": "quba-reference",
            "shape_bias": "quba",
        }
        # The study's preprocessing is not that of these weights: marked too, in either suite.
        assert rows["accuracy"]["other_protocol"] == OTHER_INPUT
        assert rows["accuracy"]["known_fault"] is None
        assert rows["shape_bias"]["other_protocol"] == OTHER_INPUT
        assert "train mode" in rows["class_balance"]["known_fault"]
        assert rows["parameters"]["other_protocol"] is None
        assert any(note.startswith("compared in quba-reference") for note in found.notes)
        assert any(note.startswith("1 of these figures from the suite quba") for note in found.notes)
        assert any(f"--model zoo:{published_as} --suite quba-reference" in note for note in found.notes)
        whole = against_published(store, suite="quba", options=BootstrapOptions(resamples=5))
        assert {row[3] for row in whole.rows} == {"quba"}
        assert not any(note.startswith("compared in") for note in whole.notes)
        done = run(store, "compare", "--against", "published", "--resamples", 5)
        assert any(line.startswith("shape_bias") and line.endswith(OTHER_INPUT) for line in done.stdout.splitlines())
        assert "compared in quba-reference" in done.stdout


def test_a_row_with_the_studys_own_preprocessing_is_marked_for_framing_alone(tmp_path):
    with qubastore.init(tmp_path / "store") as store:
        name = store.rows("select stored_as from studied_models where model = 'AlexNet'")[0][0]
        _add_as_measured(store, name, {"pets": "model", "cues": "model"})
        found = against_published(store, options=BootstrapOptions(resamples=5))
        others = {row[2]: (row[3], row[-1]) for row in found.rows}
        assert others["accuracy"] == others["shape_bias"] == ("quba-reference", None)
        assert not any("data-root" in note for note in found.notes)
        _add_as_measured(store, name, {"cues": "whole"})
        others = {
            row[2]: (row[3], row[-1])
            for row in against_published(store, suite="quba", options=BootstrapOptions(resamples=5)).rows
        }
        assert others["accuracy"] == ("quba", None)
        assert others["shape_bias"] == ("quba", OTHER_INPUT)


def _add_as_measured(store, name, framings):
    """Runs of a model that play the roles clean and cue_conflict in both suites, over a few images."""
    roles = [(suite, "clean", "pets", "clean", "model", 80, "", "pillow") for suite in ("quba", "quba-reference")]
    roles += [("quba", "cue_conflict", "cues", "clean", "whole", 90, "", "pillow")]
    roles += [("quba-reference", "cue_conflict", "cues", "clean", "model", 90, "", "pillow")]
    if not store.rows("from own_suites"):
        store.write(lambda c: insert(c, "own_suites", roles))
    for dataset, framing in framings.items():
        n = SETS[dataset, "clean"][1]
        logits, labels = made("poor", dataset, "clean", n)
        textures = [int(label + 1) % len(CLASSES) for label in labels] if dataset == "cues" else None
        add_run(store, logits, labels, name=name, data=dataset_of(labels, CLASSES, dataset, textures), framing=framing)


def test_invalid_comparisons_are_refused(store):
    for arguments, message in (
        (("compare", "good"), "give two models"),
        (("compare", "good", "good", "--suite", "tiny", "--show", "figures"), "named twice"),
        (("compare", "nobody", "no-one", "--show", "figures"), "neither a measured model nor the id of a run"),
        (("compare", "good", "goof", "--show", "figures"), "did you mean"),
        (("compare", "good", "poor", "--suite", "none", "--show", "figures"), "did you mean|unknown|suite"),
        (("compare", "good", "poor", "--suite", "tiny", "--level", "95", "--show", "figures"), "between 0 and 1"),
        (("compare", "--against", "published", "--show", "flips"), "only figures"),
    ):
        done = run(store, *arguments)
        assert done.exit_code != 0
        said = done.output + str(done.exception)
        import re

        assert re.search(message, said), (arguments, said)
    done = run(store, "compare", "good", "poor", "--show", "figures", "--suite", "tiny", "--resamples", 20)
    assert done.exit_code == 0
    assert "0.8" in done.stdout or "0.9" in done.stdout
