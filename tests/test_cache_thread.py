"""The thread that owns the cache: what is finished is soon on disk, and stays there whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pytest
from support.cached import held_up, row, rows_on_disk
from support.engine import output_of, python
from support.interrupts import interrupted_at_line
from support.waiting import until

from vn_magic import Session, cache_thread
from vn_magic.cache import CachedVector, EmbeddingCache
from vn_magic.cache_thread import COMMIT_ROWS, COMMIT_SECONDS, CacheThread

THREAD_NAME = "vn_magic cache"
PREAMBLE = """
import os, sys, time
from pathlib import Path
import numpy as np
from vn_magic.cache import CachedVector, EmbeddingCache
from vn_magic.cache_thread import CacheThread
from vn_magic.keys import CacheKey

def row(number):
    return CachedVector(CacheKey(b"%d" % number, 4), np.full(4, number, np.float32), "source")

cache = CacheThread(EmbeddingCache(Path(sys.argv[1])))
"""


def numbers_in(cache: CacheThread, wanted: range) -> set[int]:
    hits: set[int] = set()

    def deliver(at: int, cached: CachedVector) -> None:
        assert cached.vector[0] == wanted[at]
        hits.add(wanted[at])

    asyncio.run(cache.look_up([row(number).key for number in wanted], deliver, prefixes=False))
    return hits


def threads() -> set[threading.Thread]:
    """Those of sessions that were dropped earlier are among them, and may end at any time."""
    return {thread for thread in threading.enumerate() if thread.name == THREAD_NAME}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Iterator[CacheThread]:
    cache = CacheThread(EmbeddingCache(folder))
    yield cache
    cache.close()


def test_there_is_no_thread_and_no_file_before_the_first_use(folder: Path) -> None:
    before = threads()
    cache = CacheThread(EmbeddingCache(folder))
    session = Session(offline=True)
    assert cache.notices == []
    cache.close()
    session.close()
    assert threads() <= before
    assert not folder.exists()


def test_the_thread_ends_with_close(folder: Path) -> None:
    before = threads()
    cache = CacheThread(EmbeddingCache(folder))
    cache.keep(row(1))
    assert len(threads() - before) == 1
    cache.close()
    assert threads() <= before


def test_what_is_promised_is_64_rows_and_a_tenth_of_a_second() -> None:
    assert (COMMIT_ROWS, COMMIT_SECONDS) == (64, 0.1)


def test_rows_are_committed_at_most_64_behind(
    cache: CacheThread, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 3600.0)
    for number in range(COMMIT_ROWS - 1):
        cache.keep(row(number))
    assert numbers_in(cache, range(COMMIT_ROWS, 2 * COMMIT_ROWS)) == set()  # the thread has taken them all and waits
    assert rows_on_disk(folder) == 0
    for number in range(COMMIT_ROWS - 1, 2 * COMMIT_ROWS + 10):
        cache.keep(row(number))
    until(lambda: rows_on_disk(folder) == 2 * COMMIT_ROWS)


def test_a_row_that_waits_for_its_commit_is_found(cache: CacheThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 3600.0)
    cache.keep(row(1))
    assert numbers_in(cache, range(3)) == {1}


def test_a_row_is_committed_in_time_when_no_other_follows(
    cache: CacheThread, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_thread, "COMMIT_ROWS", 10**9)
    cache.keep(row(1))
    until(lambda: rows_on_disk(folder) == 1)


def test_a_row_is_committed_in_time_while_rows_and_questions_pour_in(
    cache: CacheThread, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_thread, "COMMIT_ROWS", 10**9)
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 0.01)
    enough = threading.Event()

    def pour() -> None:
        number = 0
        while not enough.is_set():
            cache.keep(row(number))
            numbers_in(cache, range(number, number + 1))
            number += 1

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        until(lambda: rows_on_disk(folder) > 0)
    finally:
        enough.set()
        pouring.join()


def test_flush_returns_when_every_row_is_committed(
    cache: CacheThread, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 3600.0)
    for number in range(10):
        cache.keep(row(number))
    asyncio.run(cache.flush())
    assert rows_on_disk(folder) == 10


def test_close_commits_the_rest_and_the_next_call_opens_again(cache: CacheThread, folder: Path) -> None:
    for round_ in range(3):
        cache.keep(row(round_))
        cache.close()
        assert rows_on_disk(folder) == round_ + 1
    assert numbers_in(cache, range(4)) == {0, 1, 2}


def test_info_and_clear_count_rows_that_were_handed_over_before(cache: CacheThread, folder: Path) -> None:
    for number in range(5):
        cache.keep(row(number))
    assert cache.info().rows == 5
    cache.keep(row(5))
    assert cache.clear() == 6
    assert rows_on_disk(folder) == 0


def test_an_error_reaches_the_one_who_asked_and_the_thread_lives_on(cache: CacheThread) -> None:
    def fail(_at: int, _cached: CachedVector) -> None:
        raise ZeroDivisionError

    cache.keep(row(1))
    asyncio.run(cache.flush())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(cache.look_up([row(1).key], fail, prefixes=False))
    assert numbers_in(cache, range(3)) == {1}


def test_a_question_that_nobody_waits_for_any_more_does_no_harm(cache: CacheThread) -> None:
    cache.keep(row(1))

    async def give_up() -> None:
        asked = asyncio.ensure_future(cache.look_up([row(1).key], lambda _at, _cached: None, prefixes=False))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(give_up())
    assert cache.info().rows == 1


def test_several_threads_keep_and_look_up_at_once(cache: CacheThread) -> None:
    seen: list[set[int]] = []

    def work(first: int) -> None:
        mine = range(first, first + 200)
        for number in mine:
            cache.keep(row(number))
        asyncio.run(cache.flush())
        seen.append(numbers_in(cache, mine))

    workers = [threading.Thread(target=work, args=(first,)) for first in (0, 1000, 2000)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(map(len, seen)) == [200, 200, 200]
    assert cache.info().rows == 600
    assert cache.notices == []


def test_closing_while_others_keep_loses_no_row_and_leaves_one_thread(folder: Path) -> None:
    before = threads()
    cache = CacheThread(EmbeddingCache(folder))
    closed = threading.Event()
    kept: list[int] = []

    def keep(first: int) -> None:
        number = first
        while not closed.is_set():
            cache.keep(row(number))
            number += 1
            numbers_in(cache, range(number, number + 1))  # a pause, as long as the thread takes for it
        kept.append(number - first)

    keepers = [threading.Thread(target=keep, args=(first,)) for first in (0, 10**6)]
    for keeper in keepers:
        keeper.start()
    most = 0
    for _ in range(40):
        until(lambda: not threads() <= before)
        cache.close()
        most = max(most, len(threads() - before))
    closed.set()
    for keeper in keepers:
        keeper.join()
    cache.close()
    assert rows_on_disk(folder) == sum(kept)
    assert most <= 1
    assert threads() <= before


def test_an_interrupt_at_any_line_of_opening_and_closing_loses_no_row_and_never_hangs(folder: Path) -> None:
    for number in itertools.count():
        cache = CacheThread(EmbeddingCache(folder))

        def use(number: int = number, cache: CacheThread = cache) -> None:
            cache.info()
            cache.keep(row(number))
            cache.close()

        interrupted = interrupted_at_line(number, cache_thread, use)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(cache.clear).result(20) <= 1  # what was interrupted before it was kept is not there
            cache.keep(row(number))
            assert pool.submit(cache.info).result(20).rows == 1
            assert cache.clear() == 1
        cache.close()
        if not interrupted:
            break
    assert number > 20


def test_a_close_that_is_interrupted_while_it_waits_is_made_good_by_the_next_call(
    cache: CacheThread, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, commit, before = threading.Event(), EmbeddingCache.keep, threads()

    def slowly(self: EmbeddingCache, rows: Iterable[CachedVector]) -> None:
        slow.wait(20)
        commit(self, rows)

    monkeypatch.setattr(EmbeddingCache, "keep", slowly)
    cache.keep(row(1))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            cache.close()
    cache.keep(row(2))
    assert len(threads() - before) == 2  # the one that still commits, and the one that waits for its end
    slow.set()
    assert cache.info().rows == rows_on_disk(folder) == 2
    assert len(threads() - before) == 1


def _interrupt(_thread: threading.Thread) -> None:
    raise KeyboardInterrupt


def test_rows_reported_committed_survive_the_death_of_the_process(folder: Path) -> None:
    script = (
        PREAMBLE
        + """
