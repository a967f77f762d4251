"""The command line as its users meet it: help, formats, exit codes, messages."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import subprocess
import sys

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import qubastore
from qubastore.cli.main import COMMANDS, cli, main
from qubastore.cli.output import rows
from qubastore.cli.output.prompt import completions, is_whole
from qubastore.cli.weights import parse_weights
from qubastore.errors import QubastoreError, UsageError
from qubastore.evaluators.planning.configuration import read_configuration
from qubastore.evaluators.rescore import exact_number
from tests.support.runs import add_run


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(store, monkeypatch, capsys):
    """Run a command on the store, through `main`, and say what came out."""
    add_run(store, np.eye(4) * 3, [0, 1, 2, 0], name="net", classes=["a", "b", "c", "d|e"])

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qubastore", *arguments])
        monkeypatch.setenv("QUBASTORE_STORE", str(store.path))
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        return Result(caught.value.code, output.out, output.err)

    return call


def all_commands(group=cli, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), list(all_commands()), ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_every_command_has_help_with_an_example(path, command):
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert command.help
    assert "\\b" not in result.output
    if not isinstance(command, click.Group):
        assert "Example:" in result.output
        assert re.search(rf"Example:\n +qubastore {' '.join(path)}\b", result.output), (
            "each example on a line of its own"
        )


def test_the_summary_of_a_command_stands_in_the_main_help():
    result = CliRunner().invoke(cli, ["--help"])
    for name, summary in COMMANDS.items():
        assert name in result.output
        assert summary in result.output


def test_version():
    assert qubastore.__version__ in CliRunner().invoke(cli, ["--version"]).output


# Formats -----------------------------------------------------------------------------------------------------
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
def test_a_column_name_that_comes_again_is_numbered(run, format_):
    out = run("sql", "select 1 as a, 2 as a, 3 as a_1", "--format", format_).out
    assert "a_1" in out
    assert "a_1_1" in out


def test_zero_gpus_means_none(run, monkeypatch, tmp_path):
    from qubastore import evaluators

    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "1.png").write_bytes(b"x")
    asked = {}

    def record(store, models, datasets, **options):
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluators, "ingest", record, raising=False)
    arguments = ("ingest", "--model", "timm:x", "--dataset", f"d={tmp_path / 'd'}", "--num-gpus", "0")
    assert run(*arguments).code == 130
    assert asked["num_gpus"] == 0
    assert "strict" not in asked


def test_a_file_appears_only_when_it_is_whole(run, tmp_path):
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


# Questions ---------------------------------------------------------------------------------------------------
def test_sql_from_a_file_and_from_standard_input(run, tmp_path, monkeypatch):
    (tmp_path / "q.sql").write_text("-- a comment\nselect 1 as one; select 41 + 1 as answer;")
    assert run("sql", "-f", str(tmp_path / "q.sql"), "--format", "csv").out == "answer\n42\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("select 7 as seven"))
    assert run("sql", "--format", "csv").out == "seven\n7\n"


@pytest.mark.parametrize("query", ["describe accuracy", "show tables", "summarize outputs", "explain select 1"])
def test_questions_that_are_no_select(run, query):
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


@pytest.mark.parametrize("what", ["models", "datasets", "runs", "suites", "metrics", "dimensions", "views"])
@pytest.mark.parametrize("format_", ["table", "json"])
def test_show(run, what, format_):
    result = run("show", what, "--format", format_)
    assert result.code == 0
    assert result.out.strip()
    if format_ == "json":
        assert json.loads(result.out)


def test_show_one_view(run):
    out = run("show", "views", "calibration").out
    assert "expected calibration error" in out
    assert "sqrt(expected_error.ece * adaptive_error.ace)" in out
    assert "did you mean calibration" in run("show", "views", "calibraton").err


def test_rank(run):
    result = run("rank", "--top", "3", "--weight", "calibration=2")
    assert "EVA02-b-21k" in result.out
    assert "calibration x2" in result.out
    rows = json.loads(run("rank", "--format", "json", "--weight", "calibration=2").out)
    assert len(rows) == 326
    assert rows[0]["quba"] == pytest.approx(0.9513388637361716)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weight", "colour=2"], "unknown dimension 'colour'"),
        (["--weight", "calibration"], "is not NAME=FACTOR"),
        (["--weight", "calibration=two"], "is not NAME=FACTOR"),
        (["--weight", "calibration=-1"], "from 0 up"),
        (["--weight", "calibration=nan"], "from 0 up"),
        (["--dimensions", "accuracy", "--weight", "accuracy=0"], "all weights are zero"),
        (["--suite", "tiny"], "unknown suite 'tiny'"),
        (["--top", "0"], "0"),
    ],
)
def test_rankings_asked_wrongly(run, arguments, message):
    result = run("rank", *arguments)
    assert result.code == 2
    assert message in result.err


def test_weights_of_one_name_multiply():
    assert parse_weights(("acc=2", "acc=3", "ood=0.5")) == {"acc": 6.0, "ood": 0.5}


@given(st.text())
def test_any_weight_text(text):
    try:
        parse_weights((text,))
    except UsageError as error:
        assert "NAME=FACTOR" in str(error)  # noqa: PT017


def test_rm(run, store):
    run_id = store.rows("select run_id from runs")[0][0]
    assert run("rm", "run", run_id[:6], "--yes").code == 0
    assert store.rows("select count(*) from outputs") == [(0,)]
    assert "did you mean net" in run("rm", "model", "nett", "--yes").err
    assert run("rm", "model", "net", "--yes").code == 0
    assert store.rows("select count(*) from models") == [(0,)]


def test_init_and_migrate(run, tmp_path):
    result = run("init", "--store", str(tmp_path / "new"))
    assert "326 published models" in result.out
    assert "nothing to do" in run("migrate", "--store", str(tmp_path / "new")).out
    assert run("init", "--store", str(tmp_path / "new")).code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnak"], "did you mean rank"),
        (["sql", "select 1", "--store", "/nowhere/at/all"], "qubastore init --store /nowhere/at/all"),
        (["ingest", "--model", "timm:x"], "--dataset"),
        (["ingest", "--model", "timm:x", "--dataset", "d=/nowhere"], "does not exist"),
        (["ingest", "--model", "resnet", "--dataset", "d=."], "LOADER:NAME"),
        (["import", "predictions", "/nowhere.csv", "--model", "m", "--dataset", "d"], "No such file"),
        (["show", "colours"], "colours"),
    ],
)
def test_mistakes(run, arguments, message):
    result = run(*arguments)
    assert result.code in (1, 2)
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_closed_pipe_is_no_error(store):
    command = (
        f"{sys.executable} -m qubastore.cli.main sql 'from range(1000000)' --format csv --store {store.path} | head -1"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout == "range\n"
    assert done.stderr == ""


# The prompt and the configuration ----------------------------------------------------------------------------
def test_the_prompt_knows_views_and_columns(store):
    words = completions(store)
    assert {"accuracy", "calibration", "quba_ranking", "label_probability", "select"} <= set(words)


@pytest.mark.parametrize(("text", "whole"), [("select 1", False), ("select 1;", True), (".help", True), ("", True)])
def test_when_enter_sends(text, whole):
    assert is_whole(text) is whole


def configuration(tmp_path, text):
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    path = tmp_path / "suite.toml"
    path.write_text(text)
    return read_configuration(str(path))


def test_a_configuration(tmp_path):
    got = configuration(
        tmp_path,
        """
