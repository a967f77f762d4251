"""`qubastore sql`: statements, read-only stores, errors, and the prompt."""

from __future__ import annotations

import io
import json
import sys

import pytest

from qubastore.cli.output.prompt import completions, is_whole


def test_sql_from_a_file_and_from_standard_input(run, tmp_path, monkeypatch):
    (tmp_path / "q.sql").write_text("-- a comment\nselect 1 as one; select 41 + 1 as answer;")
    assert run("sql", "-f", str(tmp_path / "q.sql"), "--format", "csv").out == "answer\n42\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("select 7 as seven"))
    assert run("sql", "--format", "csv").out == "seven\n7\n"


@pytest.mark.parametrize("query", ["describe accuracy", "show tables", "summarize outputs", "explain select 1"])
def test_statements_other_than_select(run, query):
    result = run("sql", query, "--format", "json")
    assert result.code == 0
    assert json.loads(result.out)


@pytest.mark.parametrize(
    "query",
    [
        "insert into failures values ('r', 0, 'k', 'e')",
        "delete from runs",
        "drop view accuracy",
        "create table x (a int)",
        "update models set name = 'x'",
    ],
)
def test_sql_that_tries_to_write(run, store, query):
    result = run("sql", query)
    assert result.code == 1
    assert "open for reading only" in result.err
    assert "--write" in result.err
    assert store.rows("select count(*) from accuracy") == [(1,)]


def test_sql_may_write_when_asked(run, store):
    assert run("sql", "--write", "update models set name = 'renamed'").code == 0
    assert store.rows("select name from models") == [("renamed",)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select acuracy from accuracy", "acuracy"),
        ("selec 1", "syntax error"),
        ("", "there is no query"),
        ("from nowhere", "nowhere"),
    ],
)
def test_queries_that_fail(run, query, message):
    result = run("sql", query)
    assert result.code in (1, 2)
    assert message in result.err
    assert "Traceback" not in result.err


def test_the_prompt_knows_views_and_columns(store):
    words = completions(store)
    assert {"accuracy", "calibration", "quba_ranking", "label_probability", "select"} <= set(words)


@pytest.mark.parametrize(("text", "whole"), [("select 1", False), ("select 1;", True), (".help", True), ("", True)])
def test_when_enter_runs_the_query(text, whole):
    assert is_whole(text) is whole
