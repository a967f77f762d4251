"""Who may ask the server what: the token, the names of this machine, reading alone, and the policy of its pages."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline';"
    " script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; object-src 'none'; base-uri 'none'; frame-ancestors 'none';"
    " form-action 'self'"
)
"""Vega compiles its expressions, hence unsafe-eval; no script but ours has the nonce."""


class Guard:
    """Lets nobody in but this machine's browser with the token, and nothing be changed.

    The name in the header `Host` is checked, so that no other site's name can be made to point here; the token comes
    once in the address and is then a cookie that the browser sends to these pages alone.
    """

    def __init__(self, application: ASGIApp, token: str, hosts: Sequence[str], port: int) -> None:
        self._application, self._token = application, token
        self._hosts = frozenset(host.lower() for host in hosts)
        self._cookie = f"qubastore-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on with the headers that its answer must have."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        request = Request(scope)
        scope["nonce"] = secrets.token_urlsafe(16)
        response = self._refused(request)
        if response is not None:
            await response(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = _POLICY.format(nonce=scope["nonce"])
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", policy.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cross-origin-resource-policy", b"same-origin"),
                ]
            await send(message)

        await self._application(scope, receive, send_with_headers)

    def _is_known(self, name: str) -> bool:
        """Whether a name is this machine's. Listening on all addresses, any address is: it cannot be moved."""
        if name in self._hosts or self._hosts.isdisjoint(("0.0.0.0", "::")):
            return name in self._hosts
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return False

    def _refused(self, request: Request) -> Response | None:
        """What is answered instead of the page; None if it may be seen."""
        if not self._is_known(_name(request.headers.get("host", ""))):
            return PlainTextResponse("this server does not have that name", 421)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("this server only reads", 405)
        given = request.query_params.get("token")
        if given is not None and hmac.compare_digest(given.encode(), self._token.encode()):
            rest = [(key, value) for key, value in request.query_params.multi_items() if key != "token"]
            there = request.url.path.lstrip("/")
            answer = RedirectResponse(f"/{there}" + (f"?{urlencode(rest)}" if rest else ""), 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="lax")
            return answer
        held = request.cookies.get(self._cookie, "")
        if not hmac.compare_digest(held.encode(), self._token.encode()):
            return PlainTextResponse("open the address that qubastore view printed: it has the token", 403)
        return None


def _name(host: str) -> str:
    """The name in a header `Host`, without the port; empty if it is not valid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
