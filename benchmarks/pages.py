"""Benchmarks of the report: its size, and the time to its first paint in a browser."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import REPEATS, Figures, Row

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def report(folder: Path) -> Iterator[Row]:
    """The size of the published table's page, and its first paint in a freshly started Chromium."""
    import qubastore as package
    from qubastore.report.collect import collect
    from qubastore.report.page import render

    with package.init(folder / "store") as store:
        page = render(collect(store))
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    megabytes = len(page.encode()) / 1e6
    size = Figures("MB", megabytes)
    yield Row(
        "report of the 326 published models", f"{megabytes:.2f} MB", "-", "one file", "< 3 MB", megabytes < 3, "", size
    )
    if not has_chromium():
        return
    paints = [_first_paint(file) for _ in range(REPEATS)]
    seconds = statistics.median(paints)
    yield Row(
        "first contentful paint of that report, cold browser",
        f"{seconds:.2f} s",
        "-",
        "the whole ranking",
        "< 1.5 s",
        seconds < 1.5,
        f"{min(paints):.2f} to {max(paints):.2f} s",
        Figures("s", seconds),
    )


def _first_paint(file: Path) -> float:
    """The seconds from navigation to the first contentful paint, in a freshly started browser."""
    with chromium() as driver:
        driver.get(file.as_uri())
        return first_paint(driver)


def first_paint(driver: Any) -> float:
    """The seconds from navigation to the first contentful paint of the page that a browser shows."""
    milliseconds = driver.execute_async_script(
        "const done = arguments[0]; const look = () => {"
        "const e = performance.getEntriesByName('first-contentful-paint')[0];"
        "e ? done(e.startTime) : setTimeout(look, 20)}; look()"
    )
    return float(milliseconds) / 1000


def has_chromium() -> bool:
    """Whether Chromium and its driver are installed."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a screen, with a profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(prefix="qubastore-chromium-", ignore_cleanup_errors=True) as profile:
        options = Options()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.binary_location = str(shutil.which("chromium"))
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()
