"""Start the explorer's server, and stop it with Ctrl-C."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence

import uvicorn

from qubastore.errors import UsageError, did_you_mean
from qubastore.explorer.altered import Makes
from qubastore.explorer.images import Images
from qubastore.explorer.server import Explorer, application
from qubastore.explorer.stores import Stores
from qubastore.report.page import vega
from qubastore.store import Store

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    open_one: Callable[[], Store],
    *,
    datasets: Sequence[str] = (),
    data_root: str | None = None,
    suite: str = "quba",
    make: Callable[[], Makes] | None = None,
    host: str = "127.0.0.1",
    port: int = 8421,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a store until Ctrl-C.

    Args:
        open_one: Opens the store for reading.
        datasets: Where datasets are now, as in `explorer.images.Images`.
        data_root: Folder with the datasets that are known by name.
        suite: Suite of the ranking.
        make: Returns what makes a model's inputs again, as in `explorer.server.Explorer`.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        ready: Called with the address, which has the token, once the server listens.

    Raises:
        StoreNotFoundError: If there is no store.
        UsageError: If the port is taken, or a package is missing.
    """
    stores = Stores(open_one)
    try:
        images = Images(stores.borrow, datasets, data_root)
        with stores.borrow() as store:
            _check_names(images, [name for (name,) in store.rows("select distinct name from datasets")])
        explorer = Explorer(stores, images, suite, make)
        server, listener, address = prepare(explorer, stores, host=host, port=port)
        ready(address)
        with listener:
            server.run(sockets=[listener])
    finally:
        stores.close()


def prepare(
    explorer: Explorer, stores: Stores, *, host: str = "127.0.0.1", port: int = 0
) -> tuple[uvicorn.Server, socket.socket, str]:
    """A server that listens already, its socket, and its address with the token; errors as `serve`."""
    vega()  # a package that is missing is reported now, not by the first chart
    with stores.borrow():
        pass  # so is a store that is missing
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app = application(explorer, token=token, hosts=(*_LOOPBACK, host, socket.gethostname()), port=port)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    name = f"[{host}]" if ":" in host else host
    return uvicorn.Server(config), listener, f"http://{name}:{port}/?token={token}"


def _check_names(images: Images, known: Sequence[str]) -> None:
    """Refuse a dataset of which the store knows nothing: its images would never be asked for."""
    for text, names in images.given.items():
        if not set(names) & set(known):
            raise UsageError(
                f"--dataset {text}: the store has no dataset {names[0] if names else text!r}",
                expected=", ".join(known[:10]) or "a dataset with runs",
                hint=did_you_mean(names[0], known) if names else None,
            )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"the server cannot listen on port {port} of {host}", found=str(error), hint="--port 0 takes a free one"
        ) from None
    # asyncio does so only for sockets whose protocol is named: without it each answer waits 40 ms for the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
