"""When the next request may start: one cool-down and one rate, shared by all workers of a session."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vn_magic.gateway.ledger import StartLedger

_TRIES_TO_END = 50


@dataclass(slots=True, eq=False)
class Start:
    """A request that counts until a moment.

    Attributes
    ----------
    texts
        How many it carries: services count texts, not calls.
    entry
        Its place in the ledger, when it has one.
    sent
        To be set False when nothing was sent after all; then it does not count.
    """

    until: float
    texts: int = 1
    entry: int | None = None
    sent: bool = True


def _never() -> bool:
    return False


class Pace:
    """The gate that every request to one gateway passes just before it starts.

    A request counts from its start until a window after its end. So a limit holds in every window wherever one
    counts, here or at the gateway: when a request arrived there is not known here, only that it was in between.

    Parameters
    ----------
    ledger
        Where starts under a limit are counted, for all kernels that share it.
    timeout
        Seconds after which a request has ended in any case; what a killed kernel leaves behind counts no longer.
    window
        Seconds over which ``requests_per_minute``, a number of texts, is counted. A minute, except in tests.
    """

    def __init__(self, ledger: StartLedger, *, timeout: float, window: float = 60.0) -> None:
        self._ledger = ledger
        self._timeout = timeout
        self._window = window
        # Other kernels' starts leave the ledger without a word, so it is looked at again and again.
        self._pause = min(max(window / 120, 0.005), 0.5)
        self._open_at = 0.0
        self._limits: list[int] = []
        self._unlimited: deque[Start] = deque()
        self._turn = asyncio.Lock()

    @contextmanager
    def limited_to(self, requests_per_minute: int | None) -> Iterator[None]:
        """Never start more than this many texts in any window; None for no limit. Of several the lowest holds."""
        if requests_per_minute is None:
            yield
            return
        self._limits.append(requests_per_minute)
        try:
            yield
        finally:
            self._limits.remove(requests_per_minute)

    def cool_down(self, seconds: float) -> None:
        """Let nobody start for this long; a longer cool-down that is under way stays."""
        self._open_at = max(self._open_at, time.monotonic() + seconds)

    @property
    def limit(self) -> int | None:
        """The most texts that may start in a window just now, None without a limit."""
        return min(self._limits, default=None)

    @property
    def remaining(self) -> float:
        """Seconds until the cool-down ends, 0 when there is none."""
        return max(0.0, self._open_at - time.monotonic())

    async def start(self, texts: int = 1, *, unless: Callable[[], bool] = _never) -> Start | None:
        """Return when a request with so many texts may start; `end` it in any case.

        Returns None, and counts nothing, where ``unless`` holds when its turn has come, or where there is a limit that
        so many texts would exceed for ever.
        """
        # One at a time looks at the ledger, and those who came first start first.
        async with self._turn:
            while True:
                while (remaining := self.remaining) > 0:  # noqa: ASYNC110 - another worker's 429 may prolong it
                    await asyncio.sleep(remaining)
                if unless() or texts > min(self._limits, default=texts):
                    return None
                start = Start(time.monotonic() + self._timeout + self._window, texts)
                if not self._limits:
                    self._forget_old()
                    self._unlimited.append(start)
                    return start
                if self._has_entered_unlimited():
                    start.entry = self._ledger.take(start.until, min(self._limits), texts)
                    if start.entry is not None:
                        return start
                await asyncio.sleep(self._pause)

    def _has_entered_unlimited(self) -> bool:
        """Count what was started before there was a limit, so that the limit holds from the moment it is set."""
        self._forget_old()
        if not self._unlimited:
            return True
        entries = self._ledger.add([(start.until, start.texts) for start in self._unlimited])
        for entry in entries:
            self._unlimited.popleft().entry = entry
        return not self._unlimited

    async def end(self, start: Start) -> None:
        """Note that a request has ended, or was not sent after all."""
        start.until = time.monotonic() + (self._window if start.sent else 0.0)
        for _ in range(_TRIES_TO_END):
            if start.entry is None or self._ledger.end(start.entry, start.until):
                return
            await asyncio.sleep(0.001)  # another kernel is writing
        # Nothing is wrong then: this start counts for longer than it has to.

    def _forget_old(self) -> None:
        now = time.monotonic()
        while self._unlimited and self._unlimited[0].until <= now:
            self._unlimited.popleft()
