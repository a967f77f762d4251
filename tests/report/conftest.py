"""A browser, and reports of a store with the published table and of one with measured models."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

import qubastore
from qubastore.lake.rows import insert
from qubastore.report.collect import collect
from qubastore.report.page import render
from tests.report.browser import HOSTILE, Page
from tests.support.runs import add_tiny_suite


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


@pytest.fixture(scope="session")
def published(empty_store, tmp_path_factory):
    """A store with the published table alone, and its report."""
    file = tmp_path_factory.mktemp("published") / "report.html"
    with qubastore.open(empty_store) as store:
        file.write_text(render(collect(store)), "utf-8")
    return empty_store, file


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A store with three measured models of difficult names, and its report."""
    folder = tmp_path_factory.mktemp("tiny")
    with qubastore.init(folder / "store") as store:
        add_tiny_suite(store, HOSTILE)
        ids = [store.rows("select model_id from models where name = ?", [name])[0][0] for name in HOSTILE[:2]]
        rows = [("<b>net</b>", 10 * step, model_id, None) for step, model_id in enumerate(ids)]
        store.write(lambda c: insert(c, "checkpoints", rows))
        (folder / "report.html").write_text(render(collect(store, suite="tiny", resamples=50, seed=4)), "utf-8")
    return folder / "store", folder / "report.html"
