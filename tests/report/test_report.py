"""The report's data and file; what a browser makes of it is in test_browser_*.py."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import cli
from qubastore.errors import QueryError, StoreError, UsageError
from qubastore.metrics.known_differences import known_faults
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from qubastore.report.collect import collect, split_names
from qubastore.report.page import render
from qubastore.report.static import latex, latex_text, markdown, write_static
from tests.support.runs import add_run, add_tiny_suite


@pytest.fixture(scope="module")
def published(empty_store):
    with qubastore.open(empty_store) as store:
        yield collect(store)


@pytest.fixture
def tiny(tiny_suite):
    return tiny_suite


def test_the_published_table_is_there_with_its_faults(published):
    assert len(published["rows"]) == 326
    assert all(row["faults"] == known_faults(row["model"]) for row in published["rows"])
    assert sum(bool(row["faults"]) for row in published["rows"]) == 107
    rows = {row["model"]: row for row in published["rows"]}
    assert [what for what, _, _ in rows["ResNet50"]["protocol"]] == ["attack-space", "framing"]
    assert set(published["protocols"]) == {"attack-space", "framing", "preprocessing", "above-one"}
    assert published["withoutKnownFaults"] is False
    assert published["details"] == {}
    assert all(len(row["values"]) == 9 and None not in row["values"] for row in published["rows"])


def test_the_page_is_one_small_file_that_loads_nothing(published):
    page = render(published)
    assert len(page.encode()) < 3_000_000
    head = page[: page.index('id="vega"')]
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", head)
    assert "@import" not in head
    assert "url(" not in head


def test_measured_models_have_details_and_resamples(tiny):
    found = collect(tiny, suite="tiny", resamples=20)
    assert [row["model"] for row in found["rows"]] == ["fair", "good", "poor"]
    for row in found["rows"]:
        assert all(row["resamples"])
        detail = found["details"][row["model"]]
        assert {"reliability", "confidence", "classes", "shape"} <= set(detail)
        assert sum(each["n"] for each in detail["reliability"]) == 80
        assert detail["lacks"] == []
    without = collect(tiny, suite="tiny", resamples=0)
    assert "resamples" not in without["rows"][0]


def test_conditions_and_names_choose(tiny, empty_store):
    assert [row["model"] for row in collect(tiny, suite="tiny", models=["good"], resamples=0)["rows"]] == ["good"]
    assert len(collect(tiny, suite="tiny", where="parameters_m < 3", resamples=0)["rows"]) == 2
    with pytest.raises(UsageError, match="nobody"):
        collect(tiny, suite="tiny", models=["nobody"])
    with pytest.raises(UsageError, match="empty"):
        collect(tiny, suite="tiny", where="accuracy > 2")
    with pytest.raises(QueryError, match="where"):
        collect(tiny, suite="tiny", where="accuracy >")


def test_a_page_of_fifty_measured_models_can_be_mailed(tiny):
    """As large as the study's suites make them: 75 corruptions, 16 categories, 16 factors, 18 altered sets."""
    found = collect(tiny, suite="tiny")
    row, detail = found["rows"][0], next(iter(found["details"].values()))
    corruption = [{"corruption": f"corruption {i // 5}", "severity": i % 5 + 1, "accuracy": i / 76} for i in range(75)]
    factor = [
        {"factor": f"factor {i}", "n": 1000, "error_ratio": i / 17, "low": i / 19, "high": i / 13} for i in range(16)
    ]
    altered = [
        {
            "dataset": "imagenet-val",
            "transformation": "scale",
            "amount": i / 7,
            "direction": None,
            "accuracy": i / 19,
            "consistency": i / 23,
        }
        for i in range(18)
    ]
    whole = {
        **detail,
        "corruptions": corruption,
        "imagenet_x": factor,
        "invariance": altered,
        "shape": [{"category": f"category {i}", "shape_bias": i / 17} for i in range(16)],
    }
    names = [f"timm:some_model_with_a_name.of_{i}" for i in range(50)]
    page = render({**found, "rows": [{**row, "model": name} for name in names], "details": dict.fromkeys(names, whole)})
    assert len(page.encode()) < 10_000_000


