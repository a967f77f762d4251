"""Other stores, exports and tables beside a store: asked where they are, ranked as sources of their own."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qubastore
from qubastore.attachments import export as export_module
from qubastore.attachments.attach import attach, detach
from qubastore.attachments.export import export
from qubastore.cli.main import cli
from qubastore.errors import ImportDataError, QueryError, StoreError, StoreVersionError, UsageError
from qubastore.hashing import checksum
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.rank import rank
from tests.support.runs import CLASSES, SETS, add_run, dataset_of, made, pretend_schema

NAMES = [d.name for d in DIMENSIONS]


TIMM = """\
model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation
net_a.in1k,81.5,18.5,95.1,4.9,25.56,288,1.000,bicubic
net_b.in22k,89.786,10.214,98.992,1.008,"1,014.45",560,1.000,bicubic
"""


def figures(store, source, suite="tiny"):
    """Model -> its nine figures, in a source."""
    ranking = rank(store, suite=suite, source=source, partial=True)
    at = {name: ranking.columns.index(name) for name in ("model", *NAMES)}
    return {row[at["model"]]: [row[at[name]] for name in NAMES] for row in ranking.rows}


def own_models(store, skills=("good", "poor")):
    """The suite `tiny` in a store, with other models of the same images: their names begin with my_."""
    rows = [("tiny", role, ds, condition, "model", n, "") for (ds, condition), (role, n) in SETS.items()]
    store.write(lambda c: c.executemany("insert into own_suites values (?, ?, ?, ?, ?, ?, ?)", rows))
    for skill in skills:
        for (dataset, condition), (role, n) in SETS.items():
            logits, labels = made(skill, dataset, condition, n)
            textures = [int(label + 1) % len(CLASSES) for label in labels] if role == "cue_conflict" else None
            data = dataset_of(labels, CLASSES, dataset, textures)
            add_run(store, logits * 1.5, labels, data=data, name=f"my_{skill}", condition=condition)


def run_cli(store, *arguments):
    result = CliRunner().invoke(cli, [*map(str, arguments), "--store", str(store.path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "qubastore.cli.main", *map(str, arguments)], capture_output=True, text=True
    )


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


# Stores and exports
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


def test_sources_are_chosen_by_kind_and_by_name(tiny_suite, exported, store):
    own_models(store)
    attach(store, str(tiny_suite.path), "lab")
    attach(store, str(exported), "labs_export")

    def sources(source):
        ranking = rank(store, suite="tiny", source=source)
        return {row[ranking.columns.index("source")] for row in ranking.rows}

    assert sources("auto") == sources("measured") == {"measured"}
    assert sources("lab") == {"lab"}
    assert sources("attached") == {"lab", "labs_export"}
    assert sources("measured,lab") == {"measured", "lab"}
    assert sources("all") == {"measured", "lab", "labs_export"}
    with pytest.raises(UsageError, match=r"unknown source 'lob'(.|\n)*did you mean lab"):
        rank(store, suite="tiny", source="measured,lob")
    call = "from quba_ranking(map {}, suite_name := 'tiny', source_name := 'lab,measured')"
    assert store.rows(f"select count(*) {call}") == [(5,)]
    with pytest.raises(QueryError, match="unknown source: lob"):
        store.rows(call.replace("lab,", "lob,"))


def test_auto_takes_attached_models_where_there_are_no_others(tiny_suite, store):
    attach(store, str(tiny_suite.path), "lab")
    assert {row[2] for row in rank(store, suite="tiny").rows} == {"lab"}
    assert {row[2] for row in rank(store).rows} == {"hesse2025"}


def test_one_yardstick_for_what_was_measured_alike(tiny_suite, store):
    """Trimmed mean and std over one's own and the attached models together, here by a plain loop."""
    own_models(store)
    attach(store, str(tiny_suite.path), "lab")
    ranking = rank(store, suite="tiny", source="measured,lab", normalize="store")
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


def test_attached_rows_have_no_intervals_and_the_table_says_so(tiny_suite, store):
    own_models(store)
    attach(store, str(tiny_suite.path), "lab")
    ranking, placed = rank_intervals(store, {}, suite="tiny", source="all", resamples=20)
    assert {each.source for each in placed if each.quba_interval is None} == {"lab"}
    assert any("3 rows of lab have no samples in this store" in note for note in ranking.notes)


