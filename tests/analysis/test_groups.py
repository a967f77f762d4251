"""Correlations, comparisons, Pareto fronts and explanations: against SciPy and hand-worked figures."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from qubastore.analysis.correlations import correlations
from qubastore.analysis.groups import _pairs, comparison, study_comparison
from qubastore.cli.main import cli
from qubastore.errors import QueryError, UsageError
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.metrics.study_pairs import COMPARISONS, read_pairs
from qubastore.models.zoo import read_zoo
from qubastore.ranking.explain import explain
from qubastore.ranking.rank import rank
from qubastore.ranking.request import PoolRequest, RankRequest
from qubastore.statistics.tests import holm


def column(table, dimension, keep=lambda row: True):
    return np.array([float(row[dimension.column]) for row in table.values() if keep(row)])


def test_correlations_are_scipys(published, table):
    found = correlations(published)
    assert len(found.rows) == 36
    by_name = {d.name: d for d in DIMENSIONS}
    for one, other, rho, p, n in found.rows:
        expected = stats.spearmanr(column(table, by_name[one]), column(table, by_name[other]))
        assert rho == pytest.approx(expected.statistic, abs=1e-12)
        assert p == pytest.approx(expected.pvalue, abs=1e-12)
        assert n == 326


def test_correlations_of_some(published, table):
    found = correlations(published, PoolRequest(where="paradigm = 'a1'"), dimensions=["acc", "shape"])
    ((one, other, rho, _, n),) = found.rows
    assert (one, other, n) == ("accuracy", "shape_bias", 19)
    values = [column(table, d, lambda row: row["paradigm"] == "a1") for d in DIMENSIONS if d.name in (one, other)]
    assert rho == pytest.approx(stats.spearmanr(*values).statistic, abs=1e-12)


def test_a_correlation_needs_models_and_dimensions(published):
    with pytest.raises(UsageError, match="needs two dimensions"):
        correlations(published, dimensions=["acc"])
    with pytest.raises(UsageError, match="1 models are too few"):
        correlations(published, PoolRequest(where="model = 'AlexNet'"))
    with pytest.raises(UsageError, match="did you mean"):
        correlations(published, dimensions=["accurracy", "shape"])


def test_unpaired_groups_against_mann_whitney(published, table):
    found = comparison(published, "cnn", "transformer", by="architecture")
    corrected = []
    for dimension, row in zip(DIMENSIONS, found.rows, strict=True):
        named = dict(zip(found.columns, row, strict=True))
        a, b = (column(table, dimension, lambda r, g=g: r["architecture"] == g) for g in ("cnn", "transformer"))
        expected = stats.mannwhitneyu(a, b)
        assert named["test"] == "mann-whitney"
        assert (named["n_a"], named["n_b"]) == (len(a), len(b))
        assert named["median_a"] == pytest.approx(np.median(a))
        assert named["difference"] == pytest.approx(np.median(a) - np.median(b))
        assert named["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)
        # Rank-biserial correlation: how much oftener a is above b than below, over all pairs.
        wins = (a[:, None] > b).mean() - (a[:, None] < b).mean()
        assert named["effect_size"] == pytest.approx(wins, abs=1e-9)
        corrected.append(named["p_holm"])
    assert corrected == pytest.approx(holm([row[found.columns.index("p_value")] for row in found.rows]))


def test_groups_that_pair_up_against_wilcoxon(published, table):
    """The same architectures trained with recipe A1 and with A3."""
    found = comparison(published, "a1", "a3", by="paradigm")
    first = dict(zip(found.columns, found.rows[0], strict=True))
    labels = [
        {row["label"]: float(row["accuracy"]) for row in table.values() if row["paradigm"] == g} for g in ("a1", "a3")
    ]
    common = sorted(labels[0].keys() & labels[1].keys())
    differences = np.array([labels[0][label] - labels[1][label] for label in common])
    assert (first["test"], first["n_pairs"]) == ("wilcoxon", len(common))
    assert first["p_value"] == pytest.approx(stats.wilcoxon(differences[differences != 0]).pvalue, rel=1e-9)
    ranks = stats.rankdata(abs(differences[differences != 0]))
    signs = np.sign(differences[differences != 0])
    assert first["effect_size"] == pytest.approx((signs * ranks).sum() / ranks.sum())


@pytest.mark.parametrize(
    ("a", "b", "by", "error", "message"),
    [
        ("cnn", "transfomer", "architecture", UsageError, "no published model .* in the group 'transfomer'"),
        ("accuracy > 0.5", "accuracy > 0.6", None, UsageError, "models are in both groups"),
        ("cnn", "transformer", "archtecture", UsageError, "did you mean architecture"),
        ("accuracy >", "true", None, QueryError, "is not a valid SQL condition"),
        ("nothing = 1", "true", None, QueryError, "nothing"),
    ],
)
def test_groups_that_cannot_be_compared(published, a, b, by, error, message):
    with pytest.raises(error, match=message):
        comparison(published, a, b, by=by)


def test_holm():
    """0.01 * 3; max(that, 0.03 * 2); max(that, 0.04 * 1)."""
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_pareto_front_against_all_pairs(published, table):
    ranking = rank(published, RankRequest(pareto=["accuracy", "calibration_error"]))
    points = {name: (float(row["accuracy"]), -float(row["calibration_error"])) for name, row in table.items()}
    expected = {
        name
        for name, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    }
    found = [row[1] for row in ranking.rows]
    assert set(found) == expected
    whole = {row[1]: row[0] for row in rank(published).rows}
    assert [row[0] for row in ranking.rows] == [whole[name] for name in found]
    assert any(f"{len(expected)} of 326 models are on the Pareto front" in note for note in ranking.notes)


def test_contributions_sum_up_to_the_score(published, table):
    weights = {"calibration": 2, "size": 0}
    explanation = explain(published, "ConvNextV2-B-21k", RankRequest(weights))
    whole = {row[1]: row for row in rank(published, RankRequest(weights)).rows}["ConvNextV2-B-21k"]
    assert sum(row[-1] for row in explanation.rows) == pytest.approx(whole[3], abs=1e-12)
    assert (explanation.rank, explanation.quba) == (whole[0], whole[3])
    assert "parameters" not in {row[0] for row in explanation.rows}
    # accuracy by hand: weight 1 of a sum of 1 + 3/3 + 2 + 1 + 1/2 + 1/2
    named = {row[0]: dict(zip(explanation.columns, row, strict=True)) for row in explanation.rows}
    accuracy = DIMENSIONS[0]
    score = (float(table["ConvNextV2-B-21k"]["accuracy"]) - accuracy.published_mean) / accuracy.published_std
    assert named["accuracy"]["contribution"] == pytest.approx(score / 6, abs=1e-12)


def test_explaining_a_model_that_is_not_ranked(published):
    with pytest.raises(UsageError, match="did you mean ConvNextV2-B-21k"):
        explain(published, "ConvNextV2-B-21")


@pytest.mark.parametrize(
    "command",
    [
        ["correlate", "--dimensions", "acc,shape,size"],
        ["compare", "cnn", "transformer", "--by", "architecture"],
        ["compare", "--by", "architecture", "--source", "published"],
        ["compare", "--groups", "b-cos"],
        ["compare", "--by", "tuning"],
        ["explain", "AlexNet"],
        ["rank", "--pareto", "acc,size"],
    ],
    ids=" ".join,
)
def test_commands_print_tables_and_data(empty_store, command):
    for format_, parse in (
        ("table", str),
        ("json", json.loads),
        ("csv", lambda text: list(csv.DictReader(text.splitlines()))),
    ):
        result = CliRunner().invoke(cli, [*command, "--store", str(empty_store), "--format", format_])
        assert result.exit_code == 0, result.output
        assert parse(result.stdout)


PAIRS = read_pairs()


def test_pairs_are_of_the_studys_groups(table):
    """Every name is of the published table, each pair once, and either side is what the comparison says."""
    assert len({(p.comparison, p.model_a, p.model_b) for p in PAIRS}) == len(PAIRS)
    assert {p.comparison for p in PAIRS} == set(COMPARISONS)
    tuning = {entry.name: entry.tuning for entry in read_zoo()}

    def kinds(comparison, side):
        names = [getattr(p, side) for p in PAIRS if p.comparison == comparison]
        return {(table[name]["paradigm"], tuning[name]) for name in names}

    standard = {("supervised", "supervised")}
    for name, wanted in (
        ("adversarial-training", {("adversarial", "supervised")}),
        ("self-supervised-linear-probe", {("self-supervised", "linear probe")}),
        ("semi-supervised", {("semi-supervised", "fine-tuned")}),
        ("vision-language", {("self-supervised", "zero-shot")}),
        ("b-cos", standard),
        ("recipe-a1", {("a1", "supervised")}),
    ):
        assert (kinds(name, "model_a"), kinds(name, "model_b")) == (standard, wanted)
    assert kinds("self-supervised-end-to-end", "model_b") == {("self-supervised", "fine-tuned")}
    assert kinds("linear-probe", "model_a") == {("self-supervised", "fine-tuned")}
    for p in PAIRS:
        if p.comparison == "imagenet-21k":
            assert [table[name]["pretraining"] for name in (p.model_a, p.model_b)] == ["imagenet-1k", "imagenet-21k"]
        if p.comparison == "b-cos":
            assert [table[name]["architecture"] == "bcos" for name in (p.model_a, p.model_b)] == [False, True]
        if p.comparison == "transformer":
            sizes = [float(table[name]["parameters_m"]) for name in (p.model_a, p.model_b)]
            assert max(sizes) / min(sizes) < 1.11


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_the_studys_comparisons_against_scipy(published, table, comparison):
    """Over the listed pairs, read without the store."""
    found = study_comparison(published, comparison)
    names = [(p.model_a, p.model_b) for p in PAIRS if p.comparison == comparison]
    for dimension, row in zip(DIMENSIONS, found.rows, strict=True):
        named = dict(zip(found.columns, row, strict=True))
        a, b = (np.array([float(table[pair[side]][dimension.column]) for pair in names]) for side in (0, 1))
        assert (named["test"], named["n_pairs"]) == ("wilcoxon", len(names))
        assert (named["paired_median_a"], named["paired_median_b"]) == pytest.approx((np.median(a), np.median(b)))
        assert named["paired_difference"] == pytest.approx(np.median(a - b), abs=1e-12)
        kept = (a - b)[a != b]
        assert named["p_value"] == pytest.approx(stats.wilcoxon(kept).pvalue if len(kept) else 1, rel=1e-9)


def test_invalid_pairs_are_refused(published):
    """Labels agree by accident: a B-cos ViT was paired with ViT-b-16-21k, and VIT-b/16 with nobody."""
    pairs = {(p.model_a, p.model_b) for p in PAIRS}
    assert not any("bcos-simple-vit-b-patch16-224" in pair and "ViT-b-16-21k" in pair for pair in pairs)
    assert ("ViT-b-16", "bcos-simple-vit-b-patch16-224") in pairs
    assert ("ViT-b-16", "vit-b-16-mae-lp") in pairs
    found = study_comparison(published, "self-supervised-linear-probe")
    assert any("up to 4 pairs" in note for note in found.notes)


def test_groups_by_tuning(published):
    found = comparison(published, "linear probe", "zero-shot", by="tuning")
    assert found.notes[0] == "a: 13 published models, linear probe; b: 25, zero-shot"
    with pytest.raises(UsageError, match="did you mean linear probe"):
        comparison(published, "linear prob", "zero-shot", by="tuning")
    with pytest.raises(UsageError, match="did you mean b-cos"):
        study_comparison(published, "bcos")


def test_measured_models_pair_up_by_their_names_in_the_zoo():
    """Prepared in their own way or in the study's; where both are there, the study's."""
    entries = {entry.name: entry for entry in read_zoo()}
    names = [entries[n].stored_as for n in ("ResNet18", "ResNet18-IG1B", "RegNet-y-4gf", "RegNety-040-A1")]
    prepared = entries["RegNety-040-A1"].stored_as_reference
    models = [{"model": name, "source": "measured"} for name in (prepared, *names)]
    pairs = [("ResNet18", "ResNet18-IG1B"), ("RegNet-y-4gf", "RegNety-040-A1")]
    found = _pairs(models, models, pairs, turned=False)
    assert [(one["model"], other["model"]) for one, other in found] == [tuple(names[:2]), (names[2], prepared)]
    # No pair across sources.
    others = [{**model, "source": "hesse2025"} for model in models]
    assert not _pairs(models, others, pairs)
