"""Attached tables: what their columns mean, which can be ranked, and that every query reads them again."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qubastore
from qubastore.attachments.attach import attach, detach
from qubastore.errors import ImportDataError, QueryError, StoreError, UsageError
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from tests.attachments.sources import TIMM
from tests.support.commands import run_cli


def test_a_connection_sees_what_changed_meanwhile(store, tmp_path):
    path = tmp_path / "figures.csv"
    path.write_text("model,accuracy\nA,0.5\n")
    attach(store, str(path), "lab")
    with qubastore.open(store.path) as again:
        for value in (0.5, 0.6):
            path.write_text(f"model,accuracy\nA,{value}\n")
            assert again.rows("select accuracy from rankable where source = 'lab'") == [(value,)]
            assert rank(again, RankRequest(source="lab", dimensions=["accuracy"])).rows[0][5] == value
        detach(store, "lab")
        with pytest.raises(UsageError, match="unknown source"):
            rank(again, RankRequest(source="lab"))


def test_names_of_columns_hide_nothing(store, tmp_path):
    (tmp_path / "gone.csv").write_text("model,accuracy\nA,0.5\n")
    attach(store, str(tmp_path / "gone.csv"), "model")
    (tmp_path / "gone.csv").unlink()
    with qubastore.open(store.path) as again:
        assert again.rows("select model from accuracy") == []


def test_timms_results_are_known(timm, store):
    made = attach(store, str(timm))
    assert (made.name, made.ranked_table, made.suite) == ("timm", "results_imagenet", "quba")
    query = "select model, accuracy, parameters_m from rankable where source = 'timm' order by model"
    assert store.rows(query) == [("timm:net_a.in1k", 0.815, 25.56), ("timm:net_b.in22k", 0.89786, 1014.45)]
    ranking = rank(store, RankRequest(dimensions=["accuracy", "params"], source="timm"))
    assert any("how they were measured is unknown" in note for note in ranking.notes)
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
        ("model,accuracy\nA,0.5\n", {"suite": " "}, UsageError, "the name of --suite is empty"),
        ("model,accuracy\nA,-0.1\n", {}, ImportDataError, "accuracy of A"),
        ("model,accuracy\nA,1e400\n", {}, ImportDataError, "accuracy of A|cannot be ranked"),
        ("model,accuracy\nA,high\n", {}, ImportDataError, "cannot be ranked"),
        ("model,accuracy\nA,0.5\nA,0.6\n", {}, ImportDataError, "2 rows for A"),
        ("model,accuracy\n,0.5\nA,0.6\n", {}, ImportDataError, "without the name"),
        ("model,top1\nA,5\n", {"columns": {"acuracy": "top1"}}, UsageError, "did you mean accuracy"),
        ("model,top1\nA,5\n", {"columns": {"accuracy": "top1 /"}}, QueryError, "not a valid SQL expression"),
        ("model,top1\nA,5\n", {"columns": {"accuracy": "top2"}}, ImportDataError, "cannot be ranked"),
        ("model,top1\nA,5\n", {"columns": {"architecture": "'cnn'"}}, UsageError, "no column for the figures"),
        ("what,top1\nA,5\n", {"columns": {"accuracy": "top1"}}, UsageError, "no column for the model"),
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
    assert rank(store, RankRequest(top=1)).rows[0][2] == "hesse2025"


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


def test_missing_files_and_files_that_name_others(store, tmp_path):
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