def test_a_suite_with_other_roles_is_another_suite(tiny_suite, store):
    rows = [("tiny", "clean", "pets", "clean", "model", 80, "")]
    store.write(lambda c: c.executemany("insert into own_suites values (?, ?, ?, ?, ?, ?, ?)", rows))
    logits, labels = made("good", "pets", "clean", 80)
    for name in ("a", "b"):
        add_run(store, logits, labels, name=name, data=dataset_of(labels, CLASSES, "pets"))
    attach(store, str(tiny_suite.path), "lab")
    ranking = rank(store, suite="tiny", source="all", partial=True)
    assert {row[1] for row in ranking.rows} == {"a", "b"}
    assert "lab is left out of suite tiny: its roles are other ones than in this store" in ranking.notes
    with pytest.raises(UsageError, match="lab is left out of suite tiny"):
        rank(store, suite="tiny", source="lab", partial=True)


def test_other_images_are_told(tiny_suite, store):
    logits, labels = made("good", "pets", "clean", 80)
    data = dataset_of(labels[::-1], CLASSES, "pets")
    add_run(store, logits, labels[::-1], data=data)
    attach(store, str(tiny_suite.path), "lab")
    notes = rank(store, suite="tiny", source="lab").notes
    assert "lab measured other images of pets than this store has" in notes


