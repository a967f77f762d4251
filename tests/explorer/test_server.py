"""The server: who may see what, what it answers, and what it refuses."""

from __future__ import annotations

import base64
import json
import shutil
import threading

import pytest
from click.testing import CliRunner
from PIL import Image

import qubastore
from qubastore.cli.main import cli
from qubastore.explorer import stores as stores_module
from qubastore.explorer.plain import plain
from qubastore.explorer.server import PAGES
from tests.explorer.conftest import served
from tests.support.runs import add_run


@pytest.mark.parametrize("path", [*(f"/{page}" for page in PAGES), "/api/overview", "/static/page.css", "/image/x/1"])
def test_nobody_without_the_token_sees_anything(client, path):
    for headers in ({}, {"Cookie": f"qubastore-{client.port}=wrong"}, {"Cookie": "qubastore-1=" + client.token}):
        status, _, body = client.get(path, cookie=False, headers=headers)
        assert status == 403
        assert b"has the token" in body
    assert client.get(path, {"token": "wrong"}, cookie=False)[0] == 403


def test_the_token_in_the_address_becomes_a_cookie(client):
    status, headers, _ = client.get("/samples", [("a", "x&y"), ("token", client.token)], cookie=False)
    assert (status, headers["location"]) == (303, "/samples?a=x%26y")
    cookie = headers["set-cookie"].lower()
    assert f"qubastore-{client.port}=" in cookie
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    status, headers, _ = client.get("//evil.example/", [("token", client.token)], cookie=False)
    assert not headers.get("location", "").startswith("//")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(client, host):
    assert client.get("/api/overview", headers={"Host": host})[0] in (400, 421)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(client, method):
    assert client.get("/api/overview", method=method)[0] == 405


@pytest.mark.parametrize("page", [page for page in PAGES if page != "ranking"])
def test_pages_are_guarded_by_a_policy(client, page):
    status, headers, body = client.get(f"/{page}")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert b"<main" in body
    name = body.decode().rpartition('<script src="')[2].partition('"')[0]
    assert client.get(name)[0] == 200


@pytest.mark.parametrize("name", ["shell.html", "../server.py", "..%2fserver.py", "%2e%2e/server.py", "page.py", ""])
def test_only_listed_files_are_served(client, name):
    assert client.get(f"/static/{name}")[0] == 404


def test_the_ranking_is_the_reports(client):
    status, headers, body = client.get("/ranking")
    assert status == 200
    nonce = headers["content-security-policy"].partition("'nonce-")[2].partition("'")[0]
    assert body.count(f'nonce="{nonce}"'.encode()) == 2
    assert b'href="/samples"' in body
    assert client.get("/ranking", {"suite": "nosuch"})[0] == 400


def test_what_the_store_has(client, explored):
    overview = client.ask("overview")
    (dataset,) = overview["datasets"]
    assert (dataset["name"], dataset["n_models"], dataset["n_runs"], overview["runs"]) == ("pets", 3, 3, 3)
    info = client.ask("dataset", {"id": dataset["dataset_id"]})
    assert {run["run_id"] for run in info["runs"]} == set(explored.runs)
    assert [run["features"] for run in info["runs"]] == [True] * 3
    assert info["titles"] is None
    assert client.ask("dataset", {"run": explored.runs[1]}) == info
    assert client.ask("progress") == []
    names = {each["name"]: each["columns"] for each in client.ask("tables")}
    assert "is_right" in names["sample_answers"]
    assert "key" in names["samples"]


def test_pictures_and_answers(client, explored):
    found = client.ask("samples", {"a": explored.runs[0], "b": explored.runs[1], "a_is": "wrong", "b_is": "right"})
    assert found["absent"] is None
    assert found["n"] == len(found["rows"]) > 0
    row = found["rows"][0]
    status, headers, body = client.get(f"/image/{row['dataset_id']}/{row['sample_id']}")
    assert (status, headers["content-type"], body[8:12]) == (200, "image/webp", b"WEBP")
    status, headers, body = client.get(f"/thumbnails/{row['dataset_id']}", {"ids": f"{row['sample_id']},x,99999"})
    assert (status, list(json.loads(body))) == (200, [str(row["sample_id"])])
    assert base64.b64decode(json.loads(body)[str(row["sample_id"])])[8:12] == b"WEBP"
    near = client.ask("neighbours", {"a": explored.runs[0], "id": row["sample_id"]})
    assert len(near) == 24
    clusters = client.ask("slices", {"a": explored.runs[0], "kind": "clusters"})
    of_one = client.ask("samples", {"a": explored.runs[0], "cluster": clusters[0]["cluster"]})
    assert of_one["n"] == clusters[0]["n"]


@pytest.mark.parametrize(
    ("path", "given", "said"),
    [
        ("samples", {}, "no run is chosen"),
        ("samples", {"a": "1", "limit": "x"}, "limit='x' is not valid"),
        ("sample", {"dataset": "nosuch", "id": "1"}, "has no image 1"),
        ("dataset", {"id": "nosuch"}, "no dataset 'nosuch'"),
        ("dataset", {}, "has no run="),
        ("dataset", {"run": "nosuch"}, "no complete run 'nosuch'"),
        ("slices", {"a": "1", "kind": "odd"}, "unknown kind of slices"),
        ("neighbours", {"a": "1", "id": "1"}, "kept no features"),
        ("confusions", {"a": "1"}, "no image of this selection has a label"),
        ("sql", {"q": "from nosuch"}, "nosuch"),
        ("sql", {"q": " "}, "there is no query"),
        ("sql", {"q": "from read_csv('/etc/passwd')"}, "outside the store"),
        ("sql", {"q": "select getenv('HOME')"}, "outside the store"),
        ("sql", {"q": "attach '/tmp/x.db'"}, "not allowed"),
        ("sql", {"q": "copy (select 1) to '/tmp/x.csv'"}, "not allowed"),
        ("sql", {"q": "delete from models"}, "read"),
    ],
)
def test_mistakes_are_answered_in_parts(client, path, given, said):
    status, headers, body = client.get(f"/api/{path}", given)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert said in json.loads(body)["what"] + str(json.loads(body)["found"])


