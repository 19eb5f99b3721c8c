"""Run a coroutine from a synchronous magic, on one daemon thread with a loop of its own; Ctrl-C cancels it.

``asyncio.run`` raises inside ipykernel's running loop, and an awaited cell answers Stop late; a thread with its
own loop works alike in ipykernel, terminal IPython, nbclient and plain Python.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1
# How long a cancelled job may take to commit what it has before the prompt returns anyway.
CANCEL_SECONDS = 0.5


class Portal:
    """A door to an event loop on a daemon thread, which starts with the first coroutine."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop and return its future at once."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())

    def run(self, coroutine: Coroutine[Any, Any, T], *, on_tick: Callable[[], None] | None = None) -> T:
        """Return the coroutine's result; cancel it when this thread is interrupted.

        Parameters
        ----------
        coroutine
            Runs on the portal's loop.
        on_tick
            Called about ten times a second in this thread, where printing is safe.

        Raises
        ------
        KeyboardInterrupt
            Once the coroutine has been told, and has had half a second to finish what it holds.
        """
        future = self.submit(coroutine)
        try:
            while True:
                with suppress(TimeoutError):
                    return future.result(POLL_SECONDS)
                if future.done():
                    return future.result()  # a TimeoutError of its own
                if on_tick is not None:
                    on_tick()
        except BaseException:
            if future.cancel():
                self._wait_for_cancelled()
            raise

    async def join(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine on the portal's loop from another loop; cancelling the awaiter cancels it."""
        return await asyncio.wrap_future(self.submit(coroutine))

    def close(self) -> None:
        """Cancel what runs, stop the loop and end the thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run_loop, args=(self._loop,), name="vn_magic loop", daemon=True)
                self._thread.start()
            return self._loop

    def _wait_for_cancelled(self) -> None:
        """Wait until the loop has no task left that is being cancelled, half a second at most."""
        settled = self.submit(_others_settled())
        with suppress(TimeoutError):
            settled.result(CANCEL_SECONDS)


async def _others_settled() -> None:
    if cancelling := [task for task in asyncio.all_tasks() if task.cancelling()]:
        await asyncio.wait(cancelling)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