def test_figures_of_another_definition_are_left_out(tiny_suite, store, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    with qubastore.open(tmp_path / "other", read_only=False) as other:
        other.write(lambda c: c.execute("update run_metrics set metric_version = 99 where metric = 'class_balance'"))
    attach(store, str(tmp_path / "other"), "lab")
    ranking = rank(store, suite="tiny", source="lab", partial=True)
    assert "lab was computed by another release: left out are class_balance" in ranking.notes
    assert all(row[ranking.columns.index("class_balance")] is None for row in ranking.rows)


def test_what_is_gone_is_an_error_where_it_is_asked_for_and_nowhere_else(tiny_suite, store, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    attach(store, str(tmp_path / "other"), "lab")
    (tmp_path / "other").rename(tmp_path / "moved")
    with qubastore.open(store.path) as again:
        assert again.rows("select count(*) from accuracy") == [(0,)]
        ranking = rank(again)
        assert "lab cannot be read, so it is left out: --source all says why" in ranking.notes
        assert rank(again, source="measured,published").rows
        asks = [lambda: rank(again, source="all"), lambda: rank(again, source="lab")]
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


def test_a_prompt_goes_on_without_what_is_gone(tiny_suite, store, tmp_path, timm):
    from qubastore.attachments.gather import prepare_all

    shutil.copytree(tiny_suite.path, tmp_path / "other")
    attach(store, str(tmp_path / "other"), "lab")
    attach(store, str(timm))
    (tmp_path / "other").rename(tmp_path / "moved")
    with qubastore.open(store.path) as again:
        assert [error.what.split(",")[0] for error in prepare_all(again)] == ["lab"]
        again.fence()
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


def test_two_attachments_that_define_a_suite_differently(tiny_suite, exported, store, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    with qubastore.open(tmp_path / "other", read_only=False) as other:
        other.write(lambda c: c.execute("delete from own_suites where dataset = 'drawings'"))
    attach(store, str(exported), "first")
    attach(store, str(tmp_path / "other"), "second")
    ranking = rank(store, suite="tiny", source="all")
    assert {row[2] for row in ranking.rows} == {"first"}
    assert "second is left out of suite tiny: its roles are other ones than in first" in ranking.notes


def test_a_connection_sees_what_changed_meanwhile(store, tmp_path):
    path = tmp_path / "figures.csv"
    path.write_text("model,accuracy\nA,0.5\n")
    attach(store, str(path), "lab")
    with qubastore.open(store.path) as again:
        for value in (0.5, 0.6):
            path.write_text(f"model,accuracy\nA,{value}\n")
            assert again.rows("select accuracy from rankable where source = 'lab'") == [(value,)]
            assert rank(again, source="lab", dimensions=["accuracy"]).rows[0][5] == value
        detach(store, "lab")
        with pytest.raises(UsageError, match="unknown source"):
            rank(again, source="lab")


def test_names_of_columns_hide_nothing(store, tmp_path):
    (tmp_path / "gone.csv").write_text("model,accuracy\nA,0.5\n")
    attach(store, str(tmp_path / "gone.csv"), "model")
    (tmp_path / "gone.csv").unlink()
    with qubastore.open(store.path) as again:
        assert again.rows("select model from accuracy") == []


def test_a_model_that_several_sources_have_is_explained_for_one(tiny_suite, exported, store):
    from qubastore.ranking.explain import explain

    for name in ("first", "second"):
        attach(store, str(exported), name)
    assert any("good is in second too" in note for note in explain(store, "good", suite="tiny", source="all").notes)
    with pytest.raises(UsageError, match="auto and all stand alone"):
        rank(store, suite="tiny", source="all,first")


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


# Exports
def test_an_export_says_what_it_is(tiny_suite, exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["format"] == "qubastore export"
    assert manifest["models"] == 3
    assert manifest["runs"] == 30
    for table in manifest["tables"].values():
        for described in (table, table.get("as_csv", table)):
            data = (exported / described["file"]).read_bytes()
            assert (described["bytes"], described["blake2b"]) == (len(data), checksum(data))
    listed = {f for t in manifest["tables"].values() for f in (t["file"], t.get("as_csv", t)["file"])}
    assert listed | {"manifest.json"} == {path.name for path in exported.iterdir()}
    assert [len(roles) for roles in manifest["protocol"]["suites"].values()] == [len(SETS)]
    assert {each["name"] for each in manifest["protocol"]["datasets"]} == {dataset for dataset, _ in SETS}
    assert manifest["protocol"]["precisions"] == ["fp32"]
    with duckdb.connect() as plain:
        for table in ("runs", "run_metrics", "class_summary", "bin_summary", "cue_summary", "run_summary", "models"):
            theirs = sorted(map(str, plain.sql(f"from '{exported}/{table}.parquet'").fetchall()))
            assert theirs == sorted(map(str, tiny_suite.rows(f"from {table}"))), table
        assert plain.sql(f"select count(root) from '{exported}/datasets.parquet'").fetchall() == [(0,)]
        columns = "suite, model, " + ", ".join(d.column for d in DIMENSIONS)
        want = tiny_suite.rows(f"select {columns} from measured_dimensions order by suite, model")
        for name in ("dimensions.csv", "dimensions.parquet"):
            assert plain.sql(f"select {columns} from '{exported}/{name}' order by suite, model").fetchall() == want


def test_an_export_of_some_models(tiny_suite, store, tmp_path):
    done = export(tiny_suite, tmp_path / "two", ["good", "poor"])
    assert (done.models, done.runs) == (2, 20)
    attach(store, str(done.folder))
    assert figures(store, "two").keys() == {"good", "poor"}
    theirs = figures(tiny_suite, "measured")
    assert figures(store, "two") == {name: theirs[name] for name in ("good", "poor")}
    with pytest.raises(UsageError, match="goud"):
        export(tiny_suite, tmp_path / "none", ["goud"])


def test_unfinished_runs_stay_behind(store, tmp_path):
    with pytest.raises(UsageError, match="no complete run"):
        export(store, tmp_path / "out")
    add_run(store, [[1, 0], [0, 1]], [0, 1], complete=False)
    with pytest.raises(UsageError, match="no complete run"):
        export(store, tmp_path / "out")
    add_run(store, [[1, 0], [0, 1]], [0, 1], name="other")
    store.write(lambda c: c.execute("delete from run_summary where run_id in (select min(run_id) from runs)"))
    assert export(store, tmp_path / "out").unfinished == 1


def test_an_export_leaves_out_what_another_release_defined_otherwise(tiny_suite, tmp_path):
    shutil.copytree(tiny_suite.path, tmp_path / "other")
    with qubastore.open(tmp_path / "other", read_only=False) as other:
        other.write(lambda c: c.execute("update run_metrics set metric_version = 99 where metric = 'class_balance'"))
        assert export(other, tmp_path / "out").outdated == ["class_balance"]
    with duckdb.connect() as plain:
        query = f"select count(class_balance), count(accuracy) from '{tmp_path}/out/dimensions.csv'"
        assert plain.sql(query).fetchall() == [(0, 3)]


def test_places_that_an_export_cannot_have(tiny_suite, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="lies in a store"):
        export(tiny_suite, tiny_suite.path / "data" / "out")
    with pytest.raises(UsageError, match="no folder"):
        export(tiny_suite, "")
    for name in ("here", "real"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert (export(tiny_suite, ".").folder / "manifest.json").exists()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert (export(tiny_suite, tmp_path / "link").folder / "manifest.json").exists()


def test_an_export_is_whole_or_not_there(tiny_suite, tmp_path, monkeypatch):
    def broken(copy):
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "_protocol", broken)
    with pytest.raises(KeyboardInterrupt):
        export(tiny_suite, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (tmp_path / "out").mkdir()
    export(tiny_suite, tmp_path / "out")
    with pytest.raises(UsageError, match="not empty"):
        export(tiny_suite, tmp_path / "out")


def test_a_damaged_export_is_refused(exported, store):
    path = exported / "run_metrics.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(StoreError, match="the hash differs"):
        attach(store, str(exported), "lab")
    path.write_bytes(whole[:-100])
    with pytest.raises(StoreError, match="is not what the manifest says"):
        attach(store, str(exported), "lab")
    path.unlink()
    with pytest.raises(StoreError, match="no such file"):
        attach(store, str(exported), "lab")
    path.write_bytes(whole)
    attach(store, str(exported), "lab")
    path.write_bytes(whole + b"more")
    with qubastore.open(store.path) as again, pytest.raises(StoreError, match="is not what the manifest says"):
        rank(again, source="lab")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "newer release"),
        ({"schema_version": 99}, "newer release"),
        ({"tables": 3}, "no manifest of an export"),
        ({"tables": {}}, "no manifest of an export(.|\n)*no table"),
        ({"tables": {"x\" as select 1; copy (select 1) to '/tmp/pwned.csv'; --": {}}}, "no manifest of an export"),
        (None, "no manifest of an export"),
    ],
)
def test_a_manifest_that_cannot_be_read(change, message, exported, store):
    manifest = exported / "manifest.json"
    text = json.dumps({**json.loads(manifest.read_text()), **change}) if change else "half of a mani"
    manifest.write_text(text)
    with pytest.raises(StoreError, match=message):
        attach(store, str(exported), "lab")


# Tables
def test_timms_results_are_known(timm, store):
    made = attach(store, str(timm))
    assert (made.name, made.ranked_table, made.suite) == ("timm", "results_imagenet", "quba")
    query = "select model, accuracy, parameters_m from rankable where source = 'timm' order by model"
    assert store.rows(query) == [("timm:net_a.in1k", 0.815, 25.56), ("timm:net_b.in22k", 0.89786, 1014.45)]
    ranking = rank(store, dimensions=["accuracy", "params"], source="timm")
    assert any("how they were measured is not known here" in note for note in ranking.notes)
    # ((0.815 - 0.7990557) / 0.0346857 - (25.56 - 55.2877863) / 42.8890536) / 2
    assert ranking.rows[0][1] == "timm:net_a.in1k"
    assert ranking.rows[0][3] == pytest.approx((0.4596785 + 0.6931323) / 2, abs=1e-6)


def test_a_model_of_timm_has_the_studys_words(timm, store):
    text = TIMM.replace("net_a.in1k", "resnet50.a1_in1k")
    (timm / "results-imagenet.csv").write_text(text)
    attach(store, str(timm))
    query = "select label, architecture from rankable where source = 'timm' and model = 'timm:resnet50.a1_in1k'"
    assert store.rows(query) == [("ResNet50", "cnn")]


finite = st.floats(0, 1)


figure = st.one_of(st.none(), finite, st.just(math.nan))


rows_of_figures = st.lists(st.tuples(finite, st.one_of(st.none(), finite), figure), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows_of_figures, st.sampled_from(["csv", "parquet"]))
def test_figures_of_tables_arrive_as_they_are(store, tmp_path, rows, kind):
    import polars as pl

    frame = pl.DataFrame(
        [(f"model {n}, it's", *row) for n, row in enumerate(rows)],
        schema={"model": pl.String, **dict.fromkeys(("accuracy", "shape_bias", "class_balance"), pl.Float64)},
        orient="row",
    )
    path = tmp_path / f"figures.{kind}"
    getattr(frame, f"write_{kind}")(path)
    attach(store, str(path), "lab")
    try:
        got = store.rows("select model, accuracy, shape_bias, class_balance from attached_dimensions order by model")
        want = [tuple(None if v != v else v for v in row) for row in frame.rows()]
        assert got == sorted(want)
    finally:
        detach(store, "lab")


def test_columns_can_be_said(store, tmp_path):
    path = tmp_path / "figures.csv"
    path.write_text("network,top1,n,kind\nA,80,25000000,cnn\nB,70,5000000,\n")
    columns = {"model": "network", "accuracy": "top1 / 100", "parameters": "n / 1e6", "architecture": "kind"}
    made = attach(store, str(path), "lab", columns=columns, suite="quba-reference")
    assert made.columns == {"parameters_m": "n / 1e6", **{k: v for k, v in columns.items() if k != "parameters"}}
    query = (
        "select suite, model, accuracy, parameters_m, architecture from rankable where source = 'lab' order by model"
    )
    assert store.rows(query) == [("quba-reference", "A", 0.8, 25.0, "cnn"), ("quba-reference", "B", 0.7, 5.0, None)]


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("model,accuracy\nA,81.2\n", {}, ImportDataError, r"accuracy of A(.|\n)*0 to 1(.|\n)*81.2(.|\n)*accuracy/100"),
        ("model,parameters_m\nA,25000000\n", {}, ImportDataError, "parameters/1e6"),
        ("model,ood_robustness\nA,70\n", {}, ImportDataError, "ood_robustness/100"),
        ("model,accuracy\nA,0.5\n", {"suite": " "}, UsageError, "--suite has no name"),
        ("model,accuracy\nA,-0.1\n", {}, ImportDataError, "accuracy of A"),
        ("model,accuracy\nA,1e400\n", {}, ImportDataError, "accuracy of A|cannot be ranked"),
        ("model,accuracy\nA,high\n", {}, ImportDataError, "cannot be ranked"),
        ("model,accuracy\nA,0.5\nA,0.6\n", {}, ImportDataError, "2 rows for A"),
        ("model,accuracy\n,0.5\nA,0.6\n", {}, ImportDataError, "without a name"),
        ("model,top1\nA,5\n", {"columns": {"acuracy": "top1"}}, UsageError, "did you mean accuracy"),
        ("model,top1\nA,5\n", {"columns": {"accuracy": "top1 /"}}, QueryError, "no SQL expression"),
        ("model,top1\nA,5\n", {"columns": {"accuracy": "top2"}}, ImportDataError, "cannot be ranked"),
        ("model,top1\nA,5\n", {"columns": {"architecture": "'cnn'"}}, UsageError, "no column that says the figures"),
        ("what,top1\nA,5\n", {"columns": {"accuracy": "top1"}}, UsageError, "no column that says the model"),
        ("model,accuracy\nA,0.5\n", {"table": "other"}, UsageError, "unknown table"),
        (
            "model,top1\nA,5\n",
            {"columns": {"accuracy": "(select max(top1) from read_csv('/etc/passwd'))"}},
            QueryError,
            "read_csv",
        ),
        (
            "model,top1\nA,5\n",
            {"columns": {"accuracy": "(select max(quba) from quba_ranking(map {}, pool := '/etc/x.csv'))"}},
            QueryError,
            "with pool /etc/x.csv",
        ),
        ("model,top1\nA,5\n", {"columns": {"accuracy": "getenv('HOME')"}}, QueryError, "getenv"),
    ],
)
def test_tables_that_cannot_be_ranked(text, options, error, message, store, tmp_path):
    (tmp_path / "figures.csv").write_text(text)
    with pytest.raises(error, match=message):
        attach(store, str(tmp_path / "figures.csv"), "lab", **options)
    assert store.attachments == ()
    assert store.rows("from attachments") == []
    (tmp_path / "figures.csv").write_text("model,accuracy\nA,0.5\n")
    attach(store, str(tmp_path / "figures.csv"), "lab")


