"""Texts that are being sent just now: a second job of the session waits for the answer instead of paying for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from vn_magic.cache import CachedVector
from vn_magic.keys import CacheKey

Answer = asyncio.Future[CachedVector | None]


class Underway:
    """What the jobs of one session have sent and not yet got. Used on the session's loop alone, so it needs no lock."""

    def __init__(self) -> None:
        self._answers: dict[CacheKey, Answer] = {}

    async def answer(self, key: CacheKey) -> CachedVector | None:
        """Wait for whoever asks for this key; return None where nobody does, or nobody has got it.

        Between a None and the next ``await`` of the caller nobody else can begin to ask.
        """
        while (asked := self._answers.get(key)) is not None:
            # Shielded: other jobs wait for the same answer.
            if (cached := await asyncio.shield(asked)) is not None:
                return cached
        return None

    @contextmanager
    def asking(self, key: CacheKey) -> Iterator[Answer]:
        """Announce that the caller asks. What it puts into the future is the answer; without one, others may ask."""
        answer: Answer = asyncio.get_running_loop().create_future()
        self._answers[key] = answer
        try:
            yield answer
        finally:
            del self._answers[key]
            if not answer.done():
                answer.set_result(None)
