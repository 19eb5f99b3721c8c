"""What a run would cost, found out while people still type."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from vn_magic.exceptions import InputError
from vn_magic.notebook.forecast import plan_text
from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.request import Request
from vn_magic.session import Session

# After the last change; nobody reads a count while typing.
_SETTLE_SECONDS = 0.3


class Estimate:
    """Keeps one line true: rows, duplicates, what is there already, tokens to send, and what they cost.

    Parameters
    ----------
    session
        Whose cache is looked into.
    count
        Finds out what the line says as the panel stands, on the session's loop, or raises what is wrong with it.
    """

    def __init__(self, session: Session, count: Callable[[], Coroutine[Any, Any, str]]) -> None:
        self._count = count
        self._message = Message()
        self._tasks = Tasks(session, self._message)
        self._running: Future[None] | None = None
        self.widget = self._message.widget

    def renew(self) -> None:
        """Count again, soon."""
        if self._running is not None:
            self._running.cancel()
        self._running = self._tasks.start(self._count_soon)

    async def _count_soon(self) -> None:
        await asyncio.sleep(_SETTLE_SECONDS)
        try:
            self._message.say([await self._count()])
        except InputError as error:
            self._message.say(str(error).splitlines())


async def job_estimate(request: Request, session: Session) -> str:
    """Return what a request would send and cost."""
    plan, texts = await session.plan_job(request)
    return await asyncio.to_thread(plan_text, plan, texts, request, session.settings, session.totals)
