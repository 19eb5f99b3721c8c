"""Run a coroutine from a synchronous magic, on one daemon thread with a loop of its own; Ctrl-C cancels it.

``asyncio.run`` raises inside ipykernel's running loop, and an awaited cell answers Stop late; a thread with its
own loop works alike in ipykernel, terminal IPython, nbclient and plain Python.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1
# How long a cancelled job may take to commit what it has before the prompt returns anyway.
CANCEL_SECONDS = 0.5


class Portal:
    """A door to an event loop on a daemon thread, which starts with the first coroutine.

    Parameters
    ----------
    at_end
        Awaited on the loop when it is closed, after everything that ran there was cancelled.
    """

    def __init__(self, at_end: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        self._at_end = at_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        # Reentrant: garbage collected inside one of these methods may be a session, which closes its portal.
        self._lock = threading.RLock()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop and return its future at once."""
        # Under the lock: between a look at the loop and its use, another thread might close it.
        with self._lock:
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
        future: Future[T] | None = None
        try:
            future = self.submit(coroutine)
            while True:
                with suppress(TimeoutError):
                    return future.result(POLL_SECONDS)
                if future.done():
                    return future.result()  # a TimeoutError of its own
                if on_tick is not None:
                    on_tick()
        except BaseException:
            if future is None or not future.done():
                self._stop(coroutine)
            raise

    async def join(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine on the portal's loop from another loop; cancelling the awaiter cancels it."""
        future = asyncio.wrap_future(self.submit(coroutine))
        try:
            # A kernel hears Stop only when its loop wakes up, and an awaiting cell gives it nothing else to wake for.
            while not future.done():
                await asyncio.wait({future}, timeout=POLL_SECONDS)
        finally:
            future.cancel()
        return future.result()

    def close(self) -> None:
        """Cancel what runs, stop the loop and end the thread."""
        thread = self.end()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def end(self) -> threading.Thread | None:
        """Do as `close` and wait for nothing; return the thread, which ends when all is done."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        return thread

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = _ForkAwareLoop() if hasattr(os, "fork") else asyncio.new_event_loop()
            thread = threading.Thread(target=_run_loop, args=(loop, self._at_end), name="vn_magic loop", daemon=True)
            thread.start()
            # Known only once it runs: after an interrupt in between, the next call would wait for ever.
            self._loop, self._thread = loop, thread
        return self._loop

    def _stop(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Cancel a coroutine and wait until nothing that was cancelled is left, half a second at most."""
        stopped = self.submit(_stopped(coroutine))
        with suppress(TimeoutError, CancelledError):
            stopped.result(CANCEL_SECONDS)


class _ForkAwareLoop(asyncio.SelectorEventLoop):
    """A loop that counts as closed in a forked child.

    There, whatever is collected as garbage would close the parent's connections and take them out of the epoll set
    that both share, and the parent would wait for their answers for ever. Nobody closes on a closed loop.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        super().__init__()

    def is_closed(self) -> bool:
        return super().is_closed() or os.getpid() != self._process


async def _stopped(coroutine: Coroutine[Any, Any, Any]) -> None:
    # Found by its coroutine: an interrupt may come after it was handed over and before its future was.
    running = [task for task in asyncio.all_tasks() if task.get_coro() is coroutine]
    for task in running:
        task.cancel()
    if not running:
        coroutine.close()  # never handed over, or done
    if cancelling := [task for task in asyncio.all_tasks() if task.cancelling()]:
        await asyncio.wait(cancelling)


def _run_loop(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        if at_end is not None:
            loop.run_until_complete(at_end())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
