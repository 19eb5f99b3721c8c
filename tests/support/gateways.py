"""Real HTTP servers on loopback that log what they received: tests assert on the server's view."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass
class Received:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        [text] = self.texts
        return text

    @property
    def texts(self) -> list[str]:
        """The texts to embed: one, or those of a batch in its order."""
        return texts_in(self.body)


def texts_in(body: bytes) -> list[str]:
    """Return the texts that a request asks to embed: one, or those of a batch."""
    asked = json.loads(body)
    return [request["content"]["parts"][0]["text"] for request in asked.get("requests", [asked])]


@dataclass
class Served:
    """A server under a URL, and all that it received."""

    url: str
    received: list[Received] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The texts of embedding requests, in the order of their arrival."""
        return [text for request in self.received if request.method == "POST" for text in request.texts]


@contextmanager
def served(app: App, *, dated: bool = True) -> Iterator[Served]:
    """Serve an ASGI app on a free port of loopback, in a thread, with a log of requests.

    ``dated`` answers carry the server's own ``Date``; else the app's, if it sends one.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            _logged(app, log := Served("")),
            host="127.0.0.1",
            port=0,
            log_level="error",
            lifespan="off",
            date_header=dated,
            timeout_keep_alive=600,  # nobody meets a connection that is just being closed
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not (server.started and server.servers):
        if not thread.is_alive():
            raise RuntimeError("the server ended before it began")
        time.sleep(0.01)
    log.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield log
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()


def _logged(app: App, log: Served) -> App:
    async def logging_app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        log.received.append(Received(scope["method"], scope["path"], headers, body, time.monotonic()))
        replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(replayed, None) or await receive()

        await app(scope, replay, send)

    return logging_app


def answering(*answers: tuple[int, dict[str, str], bytes]) -> App:
    """An app that gives these answers in turn, and the last one for ever."""
    left = list(answers)

    async def app(_scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        status, headers, body = left.pop(0) if len(left) > 1 else left[0]
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    return app


def json_answer(value: Any, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """An answer of `answering` in JSON."""
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return status, {"content-type": "application/json", **names}, json.dumps(value).encode()
