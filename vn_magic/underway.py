"""Texts that are being sent just now: a second job of the session waits for the answer instead of paying for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from vn_magic.cache import CachedVector
from vn_magic.keys import CacheKey

Answer = asyncio.Future[CachedVector | None]


class Underway:
    """What the jobs of one session have sent and not yet got. Used on the session's loop alone, so it needs no lock."""

    def __init__(self) -> None:
        self._answers: dict[CacheKey, Answer] = {}

    def is_asked(self, key: CacheKey) -> bool:
        """Whether somebody asks for this key just now."""
        return key in self._answers

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
    def asking(self, keys: Collection[CacheKey]) -> Iterator[None]:
        """Announce that the caller asks for these keys, which nobody does yet; for what `came` not, others may ask."""
        loop = asyncio.get_running_loop()
        self._answers.update((key, loop.create_future()) for key in keys)
        try:
            yield
        finally:
            for key in keys:
                answer = self._answers.pop(key)
                if not answer.done():
                    answer.set_result(None)

    def came(self, key: CacheKey, cached: CachedVector) -> None:
        """Hand an answer to all who wait for it."""
        answer = self._answers.get(key)
        if answer is not None and not answer.done():
            answer.set_result(cached)
