"""Other stores and exports: queried under their own names, never written, with an error when they are gone."""

from __future__ import annotations

import shutil

import pytest

import qubastore
from qubastore.attachments.attach import attach, detach
from qubastore.errors import QueryError, StoreError, StoreVersionError
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from tests.attachments.sources import figures
from tests.support.commands import command, run_cli
from tests.support.runs import pretend_schema


@pytest.mark.parametrize("kind", ["store", "export"])
def test_figures_are_those_of_the_store_they_come_from(kind, tiny_suite, exported, store):
    made = attach(store, str(tiny_suite.path if kind == "store" else exported), "lab")
    assert made.kind == kind
    assert figures(store, "lab") == figures(tiny_suite, "measured")
    theirs = dict(tiny_suite.rows("select model, macs_g from measured_dimensions where suite = 'tiny'"))
    assert dict(store.rows("select model, macs_g from rankable where source = 'lab'")) == theirs
    mine = "select dimension, value from quality_dimensions where source = ? and model = 'good' order by all"
    assert store.rows(mine, ["lab"]) == tiny_suite.rows(mine, ["measured"])
    assert store.rows("select distinct origin from rankable where source = 'lab'") == [("attached",)]


def test_a_store_is_asked_under_its_name_and_never_written(tiny_suite, store):
    attach(store, str(tiny_suite.path), "lab")
    for table in ("outputs", "logits", "accuracy", "calibration", "shape_bias", "metric_values"):
        query = f"select count(*) from {{}}{table}"
        assert store.rows(query.format("lab.")) == tiny_suite.rows(query.format(""))
    joined = "select count(*) from lab.outputs as theirs left join outputs as mine using (sample_id)"
    assert store.rows(joined)[0][0] == tiny_suite.rows("select count(*) from outputs")[0][0]
    with pytest.raises(QueryError, match="lab is attached for reading only"):
        store.sql("insert into lab.store_info values ('a', 'b')")


def test_every_connection_has_what_is_attached(tiny_suite, store, timm):
    attach(store, str(tiny_suite.path))
    attach(store, str(timm))
    assert [each.name for each in store.attachments] == ["timm", tiny_suite.path.parent.name]
    with qubastore.open(store.path) as again:
        assert again.attachments == store.attachments
        assert set(figures(again, "timm", "quba")) == {"timm:net_a.in1k", "timm:net_b.in22k"}
        assert again.rows("select count(*) from rankable where origin = 'attached'") == [(5,)]
    assert "net_a.in1k" in run_cli(store, "sql", "from timm.results_imagenet_r")
    assert "timm" in run_cli(store, "show", "attachments")
    detach(store, "timm")
    with qubastore.open(store.path) as again, pytest.raises(QueryError):
        again.rows("from timm.results_imagenet_r")


def test_what_is_gone_is_an_error_where_it_is_asked_for_and_nowhere_else(tiny_suite, store, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    attach(store, str(tmp_path / "other"), "lab")
    (tmp_path / "other").rename(tmp_path / "moved")
    with qubastore.open(store.path) as again:
        assert again.rows("select count(*) from accuracy") == [(0,)]
        ranking = rank(again)
        assert "lab cannot be read, so it is left out: --source all shows the reason" in ranking.notes
        assert rank(again, RankRequest(source="measured,published")).rows
        asks = [lambda: rank(again, RankRequest(source="all")), lambda: rank(again, RankRequest(source="lab"))]
        for ask in (*asks, lambda: again.rows("from lab.accuracy"), lambda: again.sql("from rankable")):
            with pytest.raises(StoreError, match=r"lab, attached from(.|\n)*no store at(.|\n)*qubastore detach lab"):
                ask()
    failed = command("rank", "--source", "all", "--store", store.path)
    assert failed.returncode == 1
    assert "qubastore detach lab" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert command("sql", "select 1", "--store", store.path).returncode == 0
    detach(store, "lab")
    assert command("rank", "--top", "1", "--store", store.path).returncode == 0


@pytest.mark.parametrize(
    "query",
    [
        "select 'rankable, as in lab.accuracy' as text",
        "select 1 -- from rankable, not from lab.accuracy",
        "with rankable as (select 1 as one) from rankable",
        "with recursive accuracy as (select 1) select lab.* from accuracy as lab",
        "select count(*) from quba_ranking(map {}, pool := 'faultless')",
        "select count(*) from without_known_faults('faultless')",
    ],
)
def test_only_what_a_query_reads_is_connected(tiny_suite, store, tmp_path, query):
    """What only looks like a name needs no attachment, so one that is gone is not missed."""
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    attach(store, str(tmp_path / "other"), "lab")
    (tmp_path / "other").rename(tmp_path / "moved")
    with qubastore.open(store.path) as again:
        again.execute("create temp table faultless as from store.main.rankable where accuracy > 0.8")
        assert again.rows(query)
        with pytest.raises(StoreError, match="no store at"):
            again.rows("from accuracy, lab . accuracy")


def test_a_prompt_goes_on_without_what_is_gone(tiny_suite, store, tmp_path, timm):
    from qubastore.attachments.gather import prepare_all

    shutil.copytree(tiny_suite.path, tmp_path / "other")
    attach(store, str(tmp_path / "other"), "lab")
    attach(store, str(timm))
    (tmp_path / "other").rename(tmp_path / "moved")
    with qubastore.open(store.path) as again:
        assert [error.what.split(",")[0] for error in prepare_all(again)] == ["lab"]
        again.restrict()
        assert again.rows("select source, count(*) from rankable where origin = 'attached' group by all") == [
            ("timm", 2)
        ]
        assert again.rows("select count(*) from timm.results_imagenet") == [(2,)]


def test_a_store_of_an_older_schema_says_what_to_do(tiny_suite, store, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    with qubastore.open(tmp_path / "other", read_only=False) as other:
        other.write(lambda c: c.execute("update store_info set value = '4' where key = 'schema_version'"))
    with pytest.raises(StoreError, match=r"older schema(.|\n)*schema version 4"):
        attach(store, str(tmp_path / "other"), "lab")
    assert store.attachments == ()


def test_a_question_inside_a_transaction(tiny_suite, store):
    attach(store, str(tiny_suite.path), "lab")

    def work(connection):
        connection.execute("insert into store_info values ('a', 'b')")
        return store.rows("select count(*) from rankable where source = 'lab'")

    assert store.write(work) == [(3,)]


def test_the_other_stores_own_attachments_stay_its_own(tiny_suite, store, tmp_path, timm):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    with qubastore.open(tmp_path / "other", read_only=False) as other:
        attach(other, str(timm))
    attach(store, str(tmp_path / "other"), "lab")
    assert store.rows("select distinct source from rankable where origin = 'attached'") == [("lab",)]


def test_a_store_that_is_migrated_has_no_attachments(tmp_path):
    from qubastore.lake import creation, migrations

    before = {number: sql for number, sql in migrations.migrations().items() if number < 5}
    with pytest.MonkeyPatch.context() as patch:
        pretend_schema(patch, before)
        qubastore.init(tmp_path / "store").close()
    with pytest.raises(StoreVersionError, match="qubastore migrate"):
        qubastore.open(tmp_path / "store")
    creation.migrate(tmp_path / "store")
    with qubastore.open(tmp_path / "store") as migrated:
        assert migrated.attachments == ()
