"""Benchmarks of the report: its size, and the time to its first paint in a browser."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
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
    """The seconds from navigation to the first contentful paint."""
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
            driver.get(file.as_uri())
            milliseconds = driver.execute_async_script(
                "const done = arguments[0]; const look = () => {"
                "const e = performance.getEntriesByName('first-contentful-paint')[0];"
                "e ? done(e.startTime) : setTimeout(look, 20)}; look()"
            )
        finally:
            driver.quit()
    return float(milliseconds) / 1000
