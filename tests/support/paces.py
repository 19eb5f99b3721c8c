"""A request as a block, for tests of the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from vn_magic.gateway.pace import Pace, Start


@asynccontextmanager
async def started(
    pace: Pace, texts: int = 1, *, unless: Callable[[], bool] = lambda: False
) -> AsyncIterator[Start | None]:
    """Enter when a request may start; it has ended when this is left."""
    start = await pace.start(texts, unless=unless)
    try:
        yield start
    finally:
        if start is not None:
            await pace.end(start)
