"""The floor: non-blocking sockets and one selector, nothing of HTTP but where a body ends; msgspec makes the row.

No errors, no retries, no limits, no headers read but one: nobody should use this, and nothing in Python is faster.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


class _Embedding(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct):
    embedding: _Embedding


_decode = msgspec.json.Decoder(_Answer).decode


def _request(text: str, dimension: int) -> bytes:
    body = msgspec.json.encode({"content": {"parts": [{"text": text}]}, "output_dimensionality": dimension})
    return (
        f"POST /v1beta/models/{MODEL}:embedContent HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _receive(sock: socket.socket, buffer: bytearray) -> bytes | None:
    """Return the body when all of it is there."""
    buffer += sock.recv(262144)
    head = buffer.find(b"\r\n\r\n") + 4
    if head < 4:
        return None
    start = buffer.find(b"Content-Length: ", 0, head) + 16
    total = head + int(buffer[start : buffer.index(b"\r", start)])
    if len(buffer) < total:
        return None
    if not buffer.startswith(b"HTTP/1.1 200"):
        raise ValueError(bytes(buffer))
    body = bytes(memoryview(buffer)[head:total])
    buffer.clear()
    return body


@contextmanager
def raw_sockets(job: Job) -> Iterator[Embed]:
    address = urlsplit(job.base_url)
    sockets = [socket.create_connection((address.hostname, address.port)) for _ in range(job.concurrency)]
    for sock in sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def embed(texts: list[str]) -> NDArray[np.float32]:
        matrix = np.empty((len(texts), job.dimension), np.float32)
        waiting = iter(enumerate(texts))
        with selectors.DefaultSelector() as selector:
            for sock, (row, text) in zip(sockets, waiting, strict=False):
                sock.sendall(_request(text, job.dimension))
                selector.register(sock, selectors.EVENT_READ, [sock, row, bytearray()])
            while selector.get_map():
                for key, _ in selector.select():
                    sock, row, buffer = key.data
                    if (body := _receive(sock, buffer)) is None:
                        continue
                    following = next(waiting, None)
                    if following is None:
                        selector.unregister(sock)
                    else:
                        key.data[1] = following[0]
                        sock.sendall(_request(following[1], job.dimension))
                    matrix[row] = _decode(body).embedding.values
        return matrix

    yield embed
    for sock in sockets:
        sock.close()


if __name__ == "__main__":
    serve(measured(raw_sockets))