import asyncio
number = 0
while True:
    for _ in range(7):
        cache.keep(row(number))
        number += 1
    asyncio.run(cache.flush())
    print(number, flush=True)
"""
    )
    with python(script, str(folder)) as process:
        assert process.stdout is not None
        reported = 0
        while reported < 350:
            reported = int(process.stdout.readline())
        process.kill()  # SIGKILL, in the middle of whatever it does
        rest, _ = process.communicate(timeout=20)
    # A first line may have been read in part before, a last one may be cut by the kill.
    reported = max([reported, *map(int, filter(None, rest.split("\n")[:-1]))])
    cache = CacheThread(EmbeddingCache(folder))
    assert numbers_in(cache, range(reported)) == set(range(reported))
    assert cache.notices == []
    cache.close()


def test_rows_kept_a_moment_before_the_death_of_the_process_are_lost_one_by_one_only(folder: Path) -> None:
    """Without a flush, 64 rows or a tenth of a second may be missing, and what is there is right."""
    script = (
        PREAMBLE
        + """
for number in range(1000):
    cache.keep(row(number))
print(cache.info().rows, flush=True)
for number in range(1000, 1040):
    cache.keep(row(number))
print("kept", flush=True)
time.sleep(60)
"""
    )
    with python(script, str(folder)) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["1000\n", "kept\n"]
        process.kill()
    cache = CacheThread(EmbeddingCache(folder))
    kept = numbers_in(cache, range(1040))
    assert kept >= set(range(1000))
    assert kept == set(range(len(kept)))
    assert cache.notices == []
    cache.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_ends_though_another_thread_was_in_the_midst_of_using_the_cache(folder: Path) -> None:
    script = (
        PREAMBLE
        + """
