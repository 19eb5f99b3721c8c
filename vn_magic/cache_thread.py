"""The thread that owns the cache: it commits rows in groups and answers look-ups, in the order they came."""

from __future__ import annotations

import asyncio
import atexit
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
        self._queue: SimpleQueue[CachedVector | _Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

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
        # Under the lock until the end: a thread begun meanwhile would take this one's work, and its file.
        with self._lock:
            if self._thread is None:
                return
            self._queue.put(None)
            if self._thread is not threading.current_thread():  # a session may be collected as garbage anywhere
                self._thread.join()
            self._thread = None
            atexit.unregister(self.close)

    def _run(self, work: Callable[[EmbeddingCache], T]) -> Future[T]:
        task = _Task(work, after_commit=True)
        self._put(task)
        return task.future

    def _put(self, item: CachedVector | _Task) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon never holds up a kernel's exit; atexit commits what is left.
                self._thread = threading.Thread(target=self._serve, name="vn_magic cache", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            self._queue.put(item)

    def _serve(self) -> None:
        rows: list[CachedVector] = []
        deadline = 0.0
        while True:
            if len(rows) == COMMIT_ROWS or (rows and time.monotonic() >= deadline):
                self._commit(rows)
            try:
                item = self._queue.get(timeout=max(0.0, deadline - time.monotonic()) if rows else None)
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
