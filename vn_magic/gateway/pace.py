"""When the next request may start: one cool-down and one rate, shared by all workers of a session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyrate_limiter import InMemoryBucket, Rate, RateItem

_NO_LIMIT = 10**9


class Pace:
    """The gate that every request to one gateway passes just before it starts.

    Parameters
    ----------
    window
        Seconds over which ``requests_per_minute`` is counted. A minute, except in tests.
    """

    def __init__(self, *, window: float = 60.0) -> None:
        self._window_ms = round(window * 1000)
        self._open_at = 0.0
        self._limits: list[int] = []
        # The bucket alone, without pyrate-limiter's Limiter: that one starts a thread of its own. It counts every
        # start, limited or not, so that a limit holds from the moment it is set.
        self._starts = InMemoryBucket([Rate(_NO_LIMIT, self._window_ms)])

    @contextmanager
    def limited_to(self, requests_per_minute: int | None) -> Iterator[None]:
        """Never start more than this many requests in any window; None for no limit. Of several the lowest holds."""
        if requests_per_minute is None:
            yield
            return
        self._limits.append(requests_per_minute)
        self._set_rate()
        try:
            yield
        finally:
            self._limits.remove(requests_per_minute)
            self._set_rate()

    def _set_rate(self) -> None:
        self._starts.rates = [Rate(min(self._limits, default=_NO_LIMIT), self._window_ms)]

    def cool_down(self, seconds: float) -> None:
        """Let nobody start for this long; a longer cool-down that is under way stays."""
        self._open_at = max(self._open_at, time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds until the cool-down ends, 0 when there is none."""
        return max(0.0, self._open_at - time.monotonic())

    async def admit(self) -> None:
        """Return when a request may start. A start is counted when it is admitted."""
        while True:
            while (remaining := self.remaining) > 0:  # noqa: ASYNC110 - another worker's 429 may prolong it
                await asyncio.sleep(remaining)
            wait = self._try_start()
            if wait is None:
                return
            await asyncio.sleep(wait)

    def _try_start(self) -> float | None:
        starts = self._starts
        item = RateItem("start", time.monotonic_ns() // 1_000_000)
        starts.leak(item.timestamp)
        if starts.put(item):
            return None
        waiting = starts.waiting(item)
        # A millisecond more than told, or the wake-up finds the oldest start still inside the window.
        return (waiting + 1 if isinstance(waiting, int) else 1) / 1000