def test_tables_without_figures_can_be_asked_all_the_same(store, tmp_path):
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    attach(store, str(tmp_path / "notes.csv"))
    assert store.rows("from notes.notes") == [(1, 2)]
    assert rank(store, top=1).rows[0][2] == "hesse2025"


def test_which_table_is_ranked_must_be_plain(store, tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text("model,accuracy\nA,0.5\n")
    with pytest.raises(UsageError, match=r"several tables could be ranked(.|\n)*a, b(.|\n)*--table a"):
        attach(store, str(folder))
    assert attach(store, str(folder), table="b").ranked_table == "b"
    (folder / "B.parquet").write_bytes(b"")
    with qubastore.open(store.path) as again, pytest.raises(StoreError, match="are both the table b"):
        again.rows("from lab.a")


def test_a_table_that_changes_is_read_anew(store, tmp_path):
    path = tmp_path / "figures.csv"
    path.write_text("model,accuracy\nA,0.5\n")
    attach(store, str(path))
    path.write_text("model,accuracy\nA,0.6\nB,0.7\n")
    with qubastore.open(store.path) as again:
        assert again.rows("select accuracy from rankable where source = 'figures' order by all") == [(0.6,), (0.7,)]


def test_files_that_are_none_or_mean_others(store, tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "._good.csv").write_bytes(b"\x00\x05\x16")
    (folder / "good.csv").write_text("model,accuracy\nA,0.5\n")
    (folder / "manifest.json").write_text('{"made by": "another program"}')
    attach(store, str(folder))
    assert store.rows("from lab.good") == [("A", 0.5)]
    # A name that is a pattern means its own file, not the neighbours that the pattern finds.
    (tmp_path / "x*.csv").write_text("model,accuracy\nA,0.5\n")
    (tmp_path / "xy.csv").write_text("model,accuracy\nstranger,0.5\n")
    attach(store, str(tmp_path / "x*.csv"), "stars")
    assert store.rows("select model from rankable where source = 'stars'") == [("A",)]
    (tmp_path / "bad.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match=r"bad.parquet cannot be read"):
        attach(store, str(tmp_path / "bad.parquet"), "bad")
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "dir.csv" / "inside.csv").write_text("model,accuracy\nB,0.5\n")
    attach(store, str(tmp_path / "dir.csv"), "dir")
    assert "B" in run_cli(store, "sql", "from dir.inside")
    (tmp_path / "blank.csv").write_text("model,accuracy,suite\nB,0.5,\n")
    attach(store, str(tmp_path / "blank.csv"), "blank")
    assert store.rows("select suite from rankable where source = 'blank'") == [("quba",)]


# Names and places
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("measured", "has a meaning"),
        ("hesse2025", "has a meaning"),
        ("store", "has a meaning"),
        ("outputs", "has a meaning"),
        ("accuracy", "has a meaning"),
        ("some", "has a meaning"),
        ("parquet_lab", "functions of DuckDB"),
        ("Lab", "no name for an attachment"),
        ("a-b", "no name for an attachment"),
        ("a; drop table runs", "no name for an attachment"),
        ("__ducklake_metadata_store", "no name for an attachment"),
        ("", "no name for an attachment"),
    ],
)
def test_names_that_cannot_be(name, message, timm, store):
    with pytest.raises(UsageError, match=message):
        attach(store, str(timm), name)


