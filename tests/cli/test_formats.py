"""Rows in every format, and files that appear only when they are complete."""

from __future__ import annotations

import csv
import io
import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qubastore.cli.output import rows

QUERY = "select model, accuracy, [1, 2] as list, null as nothing, 'nan'::double as nan from accuracy"


def test_csv(run):
    (row,) = csv.DictReader(io.StringIO(run("sql", QUERY, "--format", "csv").out))
    assert row == {"model": "net", "accuracy": "0.75", "list": "[1, 2]", "nothing": "", "nan": "nan"}


@pytest.mark.parametrize("format_", ["json", "ndjson"])
def test_json(run, format_):
    text = run("sql", QUERY, "--format", format_).out
    row = json.loads(text)[0] if format_ == "json" else json.loads(text)
    assert row == {"model": "net", "accuracy": 0.75, "list": [1, 2], "nothing": None, "nan": None}


def test_json_of_no_rows(run):
    assert json.loads(run("sql", "select 1 as x where false", "--format", "json").out) == []


def test_markdown(run):
    out = run("sql", "select class_name, n from class_accuracy order by class limit 2", "--format", "markdown").out
    assert out == "| class_name | n |\n| --- | --- |\n| a | 2 |\n| b | 1 |\n"
    assert "d\\|e" in run("sql", "select 'd|e' as x", "--format", "markdown").out


def test_parquet(run, tmp_path):
    result = run("sql", "from outputs", "--format", "parquet", "-o", str(tmp_path / "x.parquet"))
    assert result.code == 0
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 4
    assert run("sql", "from outputs where false", "--format", "parquet", "-o", str(tmp_path / "y.parquet")).code == 0
    assert pq.read_table(tmp_path / "y.parquet").num_rows == 0


@pytest.mark.parametrize("table", ["samples", "runs", "logits", "failures", "metrics"])
def test_any_table_as_parquet(run, store, tmp_path, table):
    assert run("sql", f"from {table}", "--format", "parquet", "-o", str(tmp_path / "x.parquet")).code == 0
    assert pq.read_table(tmp_path / "x.parquet").num_rows == store.rows(f"select count(*) from {table}")[0][0]


def test_late_values_keep_their_type_in_parquet(run, tmp_path):
    query = "select if(i < 25000, null, i * 0.5) as x from range(30000) t(i)"
    assert run("sql", query, "--format", "parquet", "-o", str(tmp_path / "x.parquet")).code == 0
    assert pq.read_table(tmp_path / "x.parquet")["x"].null_count == 25000


@pytest.mark.parametrize("format_", ["csv", "json", "markdown"])
def test_duplicate_column_names_are_numbered(run, format_):
    out = run("sql", "select 1 as a, 2 as a, 3 as a_1", "--format", format_).out
    assert "a_1" in out
    assert "a_1_1" in out


def test_a_file_appears_only_when_it_is_complete(run, tmp_path):
    query = "select case when i = 29999 then error('late') else i end as x from range(30000) t(i)"
    result = run("sql", query, "--format", "csv", "-o", str(tmp_path / "x.csv"))
    assert result.code == 1
    assert list(tmp_path.glob("*x.csv*")) == []


def test_a_file_that_cannot_be_written(run, tmp_path):
    result = run("sql", "select 1", "-o", str(tmp_path / "nowhere" / "x.csv"), "--format", "csv")
    assert result.code == 1
    assert "cannot be written" in result.err


def test_long_tables_say_that_there_is_more(run):
    out = run("sql", "from range(1000)").out
    assert len(out.splitlines()) == rows.MAX_TABLE_ROWS + 2
    assert "--format csv" in out


@given(
    st.recursive(st.none() | st.floats() | st.text() | st.binary() | st.integers(), lambda s: st.lists(s, max_size=3))
)
def test_any_value_has_a_json_form(value):
    json.dumps(rows.plain(value), allow_nan=False)
    assert isinstance(rows.text(value), str)
