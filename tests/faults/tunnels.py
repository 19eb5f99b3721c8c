"""A proxy that opens tunnels, and keeps what it saw."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class TunnelProxy:
    """A running proxy: where it listens, the heads of the requests it got, and all bytes that passed through it."""

    address: str = ""
    heads: list[bytes] = field(default_factory=list)
    traffic: list[bytes] = field(default_factory=list)


@contextmanager
def tunnel_proxy(port: int, reply: bytes = ESTABLISHED) -> Iterator[TunnelProxy]:
    """Answer every CONNECT by ``reply``; where that is `ESTABLISHED`, lead it to a port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(listener, port, reply)
        try:
            yield server.proxy
        finally:
            server.stop()


class _Server:
    def __init__(self, listener: socket.socket, port: int, reply: bytes) -> None:
        self.proxy = TunnelProxy(f"127.0.0.1:{listener.getsockname()[1]}")
        self._port = port
        self._reply = reply
        self._sockets = [listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept, listener)

    def stop(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        # Started before it is known: others start threads at the same time, and `stop` joins what it finds.
        thread = threading.Thread(target=work, args=arguments, name="tunnel proxy")
        thread.start()
        self._threads.append(thread)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._sockets.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return
            head += data
        self.proxy.heads.append(head)
        client.sendall(self._reply)
        if self._reply is not ESTABLISHED:
            client.shutdown(socket.SHUT_WR)
            return
        server = socket.create_connection(("127.0.0.1", self._port))
        self._sockets.append(server)
        self._start(self._pump, server, client)
        self._pump(client, server)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.proxy.traffic.append(data)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
