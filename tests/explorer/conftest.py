"""A store with images of difficult names and three models' answers to them, and an explorer that serves it."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image

import qubastore
from qubastore.datasets.image_folder import image_folder
from qubastore.evaluators.altered_images import AlteredImages
from qubastore.explorer.images import Images
from qubastore.explorer.serve import prepare
from qubastore.explorer.server import Explorer
from qubastore.explorer.stores import Stores
from tests.conftest import shared
from tests.report.browser import HOSTILE
from tests.report.conftest import page  # noqa: F401 - the fixture
from tests.support.runs import add_run

CLASSES = ("ant <b>", "bee's", 'cow "moo"')
"""Class folders whose names would be markup, or would end a literal of SQL, if somebody forgot to quote them."""
NAMES = ('<img src=x onerror="document.title=1">.png', "50% & more?#.png", "it's.png", "🐸 frog.png")


def write_pets(root):
    """30 images per class, whose shade is their number."""
    for at, name in enumerate(CLASSES):
        folder = root / name
        folder.mkdir(parents=True)
        for i in range(30):
            shade = (80 * at + 10, 8 * i, 120)
            file = NAMES[i] if i < len(NAMES) and "/" not in NAMES[i] else f"{i:03d}.png"
            Image.new("RGB", (40, 30), shade).save(folder / file)
    return root


def logits_of(labels, seed, sharpness):
    generator = np.random.default_rng(seed)
    made = generator.normal(0, 1, (len(labels), 3)).astype(np.float32)
    made[np.arange(len(labels)), labels] += sharpness
    return made


@dataclass
class Explored:
    """A store, the dataset in it, and its runs."""

    path: object
    images: object
    data: object
    runs: list[str]
    labels: np.ndarray
    logits: list[np.ndarray]

    def answers(self, i):
        """Of model i: predictions, confidences and probabilities of the label, by plain NumPy."""
        x = self.logits[i].astype(np.float64)
        p = np.exp(x - x.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return p.argmax(axis=1), p.max(axis=1), p[np.arange(len(p)), self.labels]


@pytest.fixture(scope="session")
def explored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    data = image_folder("pets", write_pets(folder / "pets <i>"))
    labels = np.array([sample.label for sample in data.samples])
    logits = [logits_of(labels, seed, 1.0 + seed / 2) for seed in range(3)]
    with qubastore.init(folder / "store") as store:
        runs = [
            add_run(store, each, labels, name=name, data=data, keep=("outputs", "logits", "features"))
            for name, each in zip(HOSTILE, logits, strict=True)
        ]
    return Explored(folder / "store", folder / "pets <i>", data, runs, labels, logits)


@pytest.fixture(scope="session")
def opened(explored):
    with qubastore.open(explored.path) as store:
        yield store


class Client:
    """Asks a server as a browser does."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.address, self.port = address, parts.port
        self.token = parse_qs(parts.query)["token"][0]

    def get(self, path, given=(), *, headers=None, method="GET", cookie=True):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Cookie": f"qubastore-{self.port}={self.token}"} if cookie else {}
        text = urlencode(list(given.items() if isinstance(given, dict) else given))
        try:
            connection.request(
                method, quote(path, safe="/?=&%") + (f"?{text}" if text else ""), headers={**sent, **(headers or {})}
            )
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def ask(self, path, given=()):
        status, _, body = self.get(f"/api/{path}", given)
        assert status == 200, body
        return json.loads(body)


def served(store_path, **options):
    """A client of a server in a thread of this process, and the function that stops it."""
    stores = Stores(lambda: qubastore.open(store_path))
    explorer = Explorer(stores, Images(stores.borrow, **options), make=AlteredImages)
    server, listener, address = prepare(explorer, stores)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop():
        server.should_exit = True
        thread.join(20)
        stores.close()
        listener.close()
        assert not thread.is_alive()

    return Client(address), stop


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of thumbnails of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "qubastore" / "thumbnails"


@pytest.fixture(scope="session")
def client(explored):
    made, stop = served(explored.path)
    yield made
    stop()


@pytest.fixture
def real_photographs():
    return shared("data", "imagenet-500")
