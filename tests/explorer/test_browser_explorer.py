"""The explorer in a real Chromium: every page, the keyboard, links to states, phone width, names that are markup."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from tests.explorer.conftest import served
from tests.report.browser import Page

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


class Browser(Page):
    """A browser on an explorer."""

    def visit(self, address: str) -> None:
        self.driver.get(address)
        if address != "about:blank":
            self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn itself, and has not begun to do so again."""
        error = self.driver.execute_async_script(
            "const done = arguments[0]; const look = async () => { const now = window.drawn;"
            " if (!now) return setTimeout(look, 20);"
            " try { await now } catch (error) { return done(String(error)) }"
            " now === window.drawn ? done(null) : look() }; look()"
        )
        assert error is None

    def requests(self):
        """What was asked of any other server than the explorer, and of what it refused."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        inside = ("about:", "data:", "blob:", "chrome:", "chrome-untrusted:")
        return [url for url in asked if urlsplit(url).hostname != "127.0.0.1" and not url.startswith(inside)]

    def texts(self, selector):
        return self.ask("[...document.querySelectorAll(arguments[0])].map((each) => each.textContent.trim())", selector)

    def press(self, *keys):
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            self.driver.switch_to.active_element.send_keys(getattr(Keys, key, key))

    def wait(self, condition, seconds=30):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds).until(lambda _: self.ask(condition))

    def check(self):
        """Nothing is complained of, nothing asked elsewhere, nothing is wider than the window, every field is named."""
        assert self.complaints() == []
        assert self.requests() == []
        assert self.ask("document.documentElement.scrollWidth <= innerWidth")
        unnamed = self.ask(
            "[...document.querySelectorAll('button, a, input, select, textarea, canvas, img')].filter((e) => !e.hidden"
            " && !(e.textContent.trim() || e.alt || e.getAttribute('aria-label') || e.labels?.length))"
            ".map((e) => e.outerHTML)"
        )
        assert unnamed == []
        assert self.ask("document.title") != "1"
        assert not self.ask("!!document.querySelector('main i img, [onerror]')")


@pytest.fixture(scope="module")
def browser(page, client):  # `page` skips where there is no browser
    made = Browser()
    made.visit(client.address)
    yield made
    made.stop()


@pytest.fixture
def base(client):
    return f"http://127.0.0.1:{client.port}"


PATHS = {
    "store": "/",
    "samples": "/samples?a={0}&b={1}&c={2}&sort=disagreement&order=desc",
    "sample": "/sample?dataset={d}&id=3&a={0}&b={1}&at=3",
    "confusions": "/confusions?a={0}",
    "difference": "/confusions?a={0}&b={1}",
    "factors": "/slices?a={0}",
    "found": "/slices?a={0}&kind=found",
    "clusters": "/slices?a={0}&kind=clusters",
    "thresholds": "/thresholds?a={0}&at=0.6",
    "sql": "/sql?q=select+model,+accuracy+from+accuracy",
    "ranking": "/ranking",
}


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("name", PATHS)
def test_every_page(browser, base, explored, name, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.visit(base + PATHS[name].format(*explored.runs, d=explored.data.dataset_id))
    browser.wait("[...document.images].every((image) => image.complete || image.loading === 'lazy')")
    browser.check()
    assert browser.ask("document.querySelector('nav.pages [aria-current]') !== null") == (name != "sample")
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_filters_are_kept_in_the_address(browser, base, explored):
    browser.visit(f"{base}/samples?a={explored.runs[0]}&b={explored.runs[1]}")
    assert browser.texts("#count") == ["90 images"]
    browser.put("[name=show]", "a_wrong_b_right", "change")
    browser.put("[name=sort]", "confidence", "change")
    answers = [explored.answers(i)[0] == explored.labels for i in (0, 1)]
    n = int((~answers[0] & answers[1]).sum())
    assert browser.texts("#count") == [f"{n} images"]
    address, tiles = browser.driver.current_url, browser.texts(".tile")
    assert "a_is=wrong" in address
    assert len(tiles) == n
    browser.visit("about:blank")
    browser.visit(address)
    assert browser.texts(".tile") == tiles
    assert browser.ask("document.querySelector('[name=show]').value") == "a_wrong_b_right"
    browser.driver.back()
    browser.driver.back()
    browser.settle()
    browser.visit(f"{base}/samples?a={explored.runs[0]}&search=%3Cimg")
    assert len(browser.texts(".tile")) == 3
    assert "no image is left" in " ".join(_empty(browser, base, explored)).lower()


def _empty(browser, base, explored):
    browser.visit(f"{base}/samples?a={explored.runs[0]}&search=nowhere")
    return browser.texts("#content p")


def test_the_keyboard_walks_through_the_grid(browser, base, explored):
    browser.visit(f"{base}/samples?a={explored.runs[0]}")
    at = "[...document.querySelectorAll('.tile')].indexOf(document.activeElement)"
    browser.driver.execute_script("document.querySelector('.tile').focus()")
    across = browser.ask(
        "[...document.querySelectorAll('.tile')].filter((e, _, all) => e.offsetTop === all[0].offsetTop).length"
    )
    browser.press("ARROW_RIGHT", "ARROW_RIGHT")
    assert browser.ask(at) == 2
    browser.press("ARROW_DOWN")
    assert browser.ask(at) == 2 + across
    browser.press("ARROW_UP", "ARROW_LEFT")
    assert browser.ask(at) == 1
    browser.press("END")
    assert browser.ask(at) == 89
    browser.press("HOME")
    browser.press("ENTER")
    browser.wait("location.pathname === '/sample' && !!document.querySelector('.sample img')?.complete")
    assert browser.texts("h2") == [explored.data.samples[0].key]
    browser.driver.execute_script("document.activeElement.blur()")
    browser.press("ARROW_RIGHT")
    browser.wait("new URLSearchParams(location.search).get('id') === '1' && !!document.querySelector('.sample')")
    browser.press("ESCAPE")
    browser.wait("location.pathname === '/samples' && document.querySelectorAll('.tile').length === 90")


def test_a_cell_opens_its_images(browser, base, explored):
    browser.visit(f"{base}/confusions?a={explored.runs[0]}")
    browser.driver.execute_script("document.querySelector('canvas').focus()")
    browser.press("ARROW_DOWN", "ARROW_RIGHT")
    said = browser.texts(".reading")[0]
    label = browser.ask("matrix.order[matrix.cell[0]]")
    answer = browser.ask("matrix.order[matrix.cell[1]]")
    n = int(((explored.labels == label) & (explored.answers(0)[0] == answer)).sum())
    assert said.endswith(f": {n} image{'' if n == 1 else 's'}")
    browser.press("+")
    assert browser.ask("matrix.zoom") >= 1
    if n:
        browser.press("ENTER")
        browser.wait(f"location.pathname === '/samples' && document.querySelectorAll('.tile').length === {n}")


def test_a_slider_moves_the_threshold(browser, base, explored):
    browser.visit(f"{base}/thresholds?a={explored.runs[2]}")
    browser.put("#threshold", "700")
    browser.wait("location.search.includes('at=0.7')")
    browser.settle()
    confidence, right = explored.answers(2)[1], explored.answers(2)[0] == explored.labels
    kept = int((confidence >= 0.7).sum())
    shown = browser.texts(".big span")
    assert shown[1].startswith(f"{kept} of 90 answered")
    assert shown[2] == f"accuracy {100 * right[confidence >= 0.7].mean():.1f} %"
    assert browser.texts(".columns h3 a") == [f"{90 - kept} images", f"{kept} images"]


def test_a_query_with_completion(browser, base):
    browser.visit(f"{base}/sql")
    browser.wait("document.querySelector('#query').value.includes('accuracy')")
    browser.driver.execute_script("const q = document.querySelector('#query'); q.value = ''; q.focus()")
    browser.press("from sample_ans")
    browser.wait("!document.querySelector('#words').hidden")
    assert browser.texts("#words li") == ["sample_answers"]
    browser.press("TAB", " limit 3")
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    browser.wait("document.querySelectorAll('tbody tr').length === 3")
    assert "q=from+sample_answers+limit+3" in browser.driver.current_url
    browser.visit(f"{base}/sql?q=from+read_csv('/etc/passwd')")
    assert "outside the store" in browser.texts(".wrong")[0]
    browser.complaints()  # the browser notes that the query was refused


def test_images_that_are_not_at_hand(browser, explored, tmp_path):
    """The page works, and says what to type; no request fails."""
    (tmp_path / "empty" / "ant <b>").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (2, 2)).save(tmp_path / "empty" / "ant <b>" / "x.png")
    client, stop = served(explored.path, places=[f"pets={tmp_path / 'empty'}"])
    try:
        browser.visit(client.address)
        browser.visit(f"http://127.0.0.1:{client.port}/samples?a={explored.runs[0]}")
        assert browser.texts(".tile .absent") == ["no image"] * 90
        assert "qubastore view --dataset pets=PATH" in browser.texts("#message")[0]
        browser.check()
    finally:
        stop()
