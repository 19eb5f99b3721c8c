"""A server that can fail in every way: raw sockets on loopback, and a script that says what each request gets."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from support.clients import accepting


class Ending(Enum):
    """How a script can end a connection, besides leaving it open for the next request."""

    RESET = "reset it"
    CLOSE = "close it"
    HANG = "say nothing until the client leaves"


RESET: Final = Ending.RESET
CLOSE: Final = Ending.CLOSE
HANG: Final = Ending.HANG

Step = bytes | float | Ending


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as the server saw it.

    Parameters
    ----------
    number
        0 for the first request that arrived.
    at
        Seconds on `time.monotonic` when it had arrived whole.
    connection
        0 for the first TCP connection that was accepted.
    method, path, headers, body
        As received; header names in lower case.
    texts
        The texts to embed: one, those of a batch in its order, or none where the body has none.
    dimension
        As asked for in either spelling, 3072 where it was not; a batch asks for one.
    attempt
        1 for the first request with this text, 2 for the second; of a batch the most that any of its texts has had.
    """

    number: int
    at: float
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    texts: tuple[str, ...]
    dimension: int
    attempt: int

    @property
    def is_batch(self) -> bool:
        """Whether several texts may be asked for, by the method for that."""
        return self.path.endswith(":batchEmbedContents")

    @property
    def text(self) -> str | None:
        """The one text to embed, None where the body has none or is a batch."""
        return None if self.is_batch or not self.texts else self.texts[0]


Script = Callable[[Arrival], bytes | Iterable[Step]]


def steps_of(script: Script, arrival: Arrival) -> Iterable[Step]:
    """Return what a script does about a request; bytes alone are one step."""
    steps = script(arrival)
    return [steps] if isinstance(steps, bytes) else steps


@dataclass
class FaultGateway:
    """A running gateway and its log.

    Attributes
    ----------
    base_url
        Where it listens.
    received
        All requests that arrived whole, in that order.
    connections
        How many TCP connections were accepted.
    """

    base_url: str
    received: list[Arrival] = field(default_factory=list)
    connections: int = 0

    @property
    def texts(self) -> list[str]:
        """The texts that were asked for, in the order of their arrival."""
        return [text for arrival in self.received for text in arrival.texts]

    def texts_sent_with(self, token: str) -> list[str]:
        """The texts of one token's requests. What a process sent shortly before its end can arrive after it."""
        own = f"Bearer {token}"
        return [text for arrival in self.received if arrival.headers["authorization"] == own for text in arrival.texts]

    @property
    def batches(self) -> list[tuple[str, ...]]:
        """The texts of each batch, in the order of their arrival."""
        return [arrival.texts for arrival in self.received if arrival.is_batch]


