"""Fixtures: an export of the suite `tiny`, a folder of timm's tables."""

from __future__ import annotations

import pytest

from qubastore.attachments.export import export
from tests.attachments.sources import TIMM


@pytest.fixture
def exported(tiny_suite, tmp_path):
    return export(tiny_suite, tmp_path / "lab-export").folder


@pytest.fixture
def timm(tmp_path):
    folder = tmp_path / "timm" / "results"
    folder.mkdir(parents=True)
    for name in ("results-imagenet.csv", "results-imagenet-r.csv"):
        (folder / name).write_text(TIMM)
    (folder / "README.md").write_text("about")
    return folder
