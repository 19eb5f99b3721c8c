"""One gate for all workers: its rate holds in every window, its cool-down holds for everybody."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.paces import started

from vn_magic.gateway.ledger import StartLedger
from vn_magic.gateway.pace import Pace

ORIGIN = "https://gateway.example"


def paced(window: float = 60.0, *, timeout: float = 60.0) -> Pace:
    """A gate whose ledger is its own."""
    return Pace(StartLedger(None, ORIGIN), timeout=timeout, window=window)


async def passing(pace: Pace) -> None:
    async with started(pace):
        pass


async def arrivals_of(pace: Pace, *, workers: int, each: int, longest: float = 0.02) -> list[float]:
    """Let several workers send as fast as the gate lets them; return when their requests arrived, as a server tells.

    A request arrives at any moment between its start and its end.
    """
    arrivals: list[float] = []
    draw = random.Random(7)

    async def work() -> None:
        for _ in range(each):
            async with started(pace):
                await asyncio.sleep(draw.uniform(0, longest))
                arrivals.append(time.monotonic())
                await asyncio.sleep(draw.uniform(0, longest))

    await asyncio.gather(*(work() for _ in range(workers)))
    return sorted(arrivals)


def most_in_a_window(arrivals: list[float], window: float) -> int:
    return max(sum(first <= arrival < first + window for arrival in arrivals) for first in arrivals)


@pytest.mark.parametrize(("limit", "workers", "each"), [(1, 3, 1), (3, 4, 3), (7, 20, 1), (20, 5, 9)])
def test_never_more_arrivals_in_any_window_than_the_limit(limit: int, workers: int, each: int) -> None:
    window = 0.15
    pace = paced(window)
    with pace.limited_to(limit):
        arrivals = asyncio.run(arrivals_of(pace, workers=workers, each=each))
    assert len(arrivals) == workers * each
    assert most_in_a_window(arrivals, window) <= limit


def test_a_limit_is_used_to_the_full() -> None:
    async def take(pace: Pace) -> None:
        async with asyncio.timeout(30):
            for _ in range(20):
                await passing(pace)

    pace = paced(3600)
    with pace.limited_to(20):
        asyncio.run(take(pace))


def test_the_first_window_is_no_exception() -> None:
    pace = paced(0.2)
    with pace.limited_to(5):
        arrivals = asyncio.run(arrivals_of(pace, workers=11, each=1))
    assert arrivals[5] - arrivals[0] > 0.2
    assert arrivals[10] - arrivals[5] > 0.2


@pytest.mark.parametrize("earlier", [4, None])
def test_starts_of_an_earlier_job_count_in_the_next_one_were_they_limited_or_not(earlier: int | None) -> None:
    async def two_jobs() -> list[float]:
        pace = paced(0.3)
        with pace.limited_to(earlier):
            first = await arrivals_of(pace, workers=4, each=1)
        with pace.limited_to(5):
            return first + await arrivals_of(pace, workers=2, each=1)

    arrivals = asyncio.run(two_jobs())
    assert most_in_a_window(arrivals, 0.3) <= 5
    assert arrivals[5] - arrivals[0] > 0.3


def test_requests_under_way_when_a_limit_is_set_count_until_a_window_after_their_end() -> None:
    async def job() -> None:
        pace = paced(0.2)
        last_moment = 0.0

        async def slow() -> None:
            nonlocal last_moment
            async with started(pace):
                await asyncio.sleep(0.1)
                last_moment = time.monotonic()

        under_way = asyncio.create_task(slow())
        await asyncio.sleep(0)
        with pace.limited_to(1):
            await passing(pace)
        assert time.monotonic() >= last_moment + 0.2
        await under_way

    asyncio.run(job())


def test_a_lower_limit_holds_at_once() -> None:
    async def two_jobs() -> list[float]:
        pace = paced(0.2)
        with pace.limited_to(6):
            first = await arrivals_of(pace, workers=6, each=1)
        with pace.limited_to(2):
            return first + await arrivals_of(pace, workers=3, each=1)

    arrivals = asyncio.run(two_jobs())
    # The first start of the second job has one at most of the six before it inside its window.
    assert arrivals[6] - arrivals[4] > 0.2
    assert most_in_a_window(arrivals[5:], 0.2) <= 2


@pytest.mark.parametrize("limits", [(2, 6), (6, 2), (2, None), (2, 2)])
def test_of_several_limits_at_once_the_lowest_holds(limits: tuple[int, int | None]) -> None:
    pace = paced(0.15)
    with pace.limited_to(limits[0]), pace.limited_to(limits[1]):
        arrivals = asyncio.run(arrivals_of(pace, workers=7, each=1))
    assert most_in_a_window(arrivals, 0.15) <= 2


def test_a_limit_goes_with_its_job_and_leaves_the_others_in_force() -> None:
    async def job() -> None:
        pace = paced(3600)
        with pace.limited_to(3):
            with suppress(ValueError), pace.limited_to(1):
                raise ValueError("the job failed")
            async with asyncio.timeout(30):
                for _ in range(3):
                    await passing(pace)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await passing(pace)

    asyncio.run(job())


def test_a_request_that_failed_or_was_cancelled_counts_too() -> None:
    async def job() -> None:
        pace = paced(3600)
        with pace.limited_to(3):
            with suppress(ValueError):
                async with started(pace):
                    raise ValueError("no answer")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01), started(pace):
                    await asyncio.sleep(60)
            await passing(pace)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await passing(pace)

    asyncio.run(job())


def test_without_a_limit_nobody_waits() -> None:
    async def pass_often() -> None:
        pace = paced()
        async with asyncio.timeout(30):
            for _ in range(1000):
                await passing(pace)

    asyncio.run(pass_often())


def test_a_limit_that_is_taken_away_lets_go() -> None:
    async def limited_then_free() -> None:
        pace = paced(3600)
        with pace.limited_to(1):
            await passing(pace)
        async with asyncio.timeout(30):
            await passing(pace)

    asyncio.run(limited_then_free())


# The cool-down


def cooled(job: Callable[[Pace], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await job(paced())

    asyncio.run(run())


def test_a_cool_down_holds_every_worker_those_who_come_later_too() -> None:
    async def job(pace: Pace) -> None:
        over = time.monotonic() + 0.2
        pace.cool_down(0.2)
        passed: list[float] = []

        async def work(delay: float) -> None:
            await asyncio.sleep(delay)
            await passing(pace)
            passed.append(time.monotonic())

        await asyncio.gather(*(work(delay) for delay in (0.0, 0.0, 0.05, 0.1)))
        assert len(passed) == 4
        assert min(passed) >= over

    cooled(job)


def test_of_two_cool_downs_the_longer_one_wins_whichever_comes_first() -> None:
    async def job(pace: Pace) -> None:
        for waits in ((50.0, 10.0), (10.0, 50.0), (50.0, 0.0)):
            for seconds in waits:
                pace.cool_down(seconds)
            assert 40.0 < pace.remaining <= 50.0

    cooled(job)


def test_a_cool_down_that_is_prolonged_holds_those_who_wait_already() -> None:
    async def job(pace: Pace) -> None:
        waiting: asyncio.Task[None] | None = None
        while waiting is None or waiting.done():  # it began when the cool-down was over: this machine stalls
            pace.cool_down(0.05)
            waiting = asyncio.create_task(passing(pace))
            await asyncio.sleep(0)  # it waits now
        over = time.monotonic() + 0.3
        pace.cool_down(0.3)
        await waiting
        assert time.monotonic() >= over

    cooled(job)


def test_a_cool_down_ends() -> None:
    async def job(pace: Pace) -> None:
        assert pace.remaining == 0.0
        pace.cool_down(0.02)
        await passing(pace)
        assert pace.remaining == 0.0

    cooled(job)


def test_a_start_that_waits_for_the_rate_heeds_a_cool_down_that_comes_meanwhile() -> None:
    async def job() -> None:
        pace = paced(0.1)
        with pace.limited_to(1):
            waiting: asyncio.Task[None] | None = None
            while waiting is None or waiting.done():  # as above
                await passing(pace)
                waiting = asyncio.create_task(passing(pace))
                await asyncio.sleep(0)
            over = time.monotonic() + 0.3
            pace.cool_down(0.3)
            await waiting
        assert time.monotonic() >= over

    asyncio.run(job())


def test_whoever_may_not_start_any_more_when_the_turn_comes_is_told_so_and_counts_for_nothing() -> None:
    async def job() -> None:
        pace = paced(3600)
        with pace.limited_to(1):
            crowded = False

            async def told() -> bool:
                async with started(pace, unless=lambda: crowded) as start:
                    return start is not None

            async with pace._turn:  # it is somebody else's
                waiting = asyncio.create_task(told())
                await asyncio.sleep(0)
                crowded = True
            assert await waiting is False
            crowded = False
            async with asyncio.timeout(30):
                assert await told() is True  # the one place of this hour was still free

    asyncio.run(job())


def test_texts_that_a_limit_will_never_admit_together_are_sent_back_instead_of_holding_up_everybody() -> None:
    async def job() -> None:
        pace = paced(3600)
        with pace.limited_to(5):
            async with asyncio.timeout(30):
                assert await pace.start(texts=6) is None
                assert await pace.start(texts=5) is not None

    asyncio.run(job())


def test_a_start_that_was_not_used_does_not_count() -> None:
    async def job() -> None:
        pace = paced(3600)
        with pace.limited_to(1):
            for _ in range(5):
                async with asyncio.timeout(30), started(pace) as start:
                    assert start is not None
                    start.sent = False
            await passing(pace)

    asyncio.run(job())


def test_what_a_killed_kernel_leaves_behind_counts_until_its_request_could_have_ended_and_a_window_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shared" / "rates.sqlite3"

    async def killed() -> None:
        pace = Pace(StartLedger(path, ORIGIN), timeout=0.2, window=0.1)
        with pace.limited_to(1):
            await pace.start()  # and never an end

    async def next_one() -> float:
        pace = Pace(StartLedger(path, ORIGIN), timeout=0.2, window=0.1)
        with pace.limited_to(1):
            async with asyncio.timeout(30):
                await passing(pace)
        return time.monotonic()

    before = time.monotonic()
    asyncio.run(killed())
    assert asyncio.run(next_one()) >= before + 0.3


def test_while_another_kernel_writes_nothing_starts_uncounted_and_an_end_is_noted_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "rates.sqlite3"

    async def job() -> None:
        pace = Pace(StartLedger(path, ORIGIN), timeout=3600, window=0.1)
        await passing(pace)  # before there is a limit
        with pace.limited_to(9):
            await passing(pace)  # makes the file
            writer = sqlite3.connect(path, isolation_level=None)
            first = await pace.start()
            assert first is not None
            writer.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(passing(pace))
            ending = asyncio.create_task(pace.end(first))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            writer.execute("ROLLBACK")
            await waiting
            await ending
            writer.close()
        with pace.limited_to(1):
            async with asyncio.timeout(30):  # all have ended: none of them counts for an hour
                await passing(pace)

    asyncio.run(job())


def test_a_worker_that_is_cancelled_while_it_waits_takes_nobodys_place() -> None:
    async def job() -> None:
        pace = paced(3600)
        with pace.limited_to(1):
            await passing(pace)
            gone = [asyncio.create_task(passing(pace)) for _ in range(20)]
            await asyncio.sleep(0)
            for task in gone:
                task.cancel()
            await asyncio.wait(gone)
        with pace.limited_to(2):
            async with asyncio.timeout(30):  # the second place of this hour is still free
                await passing(pace)

    asyncio.run(job())


def test_no_thread_is_started() -> None:
    async def job() -> None:
        pace = paced(0.05)
        with pace.limited_to(2):
            for _ in range(5):
                await passing(pace)
        pace.cool_down(0.01)
        await passing(pace)

    before = set(threading.enumerate())
    asyncio.run(job())
    assert set(threading.enumerate()) <= before
