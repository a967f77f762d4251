"""Stores that earlier releases made are refused with the way out, and once migrated they answer as they did then.

`stores/schema-N.tar.xz` were made by the code of their time, and `stores/expected.json` is what that code answered;
`stores/make.py` says how, and makes them again.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import qubastore
from tests.lake.stores.make import QUESTIONS, STEPS

STORES = Path(__file__).resolve().parent / "stores"
EXPECTED: dict[str, dict[str, list[Any]]] = json.loads((STORES / "expected.json").read_text("utf-8"))
SCHEMAS = sorted(map(int, EXPECTED))
ANSWERS = [(schema, name) for schema in SCHEMAS for name in EXPECTED[str(schema)] if name in QUESTIONS]
ATTACHES, ATTACH = next((since, step) for since, step in STEPS if step.startswith("attach"))


def unpack(schema: int, folder: Path) -> Path:
    """The store of a schema, as it was left; the table that it attaches is beside it."""
    with tarfile.open(STORES / f"schema-{schema}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "store"


def command(store: Path, *words: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the command line on a store."""
    environment = {**os.environ, "QUBASTORE_STORE": str(store)}
    argv = [sys.executable, "-m", "qubastore.cli.main", *words]
    found = subprocess.run(argv, env=environment, cwd=store.parent, capture_output=True, text=True)
    assert bool(found.returncode) == fails, found.stderr
    return found


def rows(store: Path, *words: str) -> list[dict[str, Any]]:
    """The rows that a command prints as JSON."""
    found: list[dict[str, Any]] = json.loads(command(store, *words, "--format", "json").stdout)
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it in expected.json."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The schema of a new store."""
    with qubastore.init(tmp_path_factory.mktemp("new") / "store") as store:
        return str(store.sql("select value from store_info where key = 'schema_version'").fetchall()[0][0])


@pytest.fixture(scope="module", params=SCHEMAS)
def schema(request: pytest.FixtureRequest) -> int:
    """Each schema that there ever was."""
    found: int = request.param
    return found


@pytest.fixture(scope="module")
def migrated_stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The store of a schema, migrated once: pytest makes a fixture anew for every question that names its schema."""

    @cache
    def of(schema: int) -> Path:
        store = unpack(schema, tmp_path_factory.mktemp(f"schema-{schema}"))
        command(store, "migrate")
        if schema >= ATTACHES:
            command(store, "detach", "paper")
            command(store, *ATTACH.split())
        return store

    return of


@pytest.fixture(scope="module")
def migrated(schema: int, migrated_stores: Callable[[int], Path]) -> Path:
    """The store of a schema, migrated to the newest; what it attaches is attached from where it is now."""
    return migrated_stores(schema)


@pytest.fixture(scope="module")
def opened_stores(migrated_stores: Callable[[int], Path]) -> Iterator[Callable[[int], qubastore.Store]]:
    """The migrated stores, each opened once, for questions."""
    with ExitStack() as opened:
        yield cache(lambda schema: opened.enter_context(qubastore.open(migrated_stores(schema))))


@pytest.fixture(scope="module")
def asked(schema: int, opened_stores: Callable[[int], qubastore.Store]) -> qubastore.Store:
    """The migrated store, open for questions."""
    return opened_stores(schema)


def test_an_older_store_is_refused_with_the_way_out(schema: int, newest: str, tmp_path: Path) -> None:
    if schema == int(newest):
        pytest.skip("the newest schema")
    store = unpack(schema, tmp_path)
    for read_only in (True, False):
        with pytest.raises(qubastore.QubastoreError, match="qubastore migrate") as refused:
            qubastore.open(store, read_only=read_only)
        assert type(refused.value).__name__ == "StoreVersionError"
        assert f"schema version {schema}" in str(refused.value)
    assert "qubastore migrate" in command(store, "show", "runs", fails=True).stderr


def test_it_reaches_the_newest_schema(asked: qubastore.Store, newest: str, migrated: Path) -> None:
    assert asked.sql("select value from store_info where key = 'schema_version'").fetchall() == [(newest,)]
    assert "nothing to do" in command(migrated, "migrate").stdout


@pytest.mark.parametrize(("schema", "name"), ANSWERS, indirect=["schema"])
def test_it_answers_as_it_did(schema: int, asked: qubastore.Store, name: str) -> None:
    question = QUESTIONS[name][1]
    expected = EXPECTED[str(schema)][name]
    if name == "metrics":
        # Schema 1 kept a row for a metric that a run has no value of; since then there is no row.
        expected = [row for row in expected if row[-1] is not None]
    found = [plain(row) for row in asked.sql(f"{question} order by all").fetchall()]
    assert expected
    assert found == expected


def test_every_view_answers(asked: qubastore.Store) -> None:
    views = asked.sql(
        "select distinct view_name from duckdb_views() where database_name in ('store', 'temp') and not internal"
    ).fetchall()
    assert len(views) > 40
    for (view,) in views:
        asked.sql(f'from "{view}"').fetchall()


def test_it_ranks_as_it_did(schema: int, migrated: Path) -> None:
    expected = EXPECTED[str(schema)]["ranking"]
    found = rows(migrated, "rank", "--suite", "pets", "--partial")
    # Coverage is now a share of what the suite has runs for.
    before = [{key: value for key, value in row.items() if key != "coverage"} for row in expected]
    assert [{key: row[key] for key in each} for row, each in zip(found, before, strict=True)] == before
    assert rows(migrated, "rank", "--source", "published", "--top", "1")[0]["model"] == "EVA02-b-21k"


@pytest.mark.parametrize("schema", [schema for schema in SCHEMAS if schema >= ATTACHES], indirect=True)
def test_an_attachment_that_is_gone_is_named(schema: int, tmp_path: Path) -> None:
    store = unpack(schema, tmp_path)
    command(store, "migrate")
    with qubastore.open(store, read_only=False) as opened:
        gone = str(tmp_path / "gone.csv")
        opened.write(lambda connection: connection.execute("update attachments set location = ?", [gone]))
    assert [row["name"] for row in rows(store, "show", "attachments")] == ["paper"]
    refused = command(store, "sql", "from rankable", fails=True).stderr
    assert "paper" in refused
    assert "qubastore detach paper" in refused
    assert rows(store, "rank", "--suite", "pets", "--partial") == rows(
        store, "rank", "--suite", "pets", "--partial", "--source", "measured"
    )


def test_metrics_of_later_releases_come_with_the_next_run(schema: int, tmp_path: Path) -> None:
    store = unpack(schema, tmp_path)
    command(store, "migrate")
    clean = (
        "where dataset = 'pets' and condition = 'clean' and decoder = 'pillow' and model like 'python:models.py:fine%'"
    )
    (run,) = rows(store, "sql", f"select run_id from run_details {clean}")
    command(
        store, "calibrate", "--model", "python:models.py:fine", "--fit-on", run["run_id"], "--apply-to", run["run_id"]
    )
    metrics = rows(
        store, "sql", f"select model, list_sort(list(metric)) as metrics from metric_values {clean} group by all"
    )
    assert {row["model"] for row in metrics} == {"python:models.py:fine", "python:models.py:fine,calibrated=pets"}
    assert metrics[0]["metrics"] == metrics[1]["metrics"]
    assert {"accuracy", "ece", "mce", "true_class_probability"} <= set(metrics[0]["metrics"])


def test_doctor_finds_nothing_wrong(migrated: Path) -> None:
    assert rows(migrated, "doctor", "--deep") == []
