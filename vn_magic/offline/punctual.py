"""Uvicorn's HTTP/1.1 with what it lacks: an end to requests that never arrive whole, and to connections without number.

Imported by `serve` alone: uvicorn is an extra.
"""

import asyncio
import sys
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def _most_files() -> int:
    """Return how many files the process may have open. Beyond that, accepting fails with a traceback, over and over."""
    if sys.platform == "win32":
        return 1024  # no limit that a socket would count against
    import resource  # noqa: PLC0415 - not on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class PunctualProtocol(H11Protocol):
    """A connection whose requests have to arrive whole, head and body, within so many seconds of their first byte.

    The first one's time starts with the connection. Answers have to be taken within the same time. A caller who lets
    it pass, or who is one too many, is cut off.
    """

    seconds: ClassVar[float] = 20.0
    most_connections: ClassVar[int] = min(512, _most_files() // 2)

    _request_deadline: asyncio.TimerHandle | None = None
    _answer_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        """Start the first request's time."""
        super().connection_made(transport)
        # Writing is paused while anything is left that the caller has not taken, and not from 64 KiB on.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.most_connections:
            transport.abort()
        self._follow_request()

    def handle_events(self) -> None:
        """Handle what has arrived, then see whether a request is still on its way."""
        super().handle_events()
        self._follow_request()

    def pause_writing(self) -> None:
        """Start the time in which the caller has to take what was answered."""
        super().pause_writing()
        self._answer_deadline = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that time: all was taken."""
        self._stop_answer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop_request()
        self._stop_answer()
        super().connection_lost(exc)

    def _follow_request(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_request()
        elif self._request_deadline is None and not self.transport.is_closing():
            self._request_deadline = self.loop.call_later(self.seconds, self.transport.abort)

    def _stop_request(self) -> None:
        if self._request_deadline is not None:
            self._request_deadline.cancel()
            self._request_deadline = None

    def _stop_answer(self) -> None:
        if self._answer_deadline is not None:
            self._answer_deadline.cancel()
            self._answer_deadline = None
