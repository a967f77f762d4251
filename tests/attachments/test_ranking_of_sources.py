"""Rankings of several sources: which are used, how they are normalised together, what is left out with a note."""

from __future__ import annotations

import math
import shutil

import pytest

import qubastore
from qubastore.attachments.attach import attach
from qubastore.errors import QueryError, UsageError
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from qubastore.statistics.options import BootstrapOptions
from tests.attachments.sources import NAMES
from tests.support.commands import run_cli
from tests.support.runs import CLASSES, add_run, dataset_of, made


def test_sources_are_chosen_by_kind_and_by_name(tiny_suite, exported, own_store):
    attach(own_store, str(tiny_suite.path), "lab")
    attach(own_store, str(exported), "labs_export")

    def sources(source):
        ranking = rank(own_store, RankRequest(suite="tiny", source=source))
        return {row[ranking.columns.index("source")] for row in ranking.rows}

    assert sources("auto") == sources("measured") == {"measured"}
    assert sources("lab") == {"lab"}
    assert sources("attached") == {"lab", "labs_export"}
    assert sources("measured,lab") == {"measured", "lab"}
    assert sources("all") == {"measured", "lab", "labs_export"}
    with pytest.raises(UsageError, match=r"unknown source 'lob'(.|\n)*did you mean lab"):
        rank(own_store, RankRequest(suite="tiny", source="measured,lob"))
    call = "from quba_ranking(map {}, suite_name := 'tiny', source_name := 'lab,measured')"
    assert own_store.rows(f"select count(*) {call}") == [(5,)]
    with pytest.raises(QueryError, match="unknown source: lob"):
        own_store.rows(call.replace("lab,", "lob,"))


def test_auto_takes_attached_models_where_there_are_no_others(tiny_suite, store):
    attach(store, str(tiny_suite.path), "lab")
    assert {row[2] for row in rank(store, RankRequest(suite="tiny")).rows} == {"lab"}
    assert {row[2] for row in rank(store).rows} == {"hesse2025"}


def test_figures_measured_alike_are_normalised_together(tiny_suite, own_store):
    """Trimmed mean and std over one's own and the attached models together, here by a plain loop."""
    attach(own_store, str(tiny_suite.path), "lab")
    ranking = rank(own_store, RankRequest(suite="tiny", source="measured,lab", normalize="store"))
    assert "over the 5 lab and measured models ranked" in ranking.notes[0]
    at = {name: ranking.columns.index(name) for name in ("model", "quba", *NAMES)}
    total = sum(float(d.default_weight) for d in DIMENSIONS)
    for row in ranking.rows:
        score = 0.0
        for d in DIMENSIONS:
            values = sorted(other[at[d.name]] for other in ranking.rows)  # 5 models: floor(0.5) = 0 are trimmed
            mean = sum(values) / len(values)
            std = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
            sign = 1 if d.better == "up" else -1
            score += float(d.default_weight) * sign * ((row[at[d.name]] - mean) / std if std else 0) / total
        assert row[at["quba"]] == pytest.approx(score, abs=1e-12)


def test_attached_rows_have_no_intervals_and_the_table_says_so(tiny_suite, own_store):
    attach(own_store, str(tiny_suite.path), "lab")
    ranking, placed = rank_intervals(own_store, RankRequest(suite="tiny", source="all"), BootstrapOptions(resamples=20))
    assert {each.source for each in placed if each.quba_interval is None} == {"lab"}
    assert any("3 rows of lab have no samples in this store" in note for note in ranking.notes)


def test_a_suite_with_other_roles_is_another_suite(tiny_suite, store):
    rows = [("tiny", "clean", "pets", "clean", "model", 80, "", "pillow")]
    store.write(lambda c: c.executemany("insert into own_suites values (?, ?, ?, ?, ?, ?, ?, ?)", rows))
    logits, labels = made("good", "pets", "clean", 80)
    for name in ("a", "b"):
        add_run(store, logits, labels, name=name, data=dataset_of(labels, CLASSES, "pets"))
    attach(store, str(tiny_suite.path), "lab")
    ranking = rank(store, RankRequest(suite="tiny", source="all", partial=True))
    assert {row[1] for row in ranking.rows} == {"a", "b"}
    assert "lab is left out of suite tiny: its roles differ from those in this store" in ranking.notes
    with pytest.raises(UsageError, match="lab is left out of suite tiny"):
        rank(store, RankRequest(suite="tiny", source="lab", partial=True))


def test_other_images_are_told(tiny_suite, store):
    logits, labels = made("good", "pets", "clean", 80)
    data = dataset_of(labels[::-1], CLASSES, "pets")
    add_run(store, logits, labels[::-1], data=data)
    attach(store, str(tiny_suite.path), "lab")
    notes = rank(store, RankRequest(suite="tiny", source="lab")).notes
    assert "lab measured other images of pets than this store has" in notes


def test_figures_of_another_definition_are_left_out(tiny_suite, store, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    with qubastore.open(tmp_path / "other", read_only=False) as other:
        other.write(lambda c: c.execute("update run_metrics set metric_version = 99 where metric = 'class_balance'"))
    attach(store, str(tmp_path / "other"), "lab")
    ranking = rank(store, RankRequest(suite="tiny", source="lab", partial=True))
    assert "lab was computed by another release: class_balance left out" in ranking.notes
    assert all(row[ranking.columns.index("class_balance")] is None for row in ranking.rows)


def test_two_attachments_that_define_a_suite_differently(tiny_suite, exported, store, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    with qubastore.open(tmp_path / "other", read_only=False) as other:
        other.write(lambda c: c.execute("delete from own_suites where dataset = 'drawings'"))
    attach(store, str(exported), "first")
    attach(store, str(tmp_path / "other"), "second")
    ranking = rank(store, RankRequest(suite="tiny", source="all"))
    assert {row[2] for row in ranking.rows} == {"first"}
    assert "second is left out of suite tiny: its roles differ from those in first" in ranking.notes


def test_a_model_that_several_sources_have_is_explained_for_one(tiny_suite, exported, store):
    from qubastore.ranking.explain import explain

    for name in ("first", "second"):
        attach(store, str(exported), name)
    assert any(
        "good is also in second" in note
        for note in explain(store, "good", RankRequest(suite="tiny", source="all")).notes
    )
    with pytest.raises(UsageError, match="auto and all cannot be combined"):
        rank(store, RankRequest(suite="tiny", source="all,first"))


def test_correlate_and_compare_take_sources(tiny_suite, store):
    attach(store, str(tiny_suite.path), "lab")
    text = run_cli(store, "correlate", "--suite", "tiny", "--source", "lab", "--format", "csv")
    assert text.splitlines()[1].endswith(",3")
    conditions = ("model = 'good'", "model <> 'good'")
    text = run_cli(store, "compare", *conditions, "--suite", "tiny", "--source", "lab", "--format", "csv")
    assert len(text.splitlines()) == 10


def test_a_report_has_attached_rows(tiny_suite, store):
    from qubastore.report.collect import collect

    attach(store, str(tiny_suite.path), "lab")
    data = collect(store, suite="tiny")
    assert [(row["origin"], row["source"]) for row in data["rows"]] == [("attached", "lab")] * 3
