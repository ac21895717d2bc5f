"""Checks of every request: headers, size and origin."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reading_centre.web.static_files import STATIC

_LOG = logging.getLogger(__name__)

MOST_BYTES: Final = 16 * 1024 * 1024
"""Largest body of a request."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_SAFE = frozenset({"GET", "HEAD"})
_ONE_YEAR = "max-age=31536000"


class Guard:
    """Middleware: security headers on every response; refusal of large bodies and of other sites' requests.

    The log has method, path template, status and time: no bodies, no parameters.

    Parameters
    ----------
    app : ASGI application
    fault : callable
        The answer to a request that raised an unexpected error.
    """

    def __init__(self, app: ASGIApp, fault: Callable[[Request], Response]) -> None:
        self.app, self._fault = app, fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def secured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), scope)
            await send(message)

        refusal = _refusal(scope["method"], Headers(scope=scope))
        if "\0" in scope["path"]:  # PostgreSQL has no such text
            refusal = _refused(404, "The address has a null character. Go to the first page.")
        try:
            await (refusal or self.app)(scope, _bounded(receive), secured)
        except Exception:
            _LOG.exception("unexpected error")
            if status:  # a part of the answer was sent
                raise
            await self._fault(Request(scope))(scope, receive, secured)
        route = getattr(scope.get("route"), "path", "-")
        _LOG.info("%s %s %d %.0f ms", scope["method"], route, status, 1000 * (time.perf_counter() - started))


def _add_headers(headers: MutableHeaders, scope: Scope) -> None:
    for name, value in HEADERS.items():
        headers[name] = value
    for name in ("ETag", "Last-Modified"):  # of a downloaded file: nothing is cached, and they tell its time
        if name in headers:
            del headers[name]
    if not (scope["path"].startswith(STATIC) and "Cache-Control" in headers):
        headers["Cache-Control"] = "no-store"
    if scope["scheme"] == "https":
        headers["Strict-Transport-Security"] = _ONE_YEAR


def _refusal(method: str, headers: Headers) -> JSONResponse | None:
    if method in _SAFE:
        return None
    if not from_this_site(headers):
        return _refused(403, "The request came from a page of another server. Open the page of this server.")
    length = headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        found = f"{length} bytes" if length.isdecimal() else "no length"
        return _refused(413, f"Expected a body of up to {MOST_BYTES} bytes, found {found}.")
    return None


def from_this_site(headers: Headers) -> bool:
    """True if a browser sent the request from a page of this server.

    Parameters
    ----------
    headers : Headers

    Returns
    -------
    bool
        False without both ``Sec-Fetch-Site`` and ``Origin``.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None or origin == "null":  # a form of a page without referrer has the origin "null"
        return site == "same-origin"
    return urlsplit(origin).netloc == headers.get("host", "")


def _bounded(receive: Receive) -> Receive:
    """A body that is larger than it says ends the request."""
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        return message if total <= MOST_BYTES else {"type": "http.disconnect"}

    return bounded


def _refused(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
