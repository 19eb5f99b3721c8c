"""The gateway of the benchmarks: cheap enough never to be what is measured, and strict enough not to be fooled.

Plain asyncio, one protocol object a connection, bodies rendered before the first request. It understands the
documented endpoint and its batch twin, and ``/v1/embeddings`` as OpenAI's clients ask it. A request that is not
right gets 400: nobody is fast here by sending rubbish.

Run as a process it prints one line of JSON, the base URL for each latency in milliseconds, and ends with its standard
input. ``GET /_count`` tells how many requests and texts were answered, and how much CPU that took it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

import msgspec

from benchmarks.bodies import DIMENSIONS, rendered_values, variant_of
from benchmarks.machine import gateway_cores, pin

LATENCIES = (0, 100)
_MODEL_PATH = re.compile(r"/v1(?:beta)?/models/gemini-embedding-001:(embedContent|batchEmbedContents)")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
# The value ends with the line; a scheme without a token is no token.
_TOKEN = re.compile(rb"(?i)\r\n(?:authorization: *bearer|x-goog-api-key:) +[!-~]{3,}\r\n")


class _Part(msgspec.Struct):
    text: str


class _Content(msgspec.Struct):
    parts: list[_Part]


class _Single(msgspec.Struct):
    content: _Content
    documented: int | None = msgspec.field(name="output_dimensionality", default=None)
    camel_case: int | None = msgspec.field(name="outputDimensionality", default=None)

    @property
    def dimension(self) -> int:
        if self.documented is not None and self.camel_case is not None:
            raise ValueError("both spellings of the dimension")
        return self.documented or self.camel_case or 3072

    @property
    def text(self) -> str:
        [part] = self.content.parts
        if not part.text.strip():
            raise ValueError("an empty text")
        return part.text


class _Batch(msgspec.Struct):
    requests: list[_Single]


class _OpenAi(msgspec.Struct):
    input: str | list[str]
    dimensions: int = 3072


@dataclass
class Count:
    """What was answered so far."""

    requests: int = 0
    texts: int = 0


class Answers:
    """From a request's path and body to the answer's body."""

    def __init__(self, count: Count) -> None:
        self._values = {dimension: rendered_values(dimension) for dimension in DIMENSIONS}
        self._single = {
            dimension: [b'{"embedding": {"values": ' + row + b"}}" for row in rows]
            for dimension, rows in self._values.items()
        }
        self._decode_single = msgspec.json.Decoder(_Single).decode
        self._decode_batch = msgspec.json.Decoder(_Batch).decode
        self._decode_openai = msgspec.json.Decoder(_OpenAi).decode
        self._count = count

    def answer(self, path: str, body: bytes) -> bytes:
        """Return the body of a 200; ValueError, KeyError or msgspec's errors for what is not right."""
        match = _MODEL_PATH.fullmatch(path)
        if match is None and path != "/v1/embeddings":
            raise KeyError(path)
        if match is None:
            return self._openai(body)
        if match[1] == "embedContent":
            request = self._decode_single(body)
            answer = self._single[request.dimension][variant_of(request.text)]
            self._add(1)
            return answer
        requests = self._decode_batch(body).requests
        if not 1 <= len(requests) <= 100:
            raise ValueError(f"{len(requests)} texts in a batch")
        rows = [b'{"values": ' + self._values[each.dimension][variant_of(each.text)] + b"}" for each in requests]
        self._add(len(rows))
        return b'{"embeddings": [' + b", ".join(rows) + b"]}"

    def _openai(self, body: bytes) -> bytes:
        request = self._decode_openai(body)
        texts = [request.input] if isinstance(request.input, str) else request.input
        rows = [self._values[request.dimensions][variant_of(text)] for text in texts]
        data = [b'{"object": "embedding", "index": %d, "embedding": %s}' % pair for pair in enumerate(rows)]
        usage = b'"usage": {"prompt_tokens": %d, "total_tokens": %d}' % (len(texts), len(texts))
        self._add(len(texts))
        return (
            b'{"object": "list", "data": [' + b", ".join(data) + b'], "model": "gemini-embedding-001", ' + usage + b"}"
        )

    def _add(self, texts: int) -> None:
        self._count.requests += 1
        self._count.texts += texts


class Connection(asyncio.Protocol):
    """One client's connection: requests one after the other, each answered after the latency."""

    def __init__(self, answers: Answers, count: Count, latency: float) -> None:
        self._answers, self._count, self._latency = answers, count, latency
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # a stream's transport can write

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n") + 4) >= 4:
            head = self._received[: end - 2]
            length = _LENGTH.search(head)
            total = end + (int(length[1]) if length else 0)
            if len(self._received) < total:
                return
            body, self._received = self._received[end:total], self._received[total:]
            answer = self._answer(head, body)
            if self._latency:
                self._loop.call_later(self._latency, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _answer(self, head: bytes, body: bytes) -> bytes:
        method, target, _ = head.split(b" ", 2)
        path = target.decode().partition("?")[0]
        if (method, path) == (b"GET", "/_count"):
            count = {"requests": self._count.requests, "texts": self._count.texts, "cpu": time.process_time()}
            return _response(b"200 OK", json.dumps(count).encode(), 0)
        try:
            _check(method, head)
            return _response(b"200 OK", self._answers.answer(path, body), self._count.requests)
        except (ValueError, KeyError, msgspec.MsgspecError) as error:
            message = {"error": {"message": f"{path}: {error!r}", "type": "invalid_request"}}
            return _response(b"400 Bad Request", json.dumps(message).encode(), self._count.requests)


def _check(method: bytes, head: bytes) -> None:
    if method != b"POST" or not _TOKEN.search(head):
        raise ValueError("no POST with a token")


def _response(status: bytes, body: bytes, number: int) -> bytes:
    return (
        b"HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: application/json\r\nX-Oneapi-Request-Id: 20260516%024d\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (status, formatdate(usegmt=True).encode(), number, len(body), body)
    )


def _connections(answers: Answers, count: Count, latency: int) -> Callable[[], Connection]:
    return lambda: Connection(answers, count, latency / 1000)


async def serve() -> None:
    """Answer on a free port of loopback for each latency, until the process ends."""
    answers = Answers(count := Count())
    gc.freeze()
    loop = asyncio.get_running_loop()
    urls = {}
    for latency in LATENCIES:
        server = await loop.create_server(_connections(answers, count, latency), "127.0.0.1", 0, backlog=512)
        urls[latency] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    pin(gateway_cores())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    asyncio.run(serve())
