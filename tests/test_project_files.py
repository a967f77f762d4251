"""Files that others read: the citation agrees with the release, forms and workflows are well-formed and call make."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from qubastore.version import __version__

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parent.parent
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def read(path):
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_citation_is_of_this_release():
    citation = read(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert citation["version"] == project["version"] == __version__
    assert citation["license"] == project["license"]
    assert citation["abstract"] == project["description"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_citation_names_both_studies():
    studies = {study["url"].rpartition("/")[2]: study for study in read(ROOT / "CITATION.cff")["references"]}
    authors = {number: [a["family-names"] for a in study["authors"]] for number, study in studies.items()}
    assert authors == {
        "2503.17110": ["Hesse", "Bağcı", "Schiele", "Schaub-Meyer", "Roth"],
        "2311.09215": ["Vishniakov", "Shen", "Liu"],
    }
    for number, study in studies.items():
        assert study["identifiers"][0]["value"] == f"arXiv:{number}"


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_issue_form(path):
    form = read(path)
    assert form["name"]
    assert form["description"]
    questions = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in questions)
    assert len({part["id"] for part in questions}) == len(questions) > 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflow_calls_a_target(path):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    steps = [step.get("run", "") for job in read(path)["jobs"].values() for step in job["steps"]]
    called = [target for step in steps for target in re.findall(r"\bmake ([\w-]+)", step)]
    assert len(called) == 1
    assert set(called) <= set(targets)


def test_every_part_of_continuous_integration_has_a_workflow():
    part = re.compile(r"\bmake ([\w-]+) *(?:PYTHON=|$)", re.MULTILINE)
    local = part.findall((ROOT / ".ci/run").read_text("utf-8"))
    assert sorted(local) == sorted(target for path in WORKFLOWS for target in part.findall(path.read_text("utf-8")))
