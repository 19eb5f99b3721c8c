"""How many requests of a job are under way at once: as many as the gateway answers cleanly."""

from __future__ import annotations

import time
from typing import Self

from anyio import CapacityLimiter, WouldBlock

from vn_magic.settings import FIRST_CONCURRENCY, MOST_CONCURRENCY


class Concurrency:
    """The places for a job's requests; ``async with`` takes one and gives it back.

    Learns as TCP does (Jacobson, "Congestion Avoidance and Control", 1988): strain takes it down to one request,
    which tests the water alone; each clean answer adds a place up to half of what was too much, from there on each
    round of clean answers.

    Parameters
    ----------
    given
        Where it starts and the most there will be; None starts with eight and may grow to sixty-four.
    """

    def __init__(self, given: int | None) -> None:
        self._most = given or MOST_CONCURRENCY
        self._places = CapacityLimiter(given or FIRST_CONCURRENCY)
        self._steady_from = self._most
        self._clean_answers = 0
        self._backed_off_at = 0.0

    async def __aenter__(self) -> Self:
        try:
            self._places.acquire_nowait()  # with a place at hand anyio's wait would cost two turns of the loop
        except WouldBlock:
            await self._places.acquire()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._places.release()

    @property
    def limit(self) -> int:
        """How many may be under way just now."""
        return int(self._places.total_tokens)

    @property
    def is_crowded(self) -> bool:
        """Whether more places are taken than there are now."""
        return self._places.borrowed_tokens > self.limit

    @property
    def most(self) -> int:
        """How many may be under way at best."""
        return self._most

    def clean(self, begun: float) -> None:
        """Note a clean answer to a request that began then; of what is bearable now only later ones tell."""
        limit = self.limit
        if limit >= self._most or begun < self._backed_off_at:
            return
        self._clean_answers += 1
        if limit < self._steady_from or self._clean_answers >= limit:
            self._places.total_tokens = limit + 1
            self._clean_answers = 0

    def strained(self, begun: float) -> None:
        """Back off because a request that began then was too much; once for all that were under way together."""
        if begun < self._backed_off_at:
            return
        self._backed_off_at = time.monotonic()
        self._steady_from = max(1, self.limit // 2)
        self._places.total_tokens = 1
        self._clean_answers = 0