def test_a_name_is_taken_once(timm, store, tiny_suite):
    attach(store, str(timm), "lab")
    with pytest.raises(UsageError, match=r"lab is attached already(.|\n)*qubastore detach lab"):
        attach(store, str(tiny_suite.path), "lab")
    # Another process may have been quicker.
    before, store.attachments = store.attachments, ()
    with pytest.raises(UsageError, match="lab is attached already"):
        attach(store, str(tiny_suite.path), "lab")
    store.attachments = before
    with pytest.raises(UsageError, match=r"unknown attachment 'lob'(.|\n)*did you mean lab"):
        detach(store, "lob")
    detach(store, "lab")
    with pytest.raises(UsageError, match="nothing is attached"):
        detach(store, "lab")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/pytorch-image-models/results", "pytorch_image_models"),
        ("/data/lab2/store", "lab2"),
        ("/data/2026 figures.csv", "_2026_figures"),
        ("postgres://ann@db/quba?data=s3://b/x", "quba"),
        ("s3://bucket/Lab-Export/", "lab_export"),
    ],
)
def test_a_name_from_a_place(path, name):
    from qubastore.attachments.attach import _name_of

    assert _name_of(path) == name


def test_places_that_are_nothing(store, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="this store itself"):
        attach(store, str(store.path), "lab")
    for path, message in (("gone", "nothing at"), ("empty", "cannot be attached"), ("notes.txt", "cannot be attached")):
        with pytest.raises(StoreError, match=message):
            attach(store, str(tmp_path / path), "lab")
    with pytest.raises(UsageError, match="cannot be attached"):
        attach(store, "https://example.org/results.csv", "lab")
    with pytest.raises(UsageError, match="need no --table"):
        attach(store, str(_empty(tmp_path)), "lab", columns={"accuracy": "1"})