def test_nothing_in_the_data_ends_the_script(published):
    row = {**published["rows"][0], "model": "</script><script>alert(1)</script><!--\u2028'\"🐸"}
    page = render({**published, "rows": [row]})
    data = page[page.index("const DATA = ") + len("const DATA = ") :]
    line = data[: data.index("\n") - 1]
    assert "<" not in line
    assert json.loads(line)["rows"][0]["model"] == row["model"]


def test_marks_of_the_template_in_data_are_data(published):
    row = {**published["rows"][0], "model": "my /*VEGA*/ /*SCRIPT*/ net"}
    page = render({**published, "rows": [row], "where": "true /*STYLE*/"})
    assert page.count("window.vegaEmbed") < 5
    assert "my /*VEGA*/ /*SCRIPT*/ net" in page


def test_corruptions_are_those_of_the_suite(tiny_copy):
    """A run under an attack, or of another suite, is no part of a corruption's line."""
    labels = np.arange(8) % 4
    right = np.eye(4, dtype=np.float32)[labels] * 9
    factors = {"corruption": "fog", "severity": "1"}
    options = {"name": "good", "classes": [f"class{i}" for i in range(4)], "dataset": "imagenet-c/fog/1"}
    add_run(tiny_copy, right, labels, factors=factors, **options)
    add_run(tiny_copy, -right, labels, factors=factors, condition="fgsm(eps=8/255)", **options)
    assert "corruptions" not in collect(tiny_copy, suite="tiny", resamples=0)["details"]["good"]
    role = "insert into own_suites values ('other', 'corrupted', 'imagenet-c/fog/1', 'clean', 'model', 8, '', 'pillow')"
    clean = "insert into own_suites values ('other', 'clean', 'pets', 'clean', 'model', 80, '', 'pillow')"
    tiny_copy.write(lambda c: (c.execute(role), c.execute(clean)))
    found = collect(tiny_copy, suite="other", resamples=0)["details"]["good"]["corruptions"]
    assert found == [{"corruption": "fog", "severity": 1, "accuracy": 1.0}]


def test_the_command_writes_a_file(tiny, tmp_path):
    file = tmp_path / "out.html"
    arguments = ["report", "--suite", "tiny", "--resamples", "10", "--store", str(tiny.location.text)]
    done = CliRunner().invoke(cli, [*arguments, "-o", str(file)])
    assert done.exit_code == 0, done.output
    assert "3 rows" in done.output
    assert file.read_text("utf-8").startswith("<!doctype html>")
    done = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "none" / "out.html")])
    assert "cannot be written" in str(done.exception)
    assert CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path)]).exit_code == 2


def test_tables_have_the_best_values_bold(tiny):
    ranking = rank(tiny, RankRequest(suite="tiny"))
    assert sorted(row[1] for row in ranking.rows) == ["fair", "good", "poor"]
    for text, bold in ((markdown(ranking), r"\*\*(.+?)\*\*"), (latex(ranking), r"\\textbf\{(.+?)\}")):
        for row in ranking.rows:
            named = dict(zip(ranking.columns, row, strict=True))
            line = next(line for line in text.splitlines() if f" {named['model']} " in line)
            best = named["accuracy"] == max(other[ranking.columns.index("accuracy")] for other in ranking.rows)
            assert (f"{100 * named['accuracy']:.1f}" in re.findall(bold, line)) == best
    assert any(line.startswith(r"\# & model & QUBA & ") for line in latex(ranking).splitlines())
    assert latex_text(r"a_b & 50% $x$ {y} \z") == r"a\_b \& 50\% \$x\$ \{y\} \textbackslash{}z"


