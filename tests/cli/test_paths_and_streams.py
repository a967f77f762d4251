"""Paths and names with any character, bytes that are not text, closed pipes, terminals of any alphabet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import cli, main
from qubastore.cli.output.grid import Column, aligned, cells_of, print_grid
from qubastore.errors import UsageError, check_text
from qubastore.evaluators.cluster.resources import cluster
from qubastore.evaluators.loaders.open_clip import read_source
from qubastore.lake.ducklake import literal_path
from qubastore.lake.location import locate
from qubastore.models.spec import ModelSpec
from tests.support.runs import add_run

ODD = "we ird*?[x]'q\",é日"
"""A folder's name with what shells, SQL, globs, commas and tables take for something else."""


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "qubastore.cli.main", *map(str, arguments)], capture_output=True, text=True, **options
    )


def run(*arguments):
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def odd(tmp_path, empty_store):
    """A folder with an odd name, a store in it, and neighbours that its name means as a pattern."""
    folder = tmp_path / ODD
    shutil.copytree(empty_store, folder / "st*[o]re")
    (tmp_path / ODD.replace("*?[x]", "zyx")).mkdir()
    with qubastore.open(folder / "st*[o]re", read_only=False) as store:
        suite = "insert into own_suites values ('mine', 'clean', 'pets*', 'clean', 'model', 4, '', 'pillow')"
        store.write(lambda c: c.execute(suite))
        add_run(store, np.eye(4) * 3, [0, 1, 2, 0], name="net*, 'b'", dataset="pets*", classes=["a", "b*", "c[1]", "d"])
    return folder


def test_a_store_of_any_name_goes_through_every_command(odd):
    store, copied, out = odd / "st*[o]re", odd / "co*py", odd / "o[u]t*.csv"
    assert "net*, 'b'" in run("sql", "--store", store, "select model from accuracy")
    run("sql", "--store", store, "select class_name from class_accuracy order by 1", "--format", "csv", "-o", out)
    assert out.read_text().split() == ["class_name", "a", "b*", "c[1]"]
    assert "identical in" in run("copy", store, copied)
    run("export", "--store", store, odd / "ex*p[o]rt", "-m", "net*, 'b'")
    # A neighbour that the pattern would take in.
    with qubastore.open(copied, read_only=False) as other:
        add_run(other, np.eye(4), [0, 1, 2, 0], name="stranger", dataset="pets*", classes=["a", "b*", "c[1]", "d"])
    run("export", "--store", copied, odd / "exXport", "-m", "stranger")
    run("attach", "--store", copied, odd / "ex*p[o]rt", "--as", "lab")
    run("attach", "--store", copied, store, "--as", "theirs")
    assert run("sql", "--store", copied, "select name from lab.models", "--format", "csv").split("\n")[1:-1] == [
        "\"net*, 'b'\""
    ]
    ranked = run(
        "sql", "--store", copied, "select model, accuracy from rankable where source = 'lab'", "--format", "csv"
    )
    assert ranked.splitlines() == ["model,accuracy", "\"net*, 'b'\",0.75"]
    assert "0.75" in run("sql", "--store", copied, "select accuracy from theirs.accuracy")
    assert "nothing is wrong" in run("doctor", "--deep", "--store", store)
    run("rm", "model", "--yes", "--store", store, "net*, 'b'")


def test_a_table_whose_name_is_a_pattern(odd):
    (odd / "t*[a]b.csv").write_text("model,accuracy\nmine,0.5\n")
    (odd / "tXab.csv").write_text("model,accuracy\nstranger,0.9\n")
    run("attach", "--store", odd / "st*[o]re", odd / "t*[a]b.csv", "--as", "tab")
    found = run("sql", "--store", odd / "st*[o]re", "select model from tab.t_a_b", "--format", "csv")
    assert found.split() == ["model", "mine"]


def test_what_is_to_be_typed_next_is_quoted(odd):
    said = run("export", "--store", odd / "st*[o]re", odd / "my export")
    typed = said.strip().splitlines()[-1].partition("qubastore attach ")[2]
    assert subprocess.check_output(["sh", "-c", f"printf %s {typed}"], text=True) == str(odd / "my export")


@pytest.mark.parametrize("path", ["a*b", "a?b", "a[b]c", "plain", "a]b", "*?[["])
def test_literal_paths_mean_themselves(path, tmp_path):
    import duckdb

    for name in {path, "aXb", "abc", "plain"}:
        (tmp_path / name).write_text(f"x\n{name}\n")
    pattern = literal_path(str(tmp_path / path)).replace("'", "''")
    found = duckdb.sql(f"from read_csv('{pattern}', header = true, sep = '|', quote = '')").fetchall()
    assert found == [(path,)]


