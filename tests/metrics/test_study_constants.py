"""Which suites are normalised by the study's constants: every part of the program agrees."""

from __future__ import annotations

from typing import Any

import pytest

import qubastore
from qubastore.errors import QubastoreError, UsageError
from qubastore.lake.rows import insert
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.metrics.suites import BUILT_IN, has_study_constants
from qubastore.ranking.explain import explain
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from qubastore.report.collect import collect
from tests.support.commands import invoke


@pytest.fixture
def measured_everywhere(tmp_path):
    """Two models with a clean run over ImageNet-val, which is in every suite of the release."""
    with qubastore.init(tmp_path / "store") as store:
        rows: dict[str, list[tuple[Any, ...]]] = {"models": [], "runs": [], "run_summary": [], "run_metrics": []}
        for name, value in (("a", 0.5), ("b", 0.7)):
            rows["models"].append((f"m-{name}", name, "python", "{}", "", "{}", 8, 8, 1000, 10**6, 1, "logits"))
            rows["runs"].append(
                (f"r-{name}", f"m-{name}", "d", "model", "clean", "fp32", 1, "measured", 50_000, 1, [], None, "pillow")
            )
            rows["run_summary"].append((f"r-{name}", 50_000, 0, 2, None, 0.0, None, None, None))
            for metric in ("accuracy", "calibration_error", "class_balance"):
                rows["run_metrics"].append((f"r-{name}", metric, 1, value))

        def work(connection):
            insert(connection, "datasets", [("d", "imagenet-val", 50_000, "imagenet-1k", None, None, None, [])])
            width = {table: len(connection.execute(f"from {table} limit 0").description) for table in rows}
            for table, listed in rows.items():
                insert(connection, table, [(*row, *[None] * (width[table] - len(row))) for row in listed])

        store.write(work)
        yield store


@pytest.mark.parametrize("suite", BUILT_IN)
def test_everything_agrees_on_what_normalises_a_suite(measured_everywhere, suite):
    store = measured_everywhere
    constants = has_study_constants(suite)
    assert constants == (suite in ("quba", "quba-reference"))
    options = {"suite": suite, "source": "measured", "partial": True}
    ranking = rank(store, RankRequest(**options))
    said = any("constants of the study" in note for note in ranking.notes)
    accuracy = next(row for row in explain(store, "a", RankRequest(**options)).rows if row[0] == "accuracy")
    used = accuracy[2] == DIMENSIONS[0].published_mean
    by_sql = store.rows(
        "select mean from quba_contributions(map {}, suite_name := ?, source_name := 'measured', partial := true)"
        " where dimension = 'accuracy'",
        [suite],
    )
    mean = DIMENSIONS[0].published_mean if constants else (0.5 + 0.7) / 2
    assert by_sql == [(pytest.approx(mean),)] * 2
    reported = collect(store, suite=suite, resamples=0)["publishedConstants"]
    in_sql = store.rows("select count(*) from study_suites where suite = ?", [suite]) == [(1,)]
    assert {said, used, reported, in_sql} == {constants}
    if constants:
        assert rank(store, RankRequest(normalize="published", **options)).rows == ranking.rows
        return
    with pytest.raises(UsageError, match="belong to the suite") as caught:
        rank(store, RankRequest(normalize="published", **options))
    assert caught.value.hint == "--normalize store"
    with pytest.raises(QubastoreError, match="belong to the suite"):
        store.rows(
            "from quba_ranking(map {}, suite_name := ?, normalize := 'published', partial := true)",
            [suite],
        )
    done = invoke(store.location.text, "rank", "--suite", suite, "--partial", "--normalize", "published")
    assert isinstance(done.exception, UsageError)