models = ["python:nets.py:net", { id = "timm:resnet10t", checkpoint = "w.pth", weights = "raw" }]
[datasets]
pets = "."
[suite]
name = "pets"
[suite.roles]
clean = { dataset = "pets", samples = 1 }
[ingest]
batch-size = 8
keep = ["outputs"]
""",
    )
    assert str(got.models[0]) == f"python:{tmp_path}/nets.py:net"
    assert str(got.models[1]) == f"timm:resnet10t,checkpoint={tmp_path}/w.pth,weights=raw"
    assert [data.name for data in got.datasets] == ["pets"]
    assert got.suite.roles[0].n_samples == 1
    assert got.options == {"batch_size": 8, "keep": ["outputs"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", "is no TOML file"),
        ("model = []", "did you mean models"),
        ("models = 'timm:x'", "expected: a list"),
        ("models = [3]", "LOADER:NAME"),
        ("models = [{ name = 'x' }]", "has no id"),
        ("datasets = 3", r"\[datasets\]"),
        ("datasets = { d = 'nowhere' }", "does not exist"),
        ("[ingest]\nbatch_size = true", "a whole number"),
        ("[ingest]\nbatchsize = 3", "did you mean batch_size"),
        ("[suite]\n", "has no name"),
        ("[suite]\nname = 'quba'", "belongs to the study"),
        ("[suite]\nname = 'x'", "has no roles"),
        ("[suite]\nname = 'x'\nroles = ['clean']", "are no table"),
        ("models = [{ id = 'timm:x', num_classes = 'many' }]", "num_classes is 'many'"),
        ("[suite]\nname = 'x'\n[suite.roles]\nclear = {}", "did you mean clean"),
        ("[suite]\nname = 'x'\n[suite.roles]\nclean = { dataset = 'd' }", "is not whole"),
        ("[suite]\nname = 'x'\n[suite.roles]\nclean = { dataset = 'd', samples = 2, size = 3 }", "unknown key 'size'"),
    ],
)
def test_configurations_that_are_wrong(tmp_path, text, message):
    with pytest.raises(QubastoreError, match=message):
        configuration(tmp_path, text)


def test_a_configuration_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_configuration(str(tmp_path / "none.toml"))


def test_what_cannot_be_said_of_another_tasks_classes(store):
    """calibrate and plot on a transfer set: the reason, no empty plot."""
    from qubastore.derived.temperature import calibrate
    from tests.support.runs import dataset_of

    data = dataclasses.replace(dataset_of([0, 1, 2, 0], ["a", "b", "c", "d"], "t"), label_space="transfer")
    add_run(store, np.eye(4), [0, 1, 2, 0], name="net", data=data)
    with pytest.raises(UsageError, match=r"classes are of another task(.|\n)*qubastore probe"):
        calibrate(store, "net", fit_on="t")
    arguments = ["plot", "reliability", "-m", "net", "-d", "t", "--store", str(store.path)]
    with pytest.raises(UsageError, match="neither right nor wrong there"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_copy_from_a_store_that_is_not_there(run):
    result = run("copy", "nowhere", "target")
    assert result.code == 1
    assert "the store to copy from" in result.err
    assert "init" not in result.err


def test_status_does_not_call_a_killed_ingest_at_work(store):
    """Its note stays when it is killed; the table says the same as the line."""
    import socket

    from qubastore.runs.sessions import is_alive

    run_id = add_run(store, np.eye(4), [0, 1, 2, 0], shard_size=2, complete=False, name="other")
    store.write(lambda c: c.execute("delete from shards where shard = 1"))
    dead = 2**22 - 7
    assert is_alive(socket.gethostname(), dead) is False
    row = f"'driver', '{socket.gethostname()}', {dead}, null, ['{run_id}'], 4, now()"
    store.write(lambda c: c.execute(f"insert into drivers values ({row})"))
    shown = CliRunner().invoke(cli, ["status", "--store", str(store.path)], catch_exceptions=False).output
    assert "it was killed" in shown
    assert "was killed" in shown.splitlines()[-1]
    assert "at work" not in shown


def test_a_temperature_is_kept_as_it_was_given():
    """1.23456789 is not 1.23457; 2 stays 2, as it is called in stores."""
    assert [exact_number(value) for value in (1.23456789, 2.0, 0.1, 1e-7)] == ["1.23456789", "2", "0.1", "1e-07"]