@contextmanager
def fault_gateway(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[FaultGateway]:
    """Serve on a free port of loopback, one thread a connection; leave no thread and no socket behind.

    Parameters
    ----------
    script
        Called with each request as it arrives, from several threads at once; its steps are done one by one: bytes
        are sent, a number of seconds is waited for, `RESET`, `CLOSE` and `HANG` end the connection. A script that
        ends by itself leaves the connection open for the next request. What it raises, the block raises at its end.
    tls
        Speak TLS with this context; a connection whose handshake fails is never in the log.
    """
    gateway = FaultGateway("")
    server = _Server(gateway, script, tls)
    try:
        with accepting(server.serve) as port:
            gateway.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            yield gateway
    finally:
        server.stop()
    if server.faults:
        raise server.faults[0]


class _Server:
    """Threads, sockets and the log behind a `FaultGateway`."""

    def __init__(self, gateway: FaultGateway, script: Script, tls: ssl.SSLContext | None) -> None:
        self._gateway = gateway
        self._script = script
        self._tls = tls
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._open: list[tuple[threading.Thread, _Connection]] = []
        self.faults: list[Exception] = []

    def serve(self, client: socket.socket) -> None:
        connection = _Connection(client, self._gateway.connections)
        self._gateway.connections += 1
        thread = threading.Thread(target=self._talk, args=(connection,), name="fault gateway's connection")
        self._open = [pair for pair in self._open if pair[0].is_alive()]
        self._open.append((thread, connection))
        thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread, connection in self._open:
            connection.wake()
            thread.join()

    def _talk(self, connection: _Connection) -> None:
        try:
            with suppress(OSError):  # the client left, or would not shake hands
                if self._tls:
                    connection.encrypt(self._tls)
                while (request := connection.read_request()) is not None:
                    arrival = self._log(connection.number, *request)
                    if not all(self._do(step, connection) for step in steps_of(self._script, arrival)):
                        return
        except Exception as error:  # noqa: BLE001 - a fault in a test's script, raised where the test can see it
            self.faults.append(error)
        finally:
            connection.close()

    def _log(self, connection: int, method: str, path: str, headers: dict[str, str], body: bytes) -> Arrival:
        texts, dimension = _asked(body)
        with self._lock:
            self._attempts.update(set(texts))
            received = self._gateway.received
            attempt = max((self._attempts[text] for text in texts), default=1)
            arrival = Arrival(
                len(received), time.monotonic(), connection, method, path, headers, body, texts, dimension, attempt
            )
            received.append(arrival)
        return arrival

    def _do(self, step: Step, connection: _Connection) -> bool:
        """Do one step of a script; return whether the connection is still open."""
        if isinstance(step, bytes):
            connection.send(step)
        elif isinstance(step, Ending):
            if step is HANG:
                connection.wait_for_end()
            connection.close(reset=step is RESET)
            return False
        else:
            return not self._stopping.wait(step)
        return True


class _Connection:
    """One client's socket, read by requests."""

    def __init__(self, client: socket.socket, number: int) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = number
        self._socket = client
        self._unread = b""

    def encrypt(self, tls: ssl.SSLContext) -> None:
        # The handshake comes after the assignment, so that `wake` can end it.
        encrypted = tls.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = encrypted
        encrypted.do_handshake()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read_request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        """Return method, path, headers and body of the next request, or None when the client is done."""
        while b"\r\n\r\n" not in self._unread:
            if not self._receive():
                return None
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "transfer-encoding" in headers:
            raise NotImplementedError("the client sent a body without Content-Length, which this server cannot read")
        length = int(headers.get("content-length", 0))
        while len(self._unread) < length:
            if not self._receive():
                return None
        body, self._unread = self._unread[:length], self._unread[length:]
        return method, path, headers, body

    def wait_for_end(self) -> None:
        """Return when the client has left."""
        with suppress(OSError):
            while self._receive():
                pass

    def wake(self) -> None:
        """End whatever this connection's thread waits for."""
        with suppress(OSError):
            # Not a TLS socket's own, which takes away its TLS, perhaps from under the thread that is about to use it.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self, *, reset: bool = False) -> None:
        """Part by a FIN, or by a RST: what a socket does that may not linger."""
        with suppress(OSError):
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()

    def _receive(self) -> bool:
        data = self._socket.recv(65536)
        self._unread += data
        return bool(data)


def _asked(body: bytes) -> tuple[tuple[str, ...], int]:
    """Return the texts and the dimension that a body asks for."""
    try:
        asked: dict[str, Any] = json.loads(body)
        requests = asked.get("requests", [asked])
        texts = tuple(request["content"]["parts"][0]["text"] for request in requests)
        spellings = ("output_dimensionality", "outputDimensionality")
        dimensions = {next(filter(None, map(request.get, spellings)), 3072) for request in requests}
    except (ValueError, LookupError, TypeError, AttributeError):
        return (), 3072
    if len(dimensions) > 1:
        raise NotImplementedError("the texts of a batch have different dimensions, which this server cannot read")
    return texts, max(dimensions, default=3072)
