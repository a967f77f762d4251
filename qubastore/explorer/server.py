"""The explorer's web application: pages, questions about the store, and images, for whoever knows the token."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from qubastore.errors import DatasetError, QubastoreError, UsageError
from qubastore.explorer import catalog, confusions, samples, slices, thresholds
from qubastore.explorer.altered import Altered, Makes
from qubastore.explorer.features import Features
from qubastore.explorer.guard import Guard
from qubastore.explorer.images import Images
from qubastore.explorer.plain import plain
from qubastore.explorer.selection import Selection, is_whole, read_selection
from qubastore.explorer.stores import Stores
from qubastore.report.collect import collect, model_details
from qubastore.report.page import render, vega

if TYPE_CHECKING:
    from qubastore.store import Store

PAGES = {
    "": "Store",
    "ranking": "Ranking",
    "samples": "Samples",
    "confusions": "Confusions",
    "slices": "Slices",
    "thresholds": "Thresholds",
    "sql": "SQL",
    "sample": "",
}
"""Page -> its name in the navigation; empty where it is reached from another page."""
_SCRIPTS = {"": "overview"}
"""Page -> the name of its script, where it is not the page's."""


AT_ONCE = 100
"""Maximum number of thumbnails per answer."""


class Explorer:
    """Answers the requests of the pages.

    Args:
        stores: Connections to the store.
        images: Where its images are.
        suite: The suite of the ranking.
        make: Called once, when the first picture of a condition is asked for: returns what makes inputs again. None
            means that there are no such pictures.
    """

    def __init__(
        self, stores: Stores, images: Images, suite: str = "quba", make: Callable[[], Makes] | None = None
    ) -> None:
        self._stores, self._images, self._suite, self._make = stores, images, suite, make
        self._altered: Altered | None = None
        self._lock = threading.Lock()
        self._features = Features()

    def routes(self) -> list[Route]:
        """The routes of the application."""
        asked: dict[str, Callable[[Store, Request], Any]] = {
            "overview": lambda store, _: catalog.overview(store),
            "progress": lambda store, _: catalog.progress(store),
            "dataset": lambda store, request: catalog.runs_over(
                store, request.query_params.get("id") or catalog.dataset_of(store, _given(request, "run"))
            ),
            "model": lambda store, request: model_details(
                store, request.query_params.get("suite", self._suite), _given(request, "model")
            ),
            "tables": lambda store, _: catalog.tables(store),
            "samples": self._samples,
            "sample": self._sample,
            "neighbours": self._neighbours,
            "confusions": lambda store, request: confusions.confusions(store, self._selection(store, request)),
            "thresholds": lambda store, request: thresholds.thresholds(store, self._selection(store, request)),
            "slices": self._slices,
        }
        return [
            *(Route(f"/{name}", self._page(name)) for name in PAGES if name != "ranking"),
            Route("/ranking", self._ranking),
            *(Route(f"/api/{name}", self._answer(question)) for name, question in asked.items()),
            Route("/api/sql", self._query),
            Route("/image/{dataset}/{sample:int}", self._image),
            Route("/thumbnails/{dataset}", self._thumbnails),
            Route("/altered/{run}/{sample:int}/{part}", self._altered_image),
            Route("/vega.js", lambda _: Response(vega(), media_type="text/javascript", headers=_CACHED)),
            Route("/static/{name}", _static),
        ]

    def _page(self, name: str) -> Callable[[Request], Response]:
        shell = files("qubastore.explorer").joinpath("pages/shell.html").read_text("utf-8")
        page = shell.replace("<!--LINKS-->", links(name)).replace("PAGE", _SCRIPTS.get(name, name))
        return lambda _: HTMLResponse(page)

    def _ranking(self, request: Request) -> Response:
        nonce = request.scope["nonce"]
        suite = request.query_params.get("suite", self._suite)
        try:
            with self._stores.borrow() as store:
                data = collect(store, suite=suite, resamples=0, details=False)
        except QubastoreError as error:
            return PlainTextResponse(str(error), 400)
        return HTMLResponse(render(data, links=links("ranking"), nonce=nonce))

    def _answer(self, question: Callable[[Store, Request], Any]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            # Who waits for features must not hold a connection.
            with self._features.turn(request) or contextlib.nullcontext(), self._stores.borrow() as store:
                found = question(store, request)
            return _json(self._with_absent(found) if question in (self._samples, self._sample) else found)

        return answer

    def _with_absent(self, found: dict[str, Any]) -> dict[str, Any]:
        """An answer with the reason why its images are not at hand; None if the first, a middle or the last one is."""
        rows = found.get("rows", [found])
        reason = None
        for place in sorted({0, len(rows) // 2, len(rows) - 1}) if rows else []:
            try:
                self._images.read(self._images.find(rows[place]["dataset_id"], rows[place]["sample_id"]))
            except DatasetError as error:
                reason = reason or error.what + (f". Try: {error.hint}" if error.hint else "")
            else:
                return {**found, "absent": None}
        return {**found, "absent": reason}

    def _selection(self, store: Store, request: Request) -> Selection:
        """The selection of an address, with the images of a cluster where it names one."""
        found = read_selection(request.query_params.multi_items())
        if cluster := request.query_params.get("cluster"):
            ids, clusters = self._features.clusters(store, found.runs[0])
            chosen = [int(each) for each, number in zip(ids, clusters, strict=True) if str(number) == cluster]
            found = replace(found, only=chosen)
        return found

    def _samples(self, store: Store, request: Request) -> Any:
        selection = self._selection(store, request)
        found = samples.samples(store, selection, limit=_whole(request, "limit", 200), offset=_whole(request, "offset"))
        self._look_up(store, found["rows"])
        return found

    def _look_up(self, store: Store, rows: Sequence[Mapping[str, Any]]) -> None:
        """Look up the places of images at once: the page asks for each of them next."""
        if rows:
            self._images.look_up(store, rows[0]["dataset_id"], [row["sample_id"] for row in rows])

    def _sample(self, store: Store, request: Request) -> Any:
        words = request.query_params
        runs = [words[name] for name in "abc" if words.get(name)]
        dataset, sample = _given(request, "dataset"), _whole(request, "id")
        found = samples.sample(store, dataset, sample, runs, every=bool(words.get("every")))
        self._look_up(store, [{"dataset_id": dataset, "sample_id": sample}])
        return found

    def _neighbours(self, store: Store, request: Request) -> Any:
        run = _given(request, "a")
        near = samples.neighbours(*self._features.of(store, run), _whole(request, "id"))
        selection = Selection((run,), only=[each for each, _ in near])
        rows = {row["sample_id"]: row for row in samples.samples(store, selection, limit=len(near), offset=0)["rows"]}
        self._look_up(store, list(rows.values()))
        return [{**rows[each], "similarity": similarity} for each, similarity in near if each in rows]

    def _slices(self, store: Store, request: Request) -> Any:
        selection = self._selection(store, request)
        kind = request.query_params.get("kind", "factors")
        if kind == "factors":
            return slices.factor_slices(store, selection)
        if kind == "found":
            return slices.found_slices(store, selection)
        if kind == "clusters":
            return slices.cluster_slices(store, selection, *self._features.clusters(store, selection.runs[0]))
        raise UsageError(f"unknown kind of slices {kind!r}", expected="factors, found or clusters")

    def _query(self, request: Request) -> Response:
        return _json(self._stores.query(_given(request, "q")))

    def _image(self, request: Request) -> Response:
        dataset, sample = request.path_params["dataset"], request.path_params["sample"]
        make = self._images.full if request.query_params.get("size") == "full" else self._images.thumbnail
        return Response(make(dataset, sample), media_type="image/webp", headers=_CACHED)

    def _thumbnails(self, request: Request) -> Response:
        """Several thumbnails at once, as base64 by sample: a browser takes 8 ms for each request."""
        found = {}
        for text in _given(request, "ids").split(",")[:AT_ONCE]:
            if is_whole(text):
                with contextlib.suppress(DatasetError):  # the page asks for it alone, and is told why
                    made = self._images.thumbnail(request.path_params["dataset"], int(text))
                    found[text] = base64.b64encode(made).decode()
        response = _json(found)
        response.headers.update(_CACHED)
        return response

    def _altered_image(self, request: Request) -> Response:
        given = request.path_params
        # One at a time, and a connection only for that one: a network may have to be loaded.
        with self._lock, self._stores.borrow() as store:
            if self._make is None:
                raise UsageError("this server does not show what conditions do", hint="qubastore view")
            self._altered = self._altered or Altered(self._images, self._make())
            made = self._altered.picture(store, given["run"], given["sample"], given["part"])
        return Response(made, media_type="image/png", headers=_CACHED)


_CACHED = {"cache-control": "private, max-age=3600"}


def links(current: str) -> str:
    """The navigation between the pages, as HTML."""
    found = []
    for name, title in PAGES.items():
        if title:
            here = ' aria-current="page"' if name == current else ""
            found.append(f'<a href="/{name}"{here}>{title}</a>')
    return f'<nav class="pages" aria-label="Pages">{"".join(found)}</nav>'


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    for package, folder in (("qubastore.explorer", "pages/"), ("qubastore.report", "")):
        if name in _ASSETS[package]:
            kind = "text/css" if name.endswith(".css") else "text/javascript"
            return Response(files(package).joinpath(folder + name).read_text("utf-8"), media_type=kind)
    return PlainTextResponse("there is no such file", 404)


_ASSETS: Mapping[str, Sequence[str]] = {
    "qubastore.explorer": (
        "explorer.css",
        "common.js",
        "grid.js",
        *(f"{_SCRIPTS.get(name, name)}.js" for name in PAGES if name != "ranking"),
    ),
    "qubastore.report": ("page.css", "dom.js", "charts.js"),
}
"""Package -> the files of it that are served; a name from outside never becomes a path."""


def _json(value: Any) -> Response:
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})


def _given(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise UsageError(f"the address has no {name}=")
    return value


def _whole(request: Request, name: str, default: int = 0) -> int:
    text = request.query_params.get(name, str(default))
    if not is_whole(text):
        raise UsageError(f"{name}={text!r} is not valid", expected="a whole number from 0 up")
    return int(text)


def _error(_: Request, error: Exception) -> Response:
    """Answer with an error's parts; an image that is not at hand is not found."""
    assert isinstance(error, QubastoreError)
    parts = {"what": error.what, "expected": error.expected, "found": error.found, "hint": error.hint}
    response = _json(parts)
    response.status_code = 404 if isinstance(error, DatasetError) else 400
    return response


def application(explorer: Explorer, *, token: str, hosts: Sequence[str], port: int) -> ASGIApp:
    """The application, behind its guard.

    Args:
        explorer: Answers requests.
        token: Who knows it may see everything.
        hosts: Names under which the server may be asked.
        port: Its port, by which the cookies of several servers differ.
    """
    inner = Starlette(routes=explorer.routes(), exception_handlers={QubastoreError: _error})
    return Guard(inner, token, hosts, port)
