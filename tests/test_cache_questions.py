"""Rows that are asked for one by one: all who wait share few queries, and each gets its own answer."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support.cached import held_up, row
from support.interrupts import interrupted_at_line

from vn_magic import cache_thread
from vn_magic.cache import CachedVector, Deliver, EmbeddingCache
from vn_magic.cache_thread import COMMIT_ROWS, CacheThread
from vn_magic.keys import CacheKey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Iterator[CacheThread]:
    cache = CacheThread(EmbeddingCache(folder))
    yield cache
    cache.close()


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """What the thread asks the cache for, a list of keys each time."""
    asked: list[list[bytes]] = []
    look_up = EmbeddingCache.look_up

    def noted(self: EmbeddingCache, keys: Sequence[CacheKey], deliver: Deliver, *, prefixes: bool) -> None:
        asked.append([key.family for key in keys])
        look_up(self, keys, deliver, prefixes=prefixes)

    monkeypatch.setattr(EmbeddingCache, "look_up", noted)
    return asked


def found(
    cache: CacheThread, *rows: CachedVector, prefixes: Sequence[bool] = (False,), free: threading.Event | None = None
) -> list[CachedVector | None]:
    """Ask for each row on its own; ``free`` is set when all have asked and nobody can have been answered."""

    async def find_all() -> list[CachedVector | None]:
        wishes = zip(rows, itertools.cycle(prefixes), strict=False)
        asking = [asyncio.create_task(cache.find(row.key, prefixes=some)) for row, some in wishes]
        await asyncio.sleep(0)
        if free is not None:
            free.set()
        return await asyncio.gather(*asking)

    return asyncio.run(find_all())


def test_each_who_asks_gets_the_row_of_its_own_key_or_none(cache: CacheThread) -> None:
    for number in (1, 3):
        cache.keep(row(number))
    first, nothing, third = found(cache, row(1), row(2), row(3))
    assert (first, third) != (None, None)
    assert [part.vector[0] for part in (first, third) if part is not None] == [1, 3]
    assert nothing is None


def test_all_who_ask_while_the_thread_is_busy_share_one_query(cache: CacheThread, queries: list[list[bytes]]) -> None:
    for number in range(0, 20, 2):
        cache.keep(row(number))
    answers = found(cache, *map(row, range(20)), free=held_up(cache))
    assert [answer is not None for answer in answers] == [number % 2 == 0 for number in range(20)]
    assert [len(keys) for keys in queries] == [20]


def test_all_who_ask_in_one_turn_of_the_loop_share_one_query_though_the_thread_is_free(
    cache: CacheThread, queries: list[list[bytes]]
) -> None:
    async def ask(number: int) -> CachedVector | None:
        cache.info()  # the thread has done all that it was given
        return await cache.find(row(number).key, prefixes=False)

    async def ask_all() -> list[CachedVector | None]:
        return await asyncio.gather(*map(ask, range(20)))

    assert asyncio.run(ask_all()) == [None] * 20
    assert [len(keys) for keys in queries] == [20]


def test_a_question_that_is_asked_just_before_the_cache_is_closed_is_answered(cache: CacheThread) -> None:
    cache.keep(row(1))

    async def ask() -> CachedVector | None:
        asking = asyncio.create_task(cache.find(row(1).key, prefixes=False))
        await asyncio.sleep(0)
        cache.close()
        return await asyncio.wait_for(asking, 20)

    assert asyncio.run(ask()) is not None


def test_a_question_that_cannot_be_handed_over_fails_and_the_next_one_is_answered(
    cache: CacheThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.keep(row(1))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def ask() -> CachedVector | None:
        asking = asyncio.create_task(cache.find(row(1).key, prefixes=False))
        await asyncio.sleep(0)
        cache.close()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="start new thread"):
                await asyncio.wait_for(asking, 20)
        return await asyncio.wait_for(cache.find(row(1).key, prefixes=False), 20)

    assert asyncio.run(ask()) is not None


def test_a_row_whose_keeping_is_interrupted_at_any_line_is_found_where_it_was_kept(folder: Path) -> None:
    for number in itertools.count():
        cache = CacheThread(EmbeddingCache(folder / str(number)))
        interrupted = interrupted_at_line(number, cache_thread, partial(cache.keep, row(1)))
        kept = asyncio.run(cache.find(row(1).key, prefixes=False)) is not None
        assert kept == (cache.info().rows == 1), number
        cache.close()
        if not interrupted:
            break
    assert number > 10


def test_two_who_ask_for_the_same_row_both_get_it(cache: CacheThread, queries: list[list[bytes]]) -> None:
    cache.keep(row(1))
    assert all(answer is not None for answer in found(cache, row(1), row(1), free=held_up(cache)))
    assert queries == [[b"1"]]


def test_a_row_that_waits_for_its_commit_is_found_by_who_asks_for_it_alone(
    cache: CacheThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 3600.0)
    cache.keep(row(1))
    assert found(cache, row(1)) != [None]


def test_a_row_that_is_kept_while_a_question_waits_is_found_by_who_asks_for_it_next(
    cache: CacheThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not join the question, which is answered before the row is committed."""
    monkeypatch.setattr(cache_thread, "COMMIT_SECONDS", 3600.0)

    async def ask(keep: range) -> tuple[CachedVector | None, CachedVector | None]:
        free = held_up(cache)
        first = asyncio.create_task(cache.find(row(-1).key, prefixes=False))
        await asyncio.sleep(0)
        for number in keep:
            cache.keep(row(number))
        second = asyncio.create_task(cache.find(row(keep[0]).key, prefixes=False))
        await asyncio.sleep(0)
        free.set()
        return await first, await second

    for keep in (range(1), range(100, 100 + COMMIT_ROWS)):  # one that waits, and a whole group on its way
        first, second = asyncio.run(ask(keep))
        assert first is None
        assert second is not None


