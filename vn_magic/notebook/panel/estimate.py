"""What a run would cost, found out while people still type."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from vn_magic.exceptions import InputError
from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.notebook.phrases import counted
from vn_magic.request import Request
from vn_magic.session import Session
from vn_magic.texts import estimated_tokens

# After the last change; nobody reads a count while typing.
_SETTLE_SECONDS = 0.3


class Estimate:
    """Keeps one line true: rows, duplicates, what the cache has, and tokens to send.

    Parameters
    ----------
    session
        Whose cache is looked into.
    request
        Returns the request as the panel stands, or raises what is wrong with it.
    """

    def __init__(self, session: Session, request: Callable[[], Request]) -> None:
        self._session = session
        self._request = request
        self._message = Message()
        self._tasks = Tasks(session, self._message)
        self._running: Future[None] | None = None
        self.widget = self._message.widget

    def renew(self) -> None:
        """Count again, soon."""
        if self._running is not None:
            self._running.cancel()
        self._running = self._tasks.start(self._count)

    async def _count(self) -> None:
        await asyncio.sleep(_SETTLE_SECONDS)
        try:
            request = self._request()
            plan, texts = await self._session.plan_job(request)
        except InputError as error:
            self._message.say(str(error).splitlines())
            return
        tokens = await asyncio.to_thread(lambda: sum(estimated_tokens(texts[row] or "") for row in plan.missing))
        parts = [counted(plan.rows, "row"), counted(plan.duplicates, "duplicate"), f"{plan.cached:,} in the cache"]
        self._message.say([" · ".join([*parts, f"≈{counted(tokens, 'token')} to send"])])
