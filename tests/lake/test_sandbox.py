"""What a query may not access, and that every ordinary query still works."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.errors import QueryError
from tests.support.runs import add_run


@pytest.fixture
def ask(store):
    add_run(store, np.eye(12, 4), np.arange(12) % 4)

    def asked(query, *options):
        answer = CliRunner().invoke(cli, ["sql", query, "--store", str(store.path), "--format", "csv", *options])
        if answer.exception and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return answer.output

    return asked


@pytest.mark.parametrize(
    "query",
    [
        "from read_csv('/etc/passwd')",
        "from '/etc/passwd.csv'",
        "from read_text('/etc/passwd')",
        "from read_blob('/proc/self/environ')",
        "from glob('/etc/*')",
        "copy (select 1) to '{folder}/out.csv'",
        "attach '{folder}/other.duckdb'",
        "attach '{folder}/other.sqlite' as other (type sqlite)",
        "install spatial",
        "load spatial",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "reset lock_configuration",
        "from sqlite_scan('{folder}/other.sqlite', 'secrets')",
        "from \"sqlite_scan\"('{folder}/other.sqlite', 'secrets')",
        "from SQLite_Scan('{folder}/other.sqlite', 'secrets')",
        "select (select count(*) from sqlite_scan('{folder}/other.sqlite', 'secrets'))",
        "with x as (from sqlite_scan('{folder}/other.sqlite', 'secrets')) from x",
        "from query('from sqli' || 'te_scan(''{folder}/other.sqlite'', ''secrets'')')",
        "create temp table t as from sqlite_scan('{folder}/other.sqlite', 'secrets')",
        "explain analyze from sqlite_scan('{folder}/other.sqlite', 'secrets')",
        "call sqlite_attach('{folder}/other.sqlite')",
        "select 1; from sqlite_scan('{folder}/other.sqlite', 'secrets')",
        "prepare p as from sqlite_scan('{folder}/other.sqlite', 'secrets')",
        "create temp macro m() as table from sqlite_scan('{folder}/other.sqlite', 'secrets')",
        "from postgres_query('store', 'select 1')",
        "from json_execute_serialized_sql(json_serialize_sql('from sqli' || 'te_scan(''{folder}/x'', ''x'')'))",
        "copy (select 1 as a) to '{data}/main/outputs/x.parquet'",
        "copy (select 1 as a) to '{store}/catalog.sqlite' (format csv, use_tmp_file false)",
        "export database '{data}/copy'",
        "from __ducklake_metadata_store.ducklake_data_file",
        "from __ducklake_metadata_store.main.ducklake_data_file",
        "select current_setting('s3_secret_access_key')",
        "select value from duckdb_settings()",
        "from duckdb_secrets()",
        "create temporary secret mine (type s3)",
        "create /* temp table */ secret mine (type s3)",
        "call enable_logging(storage = 'file', storage_config = {{'path': '{folder}/log'}})",
        "set variable x = 1",
        "use memory",
        "create table mine as select 1",
        "detach store",
    ],
)
def test_nothing_outside_is_reached(ask, store, tmp_path, query):
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("create table secrets (word)")
        other.execute("insert into secrets values ('hidden')")
    other.close()
    with pytest.raises(QueryError) as caught:
        ask(
            query.replace("{folder}", str(tmp_path))
            .replace("{data}", str(store.files.root))
            .replace("{store}", str(store.path))
        )
    assert "hidden" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()
    assert store.rows("select count(label) from outputs") == [(12,)]


@pytest.mark.parametrize(
    "query",
    [
        "from accuracy",
        "select count(label), max(confidence) from outputs",
        "from ducklake_snapshots('store')",
        "select count(*) as query from runs where 'sqlite_scan' = 'sqlite_scan'",
        "describe outputs",
        "show tables",
        "explain from accuracy",
        "create temp table mine as from accuracy; from mine",
        "from quba_ranking(map {'calibration': 2}) limit 3",
        "select count(*) from information_schema.tables",
        "from duckdb_tables()",
        "select count(*) from shape_bias",
        "-- a comment\nselect 1 as one",
        "/* and */ create temp view v as from accuracy; from v",
        "create temp macro twice(x) as 2 * x; select twice(3)",
        "select regexp_matches(model, '\\w+') from accuracy",
        "select count(*) from (select * from range(3000000) as t(i) order by hash(i))",
    ],
)
def test_ordinary_questions_are_answered(ask, query):
    assert len(ask(query).splitlines()) >= 2


def test_rows_are_changed_where_that_is_asked_for(ask, store):
    ask("delete from failures; insert into failures values ('r', 1, 'k', 'e')", "--write")
    assert store.rows("select key from failures") == [("k",)]
    with pytest.raises(QueryError):
        ask("copy (select 1) to '/tmp/x.csv'", "--write")


def test_files_are_reached_where_that_is_asked_for(ask, tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    assert "1,2" in ask(f"from read_csv('{tmp_path}/mine.csv')", "--allow-files")


def test_the_error_says_what_to_type(ask):
    with pytest.raises(QueryError, match="--allow-files"):
        ask("from read_csv('/etc/passwd')")


@pytest.mark.parametrize(
    "condition",
    [
        "(select count(*) from read_csv('/etc/passwd')) > 0",
        "(select count(*) from '/etc/passwd.csv') > 0",
        "exists (from sqlite_scan('/etc/passwd', 'x'))",
        "exists (from without_known_faults('/etc/passwd.csv'))",
        "exists (from without_known_faults(pool := ['rankable', '/etc/passwd.csv']))",
        "exists (from without_known_faults(pool := ['rankable', '/etc' || '/passwd.csv']))",
    ],
)
def test_a_condition_reads_the_store_alone(store, condition):
    ranked = CliRunner().invoke(cli, ["rank", "--where", condition, "--store", str(store.path)])
    assert isinstance(ranked.exception, QueryError)
    assert "reads" in str(ranked.exception)


def test_a_condition_may_ask_other_views(store):
    condition = "model in (select model from published_models where paradigm = 'supervised')"
    ranked = CliRunner().invoke(cli, ["rank", "--where", condition, "--top", "1", "--store", str(store.path)])
    assert ranked.exit_code == 0