def test_what_is_committed_by_others_before_somebody_asks_is_found(cache: CacheThread, folder: Path) -> None:
    async def ask() -> tuple[CachedVector | None, CachedVector | None]:
        before = await cache.find(row(1).key, prefixes=False)
        with closing(EmbeddingCache(folder)) as other:
            other.keep([row(1)])
        return before, await asyncio.wait_for(cache.find(row(1).key, prefixes=False), 20)

    before, after = asyncio.run(ask())
    assert before is None
    assert after is not None


def test_those_who_want_vectors_of_another_length_or_take_prefixes_are_answered_apart(cache: CacheThread) -> None:
    cache.keep(row(1, dimension=8))
    wishes = (row(1, 4), row(1, 4), row(1, 8))
    answers = found(cache, *wishes, prefixes=(False, True, False), free=held_up(cache))
    assert [answer and len(answer.vector) for answer in answers] == [None, 8, 8]


def test_one_who_is_cancelled_leaves_the_others_their_answers(cache: CacheThread) -> None:
    cache.keep(row(1))
    free = held_up(cache)

    async def ask() -> CachedVector | None:
        gone, stays = (asyncio.create_task(cache.find(row(1).key, prefixes=False)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        free.set()
        return await stays

    assert asyncio.run(ask()) is not None


def test_what_goes_wrong_in_a_shared_query_is_raised_where_each_waits(
    cache: CacheThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(EmbeddingCache, "look_up", fail)

    async def ask() -> list[object]:
        finds = (cache.find(row(number).key, prefixes=False) for number in range(2))
        return await asyncio.gather(*finds, return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(ask())] == [MemoryError, MemoryError]
    monkeypatch.undo()
    assert found(cache, row(1)) == [None]


def test_a_loop_that_is_gone_before_its_answer_comes_ends_nothing_else(cache: CacheThread) -> None:
    free = held_up(cache)

    async def leave() -> None:
        asking = asyncio.create_task(cache.find(row(1).key, prefixes=False))
        await asyncio.sleep(0)
        asking.cancel()

    asyncio.run(leave())
    free.set()
    assert cache.info().rows == 0