def test_images_that_are_not_there(client, explored):
    for path in (f"/image/{explored.data.dataset_id}/999", "/image/nosuch/1"):
        status, _, body = client.get(path)
        assert status == 404
        assert "has no image" in json.loads(body)["what"]
    assert client.get(f"/image/{explored.data.dataset_id}/..%2f..%2fx")[0] == 404


def test_one_image_that_is_not_there_hides_no_other(explored, tmp_path, cache):
    shutil.copytree(explored.images, tmp_path / "pets")
    first = explored.data.samples[0].key
    client, stop = served(explored.path, places=[f"pets={tmp_path / 'pets'}"])
    try:
        (tmp_path / "pets" / first).unlink()
        found = client.ask("samples", {"a": explored.runs[0]})
        assert (found["rows"][0]["key"], found["absent"]) == (first, None)
        assert client.get(f"/image/{explored.data.dataset_id}/0")[0] == 404
        assert client.get(f"/image/{explored.data.dataset_id}/1")[0] == 200
        shutil.rmtree(tmp_path / "pets")
        assert "--dataset pets=PATH" in client.ask("samples", {"a": explored.runs[0]})["absent"]
    finally:
        stop()


def test_pictures_of_conditions_do_not_wait_for_one_another_forever(explored):
    """More at once than there are connections, of images that nobody has looked up yet."""
    client, stop = served(explored.path)
    try:
        answers = []
        threads = [
            threading.Thread(target=lambda i=i: answers.append(client.get(f"/altered/{explored.runs[0]}/{i}/input")[0]))
            for i in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        # The models of these runs say nothing of pixels, which is an answer, too.
        assert answers == [400] * 12
        assert client.ask("overview")["runs"] == 3
    finally:
        stop()


def test_a_query_and_its_rows(client):
    found = client.ask(
        "sql", {"q": "create temp table t as select 1 as x; select x, 'nan'::double as y, [1] as z from t"}
    )
    assert found == {
        "columns": ["x", "y", "z"],
        "types": ["INTEGER", "DOUBLE", "INTEGER[]"],
        "rows": [[1, "nan", [1]]],
        "more": False,
    }
    many = client.ask("sql", {"q": "select * from range(20000)"})
    assert (len(many["rows"]), many["more"]) == (10_000, True)
    # Each query has a connection of its own: nothing of the last is left.
    assert client.get("/api/sql", {"q": "from t"})[0] == 400


def test_a_query_without_end_is_ended(client, monkeypatch):
    monkeypatch.setattr(stores_module, "SECONDS", 1)
    status, _, body = client.get("/api/sql", {"q": "select count(*) from range(10000000000) a, range(1000) b"})
    assert status == 400
    assert "longer than 1 seconds" in json.loads(body)["what"]


def test_values_as_json():
    assert plain([float("inf"), None, True, b"\x00", {"a": (1, 2.5)}]) == ["inf", None, True, "00", {"a": [1, 2.5]}]


def test_two_viewers_while_the_store_grows(tmp_path):
    """Eight runs are added while two browsers ask; in the end both see all of them, and no answer was an error."""
    path = tmp_path / "store"
    with qubastore.init(path) as store:
        first = add_run(store, [[1, 0], [0, 1]], [0, 0], name="net0")
    viewers = [served(path) for _ in range(2)]
    failed, stop = [], threading.Event()

    def look(client):
        while not stop.is_set():
            for name, given in (
                ("overview", {}),
                ("samples", {"a": first}),
                ("confusions", {"a": first}),
                ("progress", {}),
            ):
                status, _, body = client.get(f"/api/{name}", given)
                if status != 200:
                    failed.append((name, body))

    threads = [threading.Thread(target=look, args=(client,)) for client, _ in viewers for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        with qubastore.open(path, read_only=False) as store:
            for number in range(1, 9):
                add_run(store, [[1, 0], [0, number]], [0, 0], name=f"net{number}")
        stop.set()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert [client.ask("overview")["runs"] for client, _ in viewers] == [9, 9]
    finally:
        stop.set()
        for _, end in viewers:
            end()


def test_mistakes_on_the_command_line(tmp_path, client):
    missing = CliRunner().invoke(cli, ["view", "--store", str(tmp_path / "nosuch")])
    assert missing.exit_code == 1
    with qubastore.init(tmp_path / "store"):
        pass
    odd = tmp_path / "odd" / "cat"
    odd.mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(odd / "x.png")
    common = ["view", "--store", str(tmp_path / "store"), "--port", "0"]
    unknown = CliRunner().invoke(cli, [*common, "--dataset", f"pest={odd.parent}"])
    assert "has no dataset 'pest'" in str(unknown.exception)
    taken = CliRunner().invoke(cli, ["view", "--store", str(tmp_path / "store"), "--port", str(client.port)])
    assert (taken.exit_code, "cannot listen on port" in str(taken.exception)) == (1, True)
