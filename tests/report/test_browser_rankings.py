"""The report in a real Chromium ranks, and computes the rest, as the command line does."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

import qubastore
from qubastore.attachments.attach import attach
from qubastore.cli.main import cli
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.request import RankRequest
from qubastore.report.collect import collect
from qubastore.report.page import render
from qubastore.statistics.options import BootstrapOptions
from tests.report.browser import HOSTILE, assert_same, page_dimensions

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


VIEWS = [
    "",
    "w.calibration_error=2&w.accuracy=0.5",
    "w.calibration_error=0&w.parameters=0&w.shape_bias=7.25",
    "normalize=store",
    "normalize=store&w.adversarial_robustness=3&architecture=cnn&architecture=bcos",
    "architecture=transformer&pretraining=imagenet-1k&max=30",
    "min=20&max=90&paradigm=supervised&source=all",
    "partial=1&source=published",
    "faultless=1",
    "faultless=1&normalize=store&w.calibration_error=3",
    "faultless=1&partial=1&architecture=vision-language&architecture=transformer",
]


@pytest.mark.parametrize("view", VIEWS)
def test_it_ranks_as_the_command_line_does(page, published, view):
    store, file = published
    page.open(file, view)
    assert_same(page, store)
    assert page.complaints() == []


@pytest.mark.parametrize("view", ["", "w.accuracy=3&w.parameters=0", "max=2.5", "source=all&normalize=store"])
def test_measured_models_rank_alike_whatever_their_names(page, tiny, view):
    store, file = tiny
    page.open(file, view)
    assert_same(page, store)
    assert page.complaints() == []


@pytest.fixture(scope="module")
def beside(tiny, tmp_path_factory):
    """A copy of that store with the original and timm's table attached; reports of both suites."""
    folder = tmp_path_factory.mktemp("beside")
    (folder / "results-imagenet.csv").write_text(
        "model,top1,top1_err,top5,top5_err,param_count\nresnet50.a1_in1k,80.2,19.8,94.9,5.1,25.56\n"
        'huge.in1k,88.1,11.9,98.2,1.8,"1,014.45"\n'
    )
    shutil.copytree(tiny[0], folder / "store")
    with qubastore.open(folder / "store", read_only=False) as store:
        attach(store, str(tiny[0]), "lab")
        attach(store, str(folder / "results-imagenet.csv"), "timm")
        for suite in ("tiny", "quba"):
            (folder / f"{suite}.html").write_text(render(collect(store, suite=suite, resamples=50)), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("suite", "view"),
    [
        ("tiny", "source=all"),
        ("tiny", "source=all&normalize=store&w.accuracy=3"),
        ("tiny", "source=lab&w.shape_bias=0"),
        ("tiny", "source=measured,lab"),
        ("tiny", ""),
        ("quba", "source=all&partial=1&normalize=store"),
        ("quba", "source=timm&partial=1"),
        ("quba", "source=attached,published&partial=1"),
        ("quba", ""),
    ],
)
def test_attached_models_rank_as_on_the_command_line(page, beside, suite, view):
    page.open(beside / f"{suite}.html", view)
    assert_same(page, beside / "store")
    assert page.ask("byId('source').value") == page.ask("State.state.source")
    for other in ("explore", "model"):
        page.ask(f"State.set({{view: '{other}'}})")
        page.settle()
    assert page.complaints() == []


def test_the_page_says_whose_figures_attached_ones_are(page, beside):
    page.open(beside / "quba.html", "view=model&model=timm:huge.in1k")
    assert "Only figures of timm are available" in page.ask("byId('card').textContent")


@pytest.mark.parametrize("options", [{"models": HOSTILE[:2]}, {"where": "accuracy > 0 -- good ones"}])
def test_a_page_of_some_models_has_the_command_for_these(page, tiny, tmp_path, options):
    with qubastore.open(tiny[0]) as store:
        (tmp_path / "some.html").write_text(render(collect(store, suite="tiny", resamples=0, **options)), "utf-8")
    page.open(tmp_path / "some.html", "max=2.5")
    assert_same(page, tiny[0])
    page.open(tmp_path / "some.html")
    assert_same(page, tiny[0])


def test_a_dimension_without_weight_does_not_count_in_resamples(page, tiny):
    page.open(tiny[1])
    before = page.ask("(State.set({factors: {shape_bias: 0}}), lastRanking.rows.map((e) => e.interval))")
    spoil = "DATA.rows.forEach((row) => row.unpacked[arguments[0]].fill(NaN))"
    page.driver.execute_script(spoil, page_dimensions().index("shape_bias"))
    assert page.ask("(draw(), lastRanking.rows.map((e) => e.interval))") == before


def test_intervals_are_those_of_the_command_line(page, tiny):
    store, file = tiny
    page.open(file, "w.accuracy=2")
    found = {row[0]: row[1:] for row in page.ask("lastRanking.rows.map((e) => [e.row.model, e.interval, e.ranks])")}
    with qubastore.open(store) as opened:
        _, placed = rank_intervals(
            opened, RankRequest({"accuracy": 2}, suite="tiny"), BootstrapOptions(resamples=50, seed=4)
        )
    for each in placed:
        interval, ranks = found[each.model]
        # Resamples travel as float32.
        assert interval == pytest.approx(each.quba_interval, abs=1e-5)
        assert tuple(ranks) == each.rank_interval


def test_correlations_are_those_of_the_command_line(page, published):
    store, file = published
    page.open(file, "view=explore")
    done = CliRunner().invoke(cli, ["correlate", "--format", "json", "--store", str(store)])
    for row in json.loads(done.stdout):
        at = [page_dimensions().index(row[name]) for name in ("dimension_a", "dimension_b")]
        script = "Explore.spearman(...arguments[0].map((i) => DATA.rows.map((row) => row.values[i])))"
        assert page.ask(script, at) == pytest.approx(row["spearman"], abs=1e-12)
