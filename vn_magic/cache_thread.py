"""The thread that owns the cache: it commits rows in groups and answers look-ups, in the order they came."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from vn_magic.cache import CachedVector, CacheInfo, Deliver, EmbeddingCache
from vn_magic.keys import CacheKey

T = TypeVar("T")

COMMIT_ROWS = 64
COMMIT_SECONDS = 0.1


@dataclass(slots=True)
class _Task:
    """Work for the thread, and where its result goes."""

    work: Callable[[EmbeddingCache], Any]
    future: Future[Any] = field(default_factory=Future)

    def run(self, cache: EmbeddingCache) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work(cache))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
            self.future.set_exception(error)


class _Question:
    """What many ask for one by one and at about the same time: one query, and one call back to their loop."""

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self._askers: dict[CacheKey, list[asyncio.Future[CachedVector | None]]] = {}

    def ask(self, key: CacheKey) -> asyncio.Future[CachedVector | None]:
        answer: asyncio.Future[CachedVector | None] = self.kind.loop.create_future()
        self._askers.setdefault(key, []).append(answer)
        return answer

    def run(self, cache: EmbeddingCache) -> None:
        keys = list(self._askers)
        found: dict[CacheKey, CachedVector] = {}
        failure: BaseException | None = None
        try:
            cache.look_up(keys, lambda at, cached: found.update({keys[at]: cached}), prefixes=self.kind.prefixes)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the answer is awaited
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.kind.loop.call_soon_threadsafe(self.answer, found, failure)

    def answer(self, found: Mapping[CacheKey, CachedVector], failure: BaseException | None) -> None:
        """Give everybody an answer, on their loop."""
        for key, answers in self._askers.items():
            for answer in (each for each in answers if not each.done()):  # who asked may have been cancelled
                if failure is not None:
                    answer.set_exception(failure)
                else:
                    answer.set_result(found.get(key))


class _Kind(NamedTuple):
    """What those who share a question have in common."""

    loop: asyncio.AbstractEventLoop
    dimension: int
    prefixes: bool


@dataclass(slots=True, eq=False)
class _Group:
    """Rows that are committed together, and their families.

    It is put into the queue twice: when it begins, and when nothing is added any more.
    """

    rows: list[CachedVector] = field(default_factory=list)
    families: set[bytes] = field(default_factory=set)

    def add(self, row: CachedVector) -> None:
        self.families.add(row.key.family)  # first: a row whose family is not known would not be found
        self.rows.append(row)


_Queue = SimpleQueue[_Group | _Task | _Question | None]


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
        self._group: _Group | None = None
        self._question: _Question | None = None
        self._thread: threading.Thread | None = None

    @property
    def notices(self) -> list[str]:
        """Sentences that the user should see once."""
        return self._cache.notices

    def keep(self, row: CachedVector) -> None:
        """Keep a row. Returns at once."""
        with self._lock:
            queue = self._running_queue()
            if self._group is None:
                group = _Group()
                queue.put(group)
                self._group = group
            self._group.add(row)  # wakes nobody: a row that did would cost as much again as its writing
            if len(self._group.rows) >= COMMIT_ROWS:
                self._close_group()

    async def look_up(self, keys: Sequence[CacheKey], deliver: Deliver, *, prefixes: bool) -> None:
        """Do `EmbeddingCache.look_up` in the thread; ``deliver`` is called there."""
        task = _Task(partial(EmbeddingCache.look_up, keys=keys, deliver=deliver, prefixes=prefixes))
        with self._lock:
            queue = self._running_queue()
            self._commit_before(keys)
            queue.put(task)
        await asyncio.wrap_future(task.future)

    async def find(self, key: CacheKey, *, prefixes: bool) -> CachedVector | None:
        """Return a stored vector, as it is once this is called; None where there is none.

        All who ask in one turn of the loop, and until the thread comes to it, share one query: a hop to it and back
        costs more than the look.
        """
        kind = _Kind(asyncio.get_running_loop(), key.dimension, prefixes)
        with self._lock:
            self._running_queue()  # begins anew after a `close`, and knows no question from before
            self._commit_before([key])
            if self._question is None or self._question.kind != kind:
                question = _Question(kind)
                kind.loop.call_soon(self._put, question)  # when all have asked whom this turn of the loop woke
                self._question = question
            answer = self._question.ask(key)
        return await answer

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
        task = _Task(work)
        with self._lock:
            queue = self._running_queue()
            self._close_group()
            queue.put(task)
        return task.future

    def _put(self, question: _Question) -> None:
        try:
            with self._lock:
                self._running_queue().put(question)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the answers are awaited
            with self._lock:
                if self._question is question:
                    self._question = None
            question.answer({}, error)

    def _commit_before(self, keys: Iterable[CacheKey]) -> None:
        """Have a row that is looked for committed first; one commit a look-up would cost more than it saves."""
        if self._group is not None and not self._group.families.isdisjoint(key.family for key in keys):
            self._close_group()

    def _close_group(self) -> None:
        """Have the group committed before anything that is put into the queue from now on."""
        if self._group is not None:
            self._question = None  # it is before the group in the queue, and later askers may look for its rows
        group, self._group = self._group, None
        if group is not None:
            self._queue.put(group)

    def _running_queue(self) -> _Queue:
        if not self._open:
            self._begin()
        return self._queue

    def _begin(self) -> None:
        # A queue for each thread, and known only once the thread runs: wherever Ctrl-C interrupts this or `close`, the
        # next call begins anew, and neither waits for a thread that is gone nor works beside one that is not.
        queue: _Queue = SimpleQueue()
        thread = threading.Thread(target=self._serve, args=(queue, self._thread), name="vn_magic cache", daemon=True)
        self._queue.put(None)  # perhaps `close` could not tell the thread before
        thread.start()
        self._group = self._question = None
        self._queue, self._thread, self._open = queue, thread, True
        atexit.register(self.close)  # commits what is left: a daemon never holds up a kernel's exit

    def _serve(self, queue: _Queue, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()  # the cache is used by one thread at a time
        group = _Group()
        deadline: float | None = None
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                # A group is committed in time however much is waiting in the queue.
                item = queue.get(timeout=left) if left is None or left > 0 else group
            except Empty:
                item = group
            if item is group:
                with self._lock:
                    if self._group is group:
                        self._group = None
            if isinstance(item, _Group):
                self._commit(group)
                deadline = None if item is group else time.monotonic() + COMMIT_SECONDS
                group = item
            elif item is None:
                self._commit(group)
                self._cache.close()
                return
            else:
                with self._lock:
                    if self._question is item:
                        self._question = None
                item.run(self._cache)

    def _commit(self, group: _Group) -> None:
        if group.rows:
            self._cache.keep(group.rows)
            group.rows.clear()
