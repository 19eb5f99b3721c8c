"""One gate for all workers: its rate holds in every window, its cool-down holds for everybody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from vn_magic.gateway import pace as pace_module
from vn_magic.gateway.pace import Pace


class Clock:
    """The real clock, which remembers what it last told.

    Between the gate's look at the clock and the worker's return the machine may pause for as long as it likes;
    what was told is the moment that was counted.
    """

    def __init__(self) -> None:
        self.told_ns = 0

    def monotonic_ns(self) -> int:
        self.told_ns = time.monotonic_ns()
        return self.told_ns

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


async def starts_of(pace: Pace, clock: Clock, *, workers: int, each: int) -> list[float]:
    """Let several workers pass the gate as fast as it lets them; return the moments of all starts, in seconds."""
    starts: list[float] = []

    async def work() -> None:
        for _ in range(each):
            await pace.admit()
            starts.append(clock.told_ns / 1e9)

    await asyncio.gather(*(work() for _ in range(workers)))
    return starts


def most_in_a_window(starts: list[float], window: float) -> int:
    return max(sum(first <= start < first + window for start in starts) for first in starts)


@pytest.mark.parametrize(("limit", "workers", "each"), [(1, 3, 1), (3, 4, 3), (7, 20, 1), (20, 5, 9)])
def test_never_more_starts_in_any_window_than_the_limit(clock: Clock, limit: int, workers: int, each: int) -> None:
    window = 0.15
    pace = Pace(window=window)
    with pace.limited_to(limit):
        starts = asyncio.run(starts_of(pace, clock, workers=workers, each=each))
    assert len(starts) == workers * each
    assert most_in_a_window(starts, window) == limit


def test_the_first_window_is_no_exception(clock: Clock) -> None:
    pace = Pace(window=0.2)
    with pace.limited_to(5):
        starts = asyncio.run(starts_of(pace, clock, workers=11, each=1))
    assert starts[5] - starts[0] > 0.2
    assert starts[10] - starts[5] > 0.2


@pytest.mark.parametrize("earlier", [4, None])
def test_starts_of_an_earlier_job_count_in_the_next_one_were_they_limited_or_not(
    clock: Clock, earlier: int | None
) -> None:
    async def two_jobs() -> list[float]:
        pace = Pace(window=0.3)
        with pace.limited_to(earlier):
            first = await starts_of(pace, clock, workers=4, each=1)
        with pace.limited_to(5):
            return first + await starts_of(pace, clock, workers=2, each=1)

    starts = asyncio.run(two_jobs())
    assert most_in_a_window(starts, 0.3) <= 5
    assert starts[5] - starts[0] > 0.3


def test_a_lower_limit_holds_at_once(clock: Clock) -> None:
    async def two_jobs() -> list[float]:
        pace = Pace(window=0.2)
        with pace.limited_to(6):
            first = await starts_of(pace, clock, workers=6, each=1)
        with pace.limited_to(2):
            return first + await starts_of(pace, clock, workers=3, each=1)

    starts = asyncio.run(two_jobs())
    # The first start of the second job has one at most of the six before it inside its window.
    assert starts[6] - starts[4] > 0.2
    assert most_in_a_window(starts[5:], 0.2) <= 2


@pytest.mark.parametrize("limits", [(2, 6), (6, 2), (2, None), (2, 2)])
def test_of_several_limits_at_once_the_lowest_holds(clock: Clock, limits: tuple[int, int | None]) -> None:
    pace = Pace(window=0.15)
    with pace.limited_to(limits[0]), pace.limited_to(limits[1]):
        starts = asyncio.run(starts_of(pace, clock, workers=7, each=1))
    assert most_in_a_window(starts, 0.15) == 2


def test_a_limit_goes_with_its_job_and_leaves_the_others_in_force(clock: Clock) -> None:
    pace = Pace(window=0.15)
    with pace.limited_to(3):
        with suppress(ValueError), pace.limited_to(1):
            raise ValueError("the job failed")
        starts = asyncio.run(starts_of(pace, clock, workers=7, each=1))
    assert most_in_a_window(starts, 0.15) == 3


def test_without_a_limit_nobody_waits() -> None:
    async def pass_often() -> None:
        pace = Pace()
        async with asyncio.timeout(30):
            for _ in range(1000):
                await pace.admit()

    asyncio.run(pass_often())


def test_a_limit_that_is_taken_away_lets_go() -> None:
    async def limited_then_free() -> None:
        pace = Pace(window=3600)
        with pace.limited_to(1):
            await pace.admit()
        async with asyncio.timeout(30):
            await pace.admit()

    asyncio.run(limited_then_free())


# The cool-down


def cooled(job: Callable[[Pace], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await job(Pace())

    asyncio.run(run())


def test_a_cool_down_holds_every_worker_those_who_come_later_too() -> None:
    async def job(pace: Pace) -> None:
        over = time.monotonic() + 0.2
        pace.cool_down(0.2)
        passed: list[float] = []

        async def work(delay: float) -> None:
            await asyncio.sleep(delay)
            await pace.admit()
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
        pace.cool_down(0.05)
        waiting = asyncio.create_task(pace.admit())
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
        await pace.admit()
        assert pace.remaining == 0.0

    cooled(job)


def test_a_start_that_waits_for_the_rate_heeds_a_cool_down_that_comes_meanwhile(clock: Clock) -> None:
    async def job() -> None:
        pace = Pace(window=0.1)
        with pace.limited_to(1):
            await pace.admit()
            waiting = asyncio.create_task(pace.admit())
            await asyncio.sleep(0)
            over = time.monotonic() + 0.3
            pace.cool_down(0.3)
            await waiting
        assert clock.told_ns / 1e9 >= over

    asyncio.run(job())


def test_a_worker_that_is_cancelled_while_it_waits_takes_nobodys_place() -> None:
    async def job() -> None:
        pace = Pace(window=3600)
        with pace.limited_to(1):
            await pace.admit()
            gone = [asyncio.create_task(pace.admit()) for _ in range(20)]
            await asyncio.sleep(0)
            for task in gone:
                task.cancel()
            await asyncio.wait(gone)
        with pace.limited_to(2):
            async with asyncio.timeout(30):  # the second place of this hour is still free
                await pace.admit()

    asyncio.run(job())


def test_no_thread_is_started() -> None:
    async def job() -> None:
        pace = Pace(window=0.05)
        with pace.limited_to(2):
            for _ in range(5):
                await pace.admit()
        pace.cool_down(0.01)
        await pace.admit()

    before = set(threading.enumerate())
    asyncio.run(job())
    assert set(threading.enumerate()) <= before