import signal, threading
cache.keep(row(1))
inside, forked = threading.Event(), threading.Event()

def use():
    with cache._lock:
        inside.set()
        forked.wait()

threading.Thread(target=use).start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    sys.exit(0)  # through atexit
forked.set()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert output_of(script, str(folder)) == "0\n"
    assert rows_on_disk(folder) == 1


@pytest.mark.parametrize("ending", ["sys.exit(0)", "1 / 0"])
def test_what_is_left_is_committed_when_the_interpreter_ends(folder: Path, ending: str) -> None:
    script = (
        PREAMBLE
        + f"""
import vn_magic.cache_thread
vn_magic.cache_thread.COMMIT_SECONDS = 3600.0
for number in range(10):
    cache.keep(row(number))
{ending}
"""
    )
    with python(script, str(folder)) as process:
        process.communicate(timeout=60)
    assert rows_on_disk(folder) == 10


def test_a_cache_that_was_closed_in_time_does_not_hold_up_the_end_of_the_interpreter(folder: Path) -> None:
    script = (
        PREAMBLE
        + """
cache.keep(row(1))
cache.close()
cache.keep(row(2))
cache.close()
print("done")
"""
    )
    assert output_of(script, str(folder)) == "done\n"
    assert rows_on_disk(folder) == 2


# What wakes the thread


def test_rows_of_a_group_wake_the_thread_at_its_beginning_and_its_end_only(
    cache: CacheThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    keep = EmbeddingCache.keep
    woken: list[object] = []

    class NotedQueue(SimpleQueue[object]):
        def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:
            woken.append(item)
            super().put(item, block, timeout)

    def noted(self: EmbeddingCache, rows: Iterable[CachedVector]) -> None:
        rows = list(rows)
        commits.append(len(rows))
        keep(self, rows)

    monkeypatch.setattr(EmbeddingCache, "keep", noted)
    monkeypatch.setattr(cache_thread, "SimpleQueue", NotedQueue)
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 3600.0)
    for number in range(5 * COMMIT_ROWS):
        cache.keep(row(number))
    assert len([item for item in woken if item is not None]) == 2 * 5
    assert cache.info().rows == 5 * COMMIT_ROWS
    assert commits == [COMMIT_ROWS] * 5


def test_rows_that_come_one_by_one_with_pauses_are_each_committed_in_time(cache: CacheThread, folder: Path) -> None:
    def are_committed(rows: int) -> bool:
        return rows_on_disk(folder) == rows

    for number in range(3):
        cache.keep(row(number))
        until(partial(are_committed, number + 1))


def test_a_thread_with_nothing_to_do_sleeps_until_it_is_called(
    cache: CacheThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    class NotedQueue(SimpleQueue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            waits.append(timeout)
            return super().get(block, timeout)

    monkeypatch.setattr(cache_thread, "SimpleQueue", NotedQueue)
    cache.keep(row(1))
    assert cache.info().rows == 1
    until(lambda: waits[-1] is None)


def test_rows_kept_after_a_clear_was_asked_for_stay(cache: CacheThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 3600.0)
    cache.keep(row(1))
    free = held_up(cache)
    with ThreadPoolExecutor(1) as pool:
        queued = threading.Event()
        run = cache._run

        def noted(work: Callable[[EmbeddingCache], int]) -> object:
            future = run(work)
            queued.set()
            return future

        monkeypatch.setattr(cache, "_run", noted)
        cleared = pool.submit(cache.clear)
        assert queued.wait(20)
        cache.keep(row(2))
        free.set()
        assert cleared.result(20) == 1
    assert numbers_in(cache, range(1, 3)) == {2}


def test_a_row_is_committed_in_time_however_many_look_ups_are_waiting(tmp_path: Path) -> None:
    cache = CacheThread(EmbeddingCache(tmp_path))
    seen: list[int] = []

    def take_time(_at: int, _cached: CachedVector) -> None:
        seen.append(rows_on_disk(tmp_path))
        time.sleep(COMMIT_SECONDS / 2)

    async def look_up_at_once() -> None:
        await cache.flush()
        assert rows_on_disk(tmp_path) == 10
        free = held_up(cache)
        cache.keep(row(1))
        wanted = [[row(number).key] for number in range(100, 110)]
        asking = asyncio.gather(*(cache.look_up(keys, take_time, prefixes=False) for keys in wanted))
        await asyncio.sleep(0)
        free.set()  # all are waiting
        await asking

    for number in range(100, 110):
        cache.keep(row(number))
    asyncio.run(look_up_at_once())
    cache.close()
    assert seen[-1] == 11  # before the last of them, which began four times as late as it had to be
