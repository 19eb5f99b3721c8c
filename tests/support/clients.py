"""Clients on real HTTP, and servers that answer them in all kinds of ways."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.gateways import App, Receive, Send, json_answer
from vn_magic.credentials import Token
from vn_magic.exceptions import (
    GatewayError,
    TransientError,
)
from vn_magic.gateway.client import GatewayClient
from vn_magic.gateway.dialect import Question
from vn_magic.gateway.effort import Effort
from vn_magic.gateway.probe import Probe
from vn_magic.gateway.retry import RetryPolicy
from vn_magic.gateway.wire import Answer
from vn_magic.settings import Recipe

TOKEN = "sk-canary-41ac9e77d0"
ASKED = ("gemini-embedding-001", 768, "SEMANTIC_SIMILARITY")
RECIPE = Recipe(*ASKED)
QUICK = RetryPolicy(first_backoff=0.01, longest_backoff=0.02)
ONCE = RetryPolicy(attempts=1, connection_attempts=1)


def vector_answer(length: int = 768, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return json_answer({"embedding": {"values": [0.5] * length}}, **headers)


def error_answer(status: int, code: str, message: str = "x") -> tuple[int, dict[str, str], bytes]:
    return json_answer({"error": {"message": message, "type": "new_api_error", "param": "", "code": code}}, status)


@dataclass
class Watch:
    """A job: it counts attempts, keeps what was waited for and passes that on, and wants all that it asked for."""

    sends: int = 0
    replies: int = 0
    waits: list[TransientError] = field(default_factory=list)
    troubled: list[int] = field(default_factory=list)
    heard: Callable[[], None] = lambda: None
    answers: dict[int, Answer] = field(default_factory=dict)
    failures: dict[int, GatewayError] = field(default_factory=dict)

    async def still_wanted(self, rows: Collection[int]) -> Collection[int]:
        return rows

    def on_send(self, _rows: Collection[int], _question: Question) -> None:
        self.sends += 1

    def on_reply(self) -> None:
        self.replies += 1

    @property
    def has_failed(self) -> bool:
        return False

    def on_trouble(self, rows: Collection[int]) -> None:
        self.troubled.extend(rows)

    def on_wait(self, _seconds: float, error: TransientError) -> None:
        self.waits.append(error)
        self.heard()

    def on_answer(self, row: int, answer: Answer) -> None:
        self.answers[row] = answer

    def on_failure(self, row: int, error: GatewayError) -> None:
        self.failures[row] = error


async def vector_of(
    client: GatewayClient,
    text: str,
    *,
    recipe: Recipe = RECIPE,
    watch: Watch | None = None,
    effort: Effort | None = None,
) -> Answer:
    """Return the answer for one text, or raise why there is none."""
    watch = watch or Watch()
    watch.answers.clear()
    await client.embed({7: text}, recipe, watch, effort or client.effort(None))
    if watch.failures:
        raise watch.failures[7]
    return watch.answers[7]


@asynccontextmanager
async def opened(
    url: str, *, token: str | None = TOKEN, policy: RetryPolicy = QUICK, request_timeout: float = 30.0
) -> AsyncIterator[GatewayClient]:
    secret = Token(token) if token else None
    async with GatewayClient(url, secret, policy=policy, request_timeout=request_timeout) as client:
        yield client


def embed(
    url: str, *texts: str, recipe: Recipe = RECIPE, watch: Watch | None = None, **options: Any
) -> tuple[list[Answer], list[str]]:
    """Embed the texts one after another with one client; return the answers and the client's notices."""

    async def run() -> tuple[list[Answer], list[str]]:
        async with opened(url, **options) as client:
            effort = client.effort(None)
            answers = [await vector_of(client, text, recipe=recipe, watch=watch, effort=effort) for text in texts]
            return answers, list(client.notices)

    return asyncio.run(run())


def refusal(url: str, kind: type[GatewayError], **options: Any) -> GatewayError:
    """Return the error of exactly this kind in which one text ends."""
    with pytest.raises(kind) as caught:
        embed(url, "x", **options)
    assert type(caught.value) is kind
    return caught.value


def probe(url: str, **options: Any) -> Probe:
    async def run() -> Probe:
        async with opened(url, **options) as client:
            return await client.probe()

    return asyncio.run(run())


@contextmanager
def accepting(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Hand every connection to a free port of loopback to ``serve``, in a thread; return the port."""
    ended = threading.Event()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if ended.is_set():
                connection.close()
                return
            serve(connection)

    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        thread = threading.Thread(target=accept, name="a server's listener", daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ended.set()
            # One more connection wakes the thread on every system; a shutdown of the listener does so on Linux alone.
            socket.create_connection(listener.getsockname()).close()
            thread.join()


@contextmanager
def raw_server(reply: Callable[[bytes], bytes]) -> Iterator[str]:
    """Answer each connection with these bytes and hang up: what no HTTP server would send."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(reply(connection.recv(65536)))

    with accepting(serve) as port:
        yield f"http://127.0.0.1:{port}"


def streaming(chunks: Iterable[bytes], pause: float) -> App:
    """Give an answer piece by piece, until it ends or the client hangs up."""

    async def app(_scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.ensure_future(receive())
        for chunk in chunks:
            if gone.done():
                break
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": b""})
        gone.cancel()

    return app