def test_figures_are_drawn_and_the_same_twice(tiny, tmp_path):
    first = write_static(tiny, tmp_path / "one", suite="tiny")
    names = [path.name for path in first]
    drawn = [
        f"{name}.{kind}" for name in ("correlations", "ranking", "reliability", "scatter") for kind in ("png", "svg")
    ]
    assert names == sorted([*drawn, "ranking.md", "ranking.tex"])
    second = write_static(tiny, tmp_path / "two", suite="tiny")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
        assert len(one.read_bytes()) > 200
    with pytest.raises(UsageError, match="did you mean"):
        write_static(tiny, tmp_path / "four", suite="tiny", models=["god"])
    chosen = write_static(tiny, tmp_path / "three", suite="tiny", models=["good", "poor"], where="accuracy > 0")
    assert "correlations.svg" not in [path.name for path in chosen]
    assert "fair" not in (tmp_path / "three" / "ranking.md").read_text()


def test_figures_without_known_faults(empty_store, tmp_path):
    with qubastore.open(empty_store) as store:
        write_static(store, tmp_path / "whole", where="accuracy > 0.84")
        write_static(store, tmp_path / "sound", where="accuracy > 0.84", without_known_faults=True)
        assert collect(store, without_known_faults=True)["withoutKnownFaults"] is True
    whole, sound = ((tmp_path / name / "ranking.md").read_text() for name in ("whole", "sound"))
    assert "Hiera-B-Plus |" in whole
    assert "Hiera-B-Plus |" not in sound
    assert "of the first 10 with them" in sound
    assert (tmp_path / "whole" / "correlations.svg").read_bytes() != (
        tmp_path / "sound" / "correlations.svg"
    ).read_bytes()
    chosen = ["--where", "accuracy > 0.84", "--store", str(empty_store)]
    done = CliRunner().invoke(cli, ["report", "--without-known-faults", "--static", str(tmp_path / "cli"), *chosen])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cli" / "ranking.md").read_text() == sound


def test_models_whose_names_hold_commas(store, tmp_path):
    """`-m NAME` takes a name as it is, and a list with commas knows the names of the store."""
    add_tiny_suite(store, ["grey,v2", "grey", "net, b"])
    assert split_names(store, "grey,v2", "tiny") == ["grey,v2"]
    assert split_names(store, "grey, grey,v2 ,net, b", "tiny") == ["grey", "grey,v2", "net, b"]
    assert split_names(store, "grey,other,net, b", "tiny") == ["grey", "other", "net, b"]
    for words in (["-m", "grey,v2", "-m", "net, b"], ["--models", "grey,v2,net, b"]):
        page = tmp_path / "r.html"
        arguments = [
            "report",
            "--store",
            str(store.path),
            "--suite",
            "tiny",
            "--resamples",
            "0",
            "-o",
            str(page),
            *words,
        ]
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "2 rows" in result.output


def test_figures_of_a_suite_without_all_dimensions(store, tmp_path):
    """Where no model has every dimension, the figures rank on what there is, and say so."""
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('mine', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow'),"
            " ('mine', 'adversarial', 'pets', 'fgsm(eps=8/255)', 'model', 4, '', 'pillow')"
        )
    )
    for number, name in enumerate(("good", "poor")):
        add_run(store, np.eye(4) * (3 - number), [0, 1, 2, 0], name=name, dataset="pets")
    arguments = ["report", "--store", str(store.path), "--suite", "mine", "--static", str(tmp_path / "figures")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "no model has every dimension" in (tmp_path / "figures" / "ranking.md").read_text()


def test_a_page_that_cannot_be_written_is_told_at_once(store):
    with pytest.raises(StoreError, match=r"not/there/r.html cannot be written(.|\n)*not/there is not a folder"):
        CliRunner().invoke(
            cli, ["report", "--store", str(store.path), "-o", "not/there/r.html"], catch_exceptions=False
        )
