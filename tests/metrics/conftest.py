"""Fixtures: the published table, as its file and as a store."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest

import qubastore


@pytest.fixture(scope="module")
def table():
    with files("qubastore.published").joinpath("hesse2025.csv").open(encoding="utf-8") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def published(empty_store):
    with qubastore.open(empty_store) as store:
        yield store
