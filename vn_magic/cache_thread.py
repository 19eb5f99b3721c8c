"""The thread that owns the cache: it commits rows in groups and answers look-ups, in the order they came."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from vn_magic.cache import CachedVector, CacheInfo, Deliver, EmbeddingCache
from vn_magic.keys import CacheKey

T = TypeVar("T")

COMMIT_ROWS = 64
COMMIT_SECONDS = 0.1


@dataclass(slots=True)
class _Task:
    """Work for the thread, and where its result goes. Rows of ``wanted`` families are committed before it."""

    work: Callable[[EmbeddingCache], Any]
    after_commit: bool
    wanted: AbstractSet[bytes] = frozenset()
    future: Future[Any] = field(default_factory=Future)

    def run(self, cache: EmbeddingCache) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work(cache))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
            self.future.set_exception(error)


_Queue = SimpleQueue[CachedVector | _Task | None]


class CacheThread:
    """An `EmbeddingCache` that several threads and an event loop may use.

    The thread starts with the first call and ends with `close` or the process. A row handed to `keep` is
    committed at most 64 rows or 100 ms later, also when the job that brought it is cancelled.

    Parameters
    ----------
    cache
        Used by this thread alone from now on.
    """

    def __init__(self, cache: EmbeddingCache) -> None:
        self._cache = cache
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._open = False
        self._queue: _Queue = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def notices(self) -> list[str]:
        """Sentences that the user should see once."""
        return self._cache.notices

    def keep(self, row: CachedVector) -> None:
        """Keep a row. Returns at once."""
        self._put(row)

    async def look_up(self, keys: Sequence[CacheKey], deliver: Deliver, *, prefixes: bool) -> None:
        """Do `EmbeddingCache.look_up` in the thread; ``deliver`` is called there."""
        look_up = partial(EmbeddingCache.look_up, keys=keys, deliver=deliver, prefixes=prefixes)
        # Only where such a row waits for its commit: one for every look-up would cost more than it saves.
        task = _Task(look_up, after_commit=False, wanted=frozenset(key.family for key in keys))
        self._put(task)
        await asyncio.wrap_future(task.future)

    async def flush(self) -> None:
        """Return when every row handed over so far is committed."""
        await asyncio.wrap_future(self._run(lambda _: None))

    def info(self) -> CacheInfo:
        """Return where the cache is and how much it holds."""
        return self._run(EmbeddingCache.info).result()

    def clear(self) -> int:
        """Forget everything; return the number of rows that were there."""
        return self._run(EmbeddingCache.clear).result()

    def close(self) -> None:
        """Commit what is left and let go of the file. The next call opens it again."""
        if self._process != os.getpid():
            return  # a forked child has no such thread, and perhaps a lock that nobody will ever let go
        thread = self.end()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def end(self) -> threading.Thread | None:
        """Do as `close` and wait for nothing; return the thread, which ends when all is committed."""
        with self._lock:
            self._open = False
            self._queue.put(None)
            thread = self._thread
        atexit.unregister(self.close)
        return thread

    def _run(self, work: Callable[[EmbeddingCache], T]) -> Future[T]:
        task = _Task(work, after_commit=True)
        self._put(task)
        return task.future

    def _put(self, item: CachedVector | _Task) -> None:
        with self._lock:
            if not self._open:
                self._begin()
            self._queue.put(item)

    def _begin(self) -> None:
        # A queue for each thread, and known only once the thread runs: wherever Ctrl-C interrupts this or `close`, the
        # next call begins anew, and neither waits for a thread that is gone nor works beside one that is not.
        queue: _Queue = SimpleQueue()
        thread = threading.Thread(target=self._serve, args=(queue, self._thread), name="vn_magic cache", daemon=True)
        self._queue.put(None)  # perhaps `close` could not tell the thread before
        thread.start()
        self._queue, self._thread, self._open = queue, thread, True
        atexit.register(self.close)  # commits what is left: a daemon never holds up a kernel's exit

    def _serve(self, queue: _Queue, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()  # the cache is used by one thread at a time
        rows: list[CachedVector] = []
        deadline = 0.0
        while True:
            if len(rows) == COMMIT_ROWS or (rows and time.monotonic() >= deadline):
                self._commit(rows)
            try:
                item = queue.get(timeout=max(0.0, deadline - time.monotonic()) if rows else None)
            except Empty:
                continue
            if isinstance(item, CachedVector):
                deadline = deadline if rows else time.monotonic() + COMMIT_SECONDS
                rows.append(item)
            elif item is None:
                self._commit(rows)
                self._cache.close()
                return
            else:
                if item.after_commit or not item.wanted.isdisjoint(row.key.family for row in rows):
                    self._commit(rows)
                item.run(self._cache)

    def _commit(self, rows: list[CachedVector]) -> None:
        if rows:
            self._cache.keep(rows)
            rows.clear()