# Bytes that are no text ---------------------------------------------------------------------------------------
LATIN = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    "arguments",
    [
        ("ingest", "--model", "python:nets.py:net", "--dataset", f"g4={LATIN}/g4"),
        ("ingest", "--model", f"python:{LATIN}/nets.py:net", "--dataset", "g4=g4", "--dry-run"),
        ("init", "--store", f"{LATIN}/store"),
        ("sql", f"select '{LATIN}'"),
        ("copy", LATIN, "target"),
        ("report", "-o", f"{LATIN}.html"),
        ("rank", "--where", f"model = '{LATIN}'"),
    ],
)
def test_what_is_not_utf8_is_one_error_that_names_it(arguments, tmp_path):
    (tmp_path / LATIN).mkdir()
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "is not UTF-8: b" in done.stderr
    assert "caf\\xe9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_working_directory_that_is_not_utf8(tmp_path):
    (tmp_path / LATIN).mkdir()
    done = command("init", cwd=tmp_path / LATIN)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "the path of the store is not UTF-8" in done.stderr


def test_check_text():
    assert check_text("it", "naïve 日本") == "naïve 日本"
    with pytest.raises(UsageError, match="it is not UTF-8"):
        check_text("it", LATIN)
    with pytest.raises(UsageError, match="the path of the store"):
        locate(LATIN)


def test_a_byte_order_mark_in_a_file_of_prompts_is_no_prompt(tmp_path):
    texts = []
    for name, start in (("plain.txt", b""), ("marked.txt", b"\xef\xbb\xbf")):
        (tmp_path / name).write_bytes(start + b"a photo of a {}.\n")
        source = read_source(ModelSpec.parse(f"open_clip:ViT-B-16/openai,templates={tmp_path / name}"))
        assert source is not None
        texts.append(source.text)
    assert texts[0] == texts[1]


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "--store", LONG),
        ("sql", "select 1", "--store", LONG),
        ("copy", LONG, "target"),
        ("attach", LONG),
        ("export", LONG),
        ("import", "human", LONG),
        ("ingest", "--model", "timm:resnet10t", "--dataset", f"a={LONG}", "--dry-run"),
        ("ingest", "--model", "timm:resnet10t", "--suite", "quba", "--data-root", LONG, "--dry-run"),
        ("ingest", "--config", LONG),
        ("report", "-o", f"{LONG}.html"),
        ("sql", "select 1", "-o", LONG),
    ],
)
def test_a_name_that_is_too_long_is_one_error(arguments, store, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUBASTORE_STORE", str(store.path))
    monkeypatch.setattr(sys, "argv", ["qubastore", *arguments])
    add_run(store, np.eye(4) * 3, [0, 1, 2, 0])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (1, 2)
    assert "File name too long" in capsys.readouterr().err


# Screens and pipes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("format_", ["table", "csv", "json", "ndjson", "markdown", "parquet"])
def test_a_reader_that_leaves_is_no_failure(store, format_):
    ask = [sys.executable, "-m", "qubastore.cli.main", "sql", "from range(300000)", "--format", format_]
    ask += ["--store", str(store.path)]
    with subprocess.Popen(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        assert asked.stdout.read(1)
        asked.stdout.close()
        assert (asked.wait(), asked.stderr.read()) == (0, b"")


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_a_screen_that_is_not_utf8(store, locale):
    """What it cannot show becomes a question mark; nothing fails."""
    for words in (
        ["rank", "--top", "3"],
        ["sql", "select chr(26085) || chr(8594) as a"],
        ["show", "metrics"],
        ["--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "qubastore.cli.main", *words],
            capture_output=True,
            env={**os.environ, **locale, "QUBASTORE_STORE": str(store.path)},
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


def test_a_locale_that_cannot_read_what_was_typed(store):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "qubastore.cli.main", "sql", "select '日本' as a"],
        capture_output=True,
        env={**os.environ, **locale},
    )
    assert done.returncode == 2
    assert b"cannot be read in this locale" in done.stderr
    assert b"export PYTHONUTF8=1" in done.stderr


def test_wide_letters_take_two_cells(capsys):
    assert [cells_of(text) for text in ("abc", "日本", "é", "e\u0301")] == [3, 4, 1, 1]
    assert aligned("日本", 6) == "日本  "
    assert aligned("日本", 6, True) == "  日本"
    print_grid([Column("name"), Column("n", right=True)], [["日本語", "1"], ["ab", "22"]])
    assert capsys.readouterr().out == "name    n\n日本語  1\nab     22\n"


def test_a_piped_table_with_wide_letters_is_not_folded(store):
    query = "select '日本語テスト' as a, repeat('w', 40) as b, repeat('v', 40) as c"
    lines = run("sql", query, "--store", store.path).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("日本語テスト  w")


# Ray ----------------------------------------------------------------------------------------------------------
def test_a_temporary_folder_that_ray_cannot_use(tmp_path, monkeypatch):
    """Too long for a socket, or not to be written: one error with what to type, in a process that has no Ray."""
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    code = "from qubastore.evaluators.cluster.resources import cluster\nwith cluster(None, 0, 1):\n    pass"
    for place, words in ((deep, "AF_UNIX"), ("/sys/nowhere", "Errno")):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "RAY_TMPDIR": str(place)}
        )
        last = done.stderr[done.stderr.index("IngestError") :]
        assert "Ray could not be started" in last
        assert words in last
        assert "RAY_TMPDIR=" in last
    assert cluster is not None