def _empty(tmp_path) -> Path:
    qubastore.init(tmp_path / "other").close()
    return tmp_path / "other"


# The fence and the commands
def test_the_fence_stands_around_what_is_attached_too(tiny_suite, timm, store):
    attach(store, str(tiny_suite.path), "lab")
    attach(store, str(timm / "results-imagenet.csv"), "one")
    assert "2" in run_cli(store, "sql", "select count(*) from one.results_imagenet")
    assert "30" in run_cli(store, "sql", "select count(*) from lab.runs")
    for query in (
        f"from read_csv('{timm}/results-imagenet.csv')",
        f"from '{timm}/results-imagenet-r.csv'",
        "from __ducklake_metadata_lab.ducklake_table",
        f"copy (select 1) to '{timm}/new.csv'",
        f"attach '{tiny_suite.path}/catalog.sqlite' as x",
    ):
        failed = command("sql", query, "--store", store.path)
        assert failed.returncode == 1, query
        assert "Traceback" not in failed.stderr


def test_the_commands_say_what_they_did(tiny_suite, timm, store, tmp_path):
    text = run_cli(store, "attach", tiny_suite.path, "--as", "lab")
    assert "3 models in suite tiny" in text
    assert "next: qubastore rank --source all --suite tiny\n" in text
    text = run_cli(store, "attach", timm, "--column", "parameters_m=1.5")
    assert "timm.results_imagenet_r" in text
    assert "2 models in suite quba\nnext: qubastore rank --source all --partial\n" in text
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    assert "nothing of it is ranked" in run_cli(store, "attach", tmp_path / "notes.csv")
    assert "lab" in run_cli(store, "rank", "--suite", "tiny", "--source", "lab", "--format", "csv")
    assert "detached lab" in run_cli(store, "detach", "lab")
    assert tiny_suite.path.exists()
    text = run_cli(tiny_suite, "export", tmp_path / "out")
    assert "3 models, 30 complete runs" in text
    for arguments in (("correlate", "--source", "timm"), ("rank", "--level", "0.9"), ("rank", "--draws", "5")):
        result = command(*arguments, "--store", store.path)
        assert result.returncode == 2, arguments


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


def test_timms_table_with_a_row_for_each_size(store, tmp_path):
    """Since August 2024: a model is called by its name at the size that comes first, NAME SIZE at others."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "results-imagenet.csv").write_text(
        "model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation\n"
        "net_a.fb_in22k_ft_in1k,288,87.378,12.622,98.330,1.670,350.20,1.000,bicubic\n"
        "net_a.fb_in22k_ft_in1k,224,86.970,13.030,98.204,1.796,350.20,0.875,bicubic\n"
        'net_b.a1_in1k,224,81.5,18.5,95.3,4.7,"1,014.45",0.95,bicubic\n'
    )
    attach(store, str(tmp_path / "results"), "timm")
    found = store.rows("select model, accuracy, parameters_m from rankable where source = 'timm' order by 2 desc")
    assert found == [
        ("timm:net_a.fb_in22k_ft_in1k", pytest.approx(0.87378), 350.2),
        ("timm:net_a.fb_in22k_ft_in1k 224", pytest.approx(0.8697), 350.2),
        ("timm:net_b.a1_in1k", pytest.approx(0.815), 1014.45),
    ]
