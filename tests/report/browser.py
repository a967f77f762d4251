"""A browser without a screen that opens reports, and the command line to compare them with."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli

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


def page_dimensions():
    from qubastore.metrics.dimensions import DIMENSIONS

    return [dimension.name for dimension in DIMENSIONS]
