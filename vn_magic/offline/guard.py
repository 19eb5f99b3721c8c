"""Who may ask the stand-in: programs of this machine, and no page of another site in somebody's browser."""

import re

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vn_magic.offline import envelopes
from vn_magic.offline.envelopes import Envelope

LARGEST_HEAD = 16 * 1024
"""Bytes that the names and values of a request's headers may take together, as in most servers."""

# Any other Host is a page in somebody's browser that reached loopback through a DNS name of its own.
_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
# What clients inside the process call the server. Behind a socket it has an address and never one of these names.
_IN_PROCESS = ("offline", "testserver")
_OTHER_SITES = ("cross-site", "same-site")


class GuardMiddleware:
    """Refuse what is not from a program of this machine before anything else looks at it.

    A browser names the page that asks: in ``Origin`` where a page could do harm, a preflight's ``OPTIONS`` included,
    and in ``Sec-Fetch-Site`` also where it only fetches, as an ``<img>`` does. No answer allows another origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, or send the refusal in its place."""
        refusal = _refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        body = refusal.body(scope["state"]["request_id"])
        await Response(body, refusal.status, refusal.headers, refusal.media_type)(scope, receive, send)


def _refusal(scope: Scope) -> Envelope | None:
    # A stray path is a page with status 200, and what follows that after CONNECT is no answer any more but a tunnel.
    if scope["method"] == "CONNECT":
        return envelopes.NO_PROXY
    if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEAD:
        return envelopes.HEAD_TOO_LARGE
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    server, _ = scope.get("server") or ("", None)
    if not _HOST.fullmatch(host) and not (host == server and server in _IN_PROCESS):
        return envelopes.FOREIGN_HOST
    origin = headers.get("origin")
    if origin not in (None, f"{scope['scheme']}://{host}") or headers.get("sec-fetch-site") in _OTHER_SITES:
        return envelopes.FOREIGN_ORIGIN
    return None
