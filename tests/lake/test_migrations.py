"""Schema versions: newer stores refused, older ones migrated once asked, views of another release."""

from __future__ import annotations

from functools import partial

import pytest

import qubastore
from qubastore.errors import (
    StoreError,
    StoreVersionError,
)
from qubastore.lake import creation, migrations
from qubastore.lake.rows import insert
from qubastore.models.model import Model
from qubastore.runs.records import register_model
from tests.support.runs import pretend_schema


def test_a_newer_store_is_refused(store):
    store.write(lambda c: c.execute("update store_info set value = '999' where key = 'schema_version'"))
    with pytest.raises(StoreVersionError, match="newer qubastore") as caught:
        qubastore.open(store.path)
    assert "pip install --upgrade qubastore" in str(caught.value)
    with pytest.raises(StoreVersionError, match="newer qubastore"):
        creation.migrate(store.path)


def test_an_older_store_is_migrated_once_asked(store, monkeypatch):
    latest = max(migrations.migrations())
    steps = {
        **migrations.migrations(),
        latest + 1: "alter table runs add column note varchar; create table extra (a int);",
    }
    monkeypatch.setattr(migrations, "migrations", lambda: steps)
    with pytest.raises(StoreVersionError, match=f"qubastore migrate --store {store.path}"):
        qubastore.open(store.path)
    assert creation.migrate(store.path) == (latest, latest + 1)
    assert creation.migrate(store.path) == (latest + 1, latest + 1)
    with qubastore.open(store.path) as migrated:
        assert "note" in migrated.sql("from runs").columns
        assert migrated.rows("select count(*) from published_models") == [(326,)]


def test_a_migration_that_fails_changes_nothing(store, monkeypatch):
    latest = max(migrations.migrations())
    steps = {**migrations.migrations(), latest + 1: "create table extra (a int); select nonsense;"}
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "migrations", lambda: steps)
        with pytest.raises(StoreError):
            creation.migrate(store.path)
    with qubastore.open(store.path) as still:
        assert still.rows("select count(*) from duckdb_tables() where table_name = 'extra'") == [(0,)]


def test_views_of_another_release(store):
    """A reader makes its own for the session, a writer refreshes the stored ones."""
    store.write(lambda c: c.execute("create or replace view accuracy as select 1 as old"))
    store.write(lambda c: c.execute("update store_info set value = 'other' where key = 'views_hash'"))
    with qubastore.open(store.path) as reader:
        assert "accuracy" in reader.sql("from accuracy").columns
        assert len(reader.rows("from quba_ranking(map {})")) == 326
        assert "old" in reader.sql("from store.main.accuracy").columns
    with qubastore.open(store.path, read_only=False) as writer:
        assert "accuracy" in writer.sql("from store.main.accuracy").columns


def test_a_store_of_the_first_schema(tmp_path, monkeypatch):
    """Its own suites and its rows stay, the release's suite moves into the view; nothing else asks for attention."""
    import dataclasses

    first = {1: migrations.migrations()[1]}
    with monkeypatch.context() as patch:
        pretend_schema(patch, first)
        with qubastore.init(tmp_path / "store") as old:
            for suite, dataset in (("quba", "imagenet-val"), ("mine", "p")):
                old.write(partial(insert, table="suites", rows=[(suite, "clean", dataset, "clean", "model", 4)]))
            columns = old.sql("from models").columns
            row = {"model_id": "m", "name": "net", "parameters": 5}
            cells = ", ".join(repr(row[column]) if column in row else "null" for column in columns)
            old.write(lambda c: c.execute(f"insert into models values ({cells})"))
    with pytest.raises(StoreVersionError, match="qubastore migrate"):
        qubastore.open(tmp_path / "store")
    assert creation.migrate(tmp_path / "store") == (1, max(migrations.migrations()))
    with qubastore.open(tmp_path / "store", read_only=False) as store:
        assert store.rows("select suite, dataset, label_space from own_suites") == [("mine", "p", None)]
        assert store.rows("select count(*) from suites where suite = 'quba'") == [(86,)]
        assert store.rows("select name, parameters, macs from models") == [("net", 5, None)]
        # Costs are noted when the model is seen again.
        model = Model("net", "python", {}, "w", {}, (8, 8), 2, 5, 4, macs=7, activations=3)
        store.write(lambda c: c.execute(f"update models set model_id = '{model.model_id}'"))
        store.write(lambda c: register_model(c, dataclasses.replace(model, name="again")))
        assert store.rows("select name, macs, activations from models") == [("net", 7, 3)]
