"""The report in a real Chromium without a screen: it ranks as the CLI does, keeps its state, and asks nobody."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import qubastore
from qubastore.attachments.attach import attach
from qubastore.cli.main import cli
from qubastore.metrics.known_differences import known_faults
from qubastore.models.zoo import read_zoo
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.request import RankRequest
from qubastore.report.collect import collect
from qubastore.report.page import render
from qubastore.statistics.options import BootstrapOptions
from tests.support.runs import add_tiny_suite

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


HOSTILE = ['a <img src=x onerror="document.title=1"> b', 'quote\'s "and" $(more)', "🐸 python:frog <b>"]


FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1440,900",
)


class Page:
    """A browser that opens files."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        self._profile = tempfile.mkdtemp(prefix="qubastore-chromium-")
        for flag in (*FLAGS, f"--user-data-dir={self._profile}"):
            options.add_argument(flag)
        options.binary_location = str(shutil.which("chromium"))
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(60)
        # What the browser's own first page asks for is not ours.
        self.driver.get("about:blank")
        time.sleep(0.5)
        self.driver.get_log("performance")

    def open(self, file: Path, view: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(f"{file.as_uri()}#{view}")
        self.settle()

    def settle(self) -> None:
        error = self.driver.execute_async_script(
            "const done = arguments[0]; Promise.resolve(window.drawn).then(() => done(null), (e) => done(String(e)))"
        )
        assert error is None

    def ask(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def ranking(self):
        return self.ask("lastRanking.rows.map((each) => [each.rank, each.row.model, each.row.source, each.quba])")

    def put(self, selector: str, value: str, event: str = "input") -> None:
        self.driver.execute_script(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event(arguments[2], {bubbles: true}))",
            selector,
            value,
            event,
        )
        self.settle()

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()
        self.settle()

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """What was asked of anybody but the file itself."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [
            url
            for url in asked
            if not url.startswith(("file:", "data:", "about:", "blob:", "chrome:", "chrome-untrusted:"))
        ]

    def stop(self) -> None:
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)


@pytest.fixture(scope="module")
def page():
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("needs Chromium: make test-browser installs it")
    if importlib.util.find_spec("selenium") is None:
        pytest.skip("needs Selenium: make test-browser installs it")
    made = Page()
    yield made
    assert made.requests() == []
    made.stop()


@pytest.fixture(scope="module")
def published(empty_store, tmp_path_factory):
    """A store with the published table alone, and its report."""
    file = tmp_path_factory.mktemp("published") / "report.html"
    with qubastore.open(empty_store) as store:
        file.write_text(render(collect(store)), "utf-8")
    return empty_store, file


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A store with three measured models of difficult names, and its report."""
    folder = tmp_path_factory.mktemp("tiny")
    with qubastore.init(folder / "store") as store:
        add_tiny_suite(store, HOSTILE)
        (folder / "report.html").write_text(render(collect(store, suite="tiny", resamples=50, seed=4)), "utf-8")
    return folder / "store", folder / "report.html"


def typed(page, store):
    """What the page's own command says, typed into a terminal."""
    words = shlex.split(page.ask("State.command()"))
    assert words[:2] == ["qubastore", "rank"]
    done = CliRunner().invoke(cli, [*words[1:], "--format", "json", "--store", str(store)])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return json.loads(done.stdout)


def assert_same(page, store):
    mine = page.ranking()
    theirs = typed(page, store)
    assert [row[:3] for row in mine] == [[row["rank"], row["model"], row["source"]] for row in theirs]
    assert [row[3] for row in mine] == pytest.approx([row["quba"] for row in theirs], abs=1e-12)
    assert mine


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
    """A store with two of the models, that asks another with all three, and timm's table; reports of both suites."""
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
    assert "Here are figures of timm alone" in page.ask("byId('card').textContent")


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


def test_sliders_typed_values_presets_and_reset(page, published):
    store, file = published
    page.open(file)
    first = page.ranking()
    page.put("input[type=range][data-weight=calibration_error]", "2")
    page.put("input[type=number][data-weight=parameters]", "0.3")
    assert page.ask("State.command()") == "qubastore rank --weight calibration_error=2 --weight parameters=0.3"
    assert_same(page, store)
    assert page.ranking() != first
    for preset in ("safety first", "small devices", "like a human"):
        page.click(f"[data-preset='{preset}']")
        assert page.ask("document.querySelector('[aria-pressed=true]').textContent") == preset
        assert_same(page, store)
    page.click("#reset")
    assert page.ranking() == first


def test_the_address_keeps_the_view(page, published):
    _, file = published
    page.open(file)
    page.put("input[type=number][data-weight=accuracy]", "2.5")
    page.click("input[data-filter=architecture][value=cnn]")
    page.put("#search", "resnet")
    page.put("#normalize", "store", "change")
    page.driver.execute_async_script("setTimeout(arguments[0], 300)")
    address, ranking, shown = page.driver.current_url, page.ranking(), page.ask("byId('count').textContent")
    assert address == page.ask("State.link()")
    assert "w.accuracy=2.5" in address
    page.driver.get("about:blank")
    page.driver.get(address)
    page.settle()
    assert page.ranking() == ranking
    assert page.ask("byId('count').textContent") == shown
    assert page.ask("document.querySelectorAll('#table tbody tr').length") == int(shown.split()[0])
    page.click("#table tbody tr:first-child a")
    assert not page.ask("byId('model').hidden")
    page.driver.back()
    page.settle()
    assert not page.ask("byId('ranking').hidden")
    assert page.ask("State.state.search") == "resnet"


def test_nonsense_in_the_address_is_ignored(page, published):
    page.open(
        published[1],
        "w.accuracy=-1&w.calibration_error=&sort=constructor&w.nobody=3&view=%3Cscript%3E&source=x&min=abc&x=y&model=%3Cb%3E",
    )
    assert page.ask("State.state.view") == "ranking"
    assert page.ask("lastRanking.rows.length") == 326
    assert page.complaints() == []


def test_all_weights_zero_is_said(page, published):
    page.open(published[1], "&".join(f"w.{name}=0" for name in page_dimensions()))
    assert page.ask("byId('count').textContent") == "All weights are zero."
    page.open(published[1], "w.accuracy=1e308&w.calibration_error=1e308")
    assert page.ask("byId('count').textContent") == "The weights add up to infinity."
    page.open(published[1], "max=0.1")
    assert page.ask("byId('count').textContent") == "No model is left."


def page_dimensions():
    from qubastore.metrics.dimensions import DIMENSIONS

    return [dimension.name for dimension in DIMENSIONS]


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


def test_names_are_text_and_nothing_else(page, tiny):
    _, file = tiny
    for view in ("", f"view=explore&pins={HOSTILE[0]}", f"view=model&model={HOSTILE[0]}"):
        page.open(file, view.replace("%", "%25").replace("&", "%26") if not view.startswith("view") else view)
        assert page.ask("document.querySelectorAll('main img, main b:not(.peer b)').length") == 0
        assert page.driver.title != "1"
    assert page.ask("byId('model-title').textContent") == HOSTILE[0]
    assert page.complaints() == []


def test_charts_are_drawn_and_points_can_be_pinned(page, published, tiny):
    page.open(published[1], "view=explore")
    assert page.ask("document.querySelectorAll('#scatter svg .mark-symbol.role-mark path').length") == 326
    assert page.ask("document.querySelectorAll('#heat svg .mark-text.role-mark text').length") == 72
    page.driver.execute_script("State.set({pins: ['AlexNet', 'GoogLeNet'], x: 'accuracy', y: 'shape_bias'})")
    page.settle()
    assert "GoogLeNet" in page.ask("byId('pins').textContent")
    page.open(tiny[1], "view=model")
    assert page.ask("document.querySelectorAll('#card svg').length") >= 4
    page.open(published[1], "view=model&model=AlexNet")
    assert "qubastore ingest --model 'zoo:AlexNet'" in page.ask("byId('card').textContent")
    assert page.complaints() == []


def test_a_model_outside_the_filters_still_has_peers(page, published):
    page.open(published[1], "view=model&model=EVA02-b-21k&architecture=cnn")
    shares = page.ask("[...document.querySelectorAll('.track')].map((e) => parseFloat(e.firstChild.style.width))")
    assert len(shares) == 9
    assert all(0 <= share <= 100 for share in shares)
    page.open(published[1], "view=explore&architecture=nobody")
    assert "No model" in page.ask("byId('scatter').textContent")
    page.open(published[1], "view=explore")
    assert page.ask("byId('scatter').getAttribute('aria-label')").startswith("accuracy against parameters")


def test_the_keyboard_stays_where_it_was(page, published):
    page.open(published[1])
    page.click("#table [data-sort=shape_bias]")
    assert page.ask("document.activeElement.dataset.sort") == "shape_bias"
    page.click("#table tbody tr:first-child a")
    assert page.ask("document.activeElement.id") == "main"


def test_faults_are_marked(page, published):
    page.open(published[1])
    marks = page.ask("[...document.querySelectorAll('#table .fault')].map((e) => e.title)")
    # What `rank --without-known-faults` leaves out of the published table: 624 figures of 107 models.
    assert len(marks) == sum(len(known_faults(entry.name)) for entry in read_zoo()) == 624
    assert all(marks)


@pytest.mark.parametrize("view", ["", "view=explore", "view=model&model=AlexNet"])
@pytest.mark.parametrize("width", [390, 820, 1440])
def test_it_fits_the_screen(page, published, view, width):
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 800}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.open(published[1], view)
        assert page.ask("document.scrollingElement.scrollWidth") <= width
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_all_of_it_is_reached_by_the_keyboard_and_named(page, published):
    page.open(published[1])
    nameless = page.ask(
        "[...document.querySelectorAll('button, input, select, a')].filter((e) => !(e.textContent.trim() ||"
        " e.getAttribute('aria-label') || e.labels?.length || e.placeholder)).map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert page.ask("[...document.querySelectorAll('[tabindex]')].every((e) => e.tabIndex <= 0)")
    assert page.ask("document.documentElement.lang") == "en"
    assert page.ask("document.querySelectorAll('#table th[scope]').length") > 326
