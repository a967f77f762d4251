"""Exports: what they hold, whole or not there, refused when damaged."""

from __future__ import annotations

import json
import shutil

import duckdb
import pytest

import qubastore
from qubastore.attachments import export as export_module
from qubastore.attachments.attach import attach
from qubastore.attachments.export import export
from qubastore.errors import StoreError, UsageError
from qubastore.hashing import checksum
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from tests.attachments.sources import figures
from tests.support.runs import SETS, add_run


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


def test_an_export_from_before_there_were_decoders(tiny_suite, exported, store, tmp_path):
    """Schema 8 had no column `decoder`: all its runs were decoded by Pillow."""
    old = shutil.copytree(exported, tmp_path / "old")
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["schema_version"] = 8
    for table in ("runs", "own_suites"):
        file = old / manifest["tables"][table]["file"]
        duckdb.sql(f"copy (select * exclude (decoder) from '{exported / file.name}') to '{file}' (format parquet)")
        data = file.read_bytes()
        manifest["tables"][table] |= {"bytes": len(data), "blake2b": checksum(data)}
    (old / "manifest.json").write_text(json.dumps(manifest))
    attach(store, str(old), name="old")
    assert figures(store, "old") == figures(tiny_suite, "measured")


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
    with pytest.raises(UsageError, match="is in a store"):
        export(tiny_suite, tiny_suite.path / "data" / "out")
    with pytest.raises(UsageError, match="the folder to export to is empty"):
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
    with pytest.raises(StoreError, match="does not match the manifest"):
        attach(store, str(exported), "lab")
    path.unlink()
    with pytest.raises(StoreError, match="no such file"):
        attach(store, str(exported), "lab")
    path.write_bytes(whole)
    attach(store, str(exported), "lab")
    path.write_bytes(whole + b"more")
    with qubastore.open(store.path) as again, pytest.raises(StoreError, match="does not match the manifest"):
        rank(again, RankRequest(source="lab"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "newer release"),
        ({"schema_version": 99}, "newer release"),
        ({"tables": 3}, "not a valid manifest of an export"),
        ({"tables": {}}, "not a valid manifest of an export(.|\n)*no table"),
        (
            {"tables": {"x\" as select 1; copy (select 1) to '/tmp/pwned.csv'; --": {}}},
            "not a valid manifest of an export",
        ),
        (None, "not a valid manifest of an export"),
    ],
)
def test_a_manifest_that_cannot_be_read(change, message, exported, store):
    manifest = exported / "manifest.json"
    text = json.dumps({**json.loads(manifest.read_text()), **change}) if change else "half of a mani"
    manifest.write_text(text)
    with pytest.raises(StoreError, match=message):
        attach(store, str(exported), "lab")
