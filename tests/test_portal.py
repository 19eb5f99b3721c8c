"""A coroutine from synchronous code: its result, its exception, and its end when somebody presses Stop."""

from __future__ import annotations

import _thread
import asyncio
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from support.interrupts import interrupted_at_line

import vn_magic
from vn_magic import portal as portal_module
from vn_magic.portal import Portal

HANG = 30  # seconds after which a test that should never wait is known to hang


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give clean-ups all the time they need, however busy the machine is."""
    monkeypatch.setattr(portal_module, "CANCEL_SECONDS", HANG)


def loop_threads() -> set[threading.Thread]:
    """Those of sessions that were dropped earlier are among them, and may end at any time."""
    return {thread for thread in threading.enumerate() if thread.name == "vn_magic loop"}


class Job:
    """Runs until it is cancelled, then needs a few turns of the loop to clean up."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cleaned = threading.Event()

    async def run(self) -> None:
        try:
            self.started.set()
            await asyncio.sleep(3600)
        finally:
            for _ in range(5):
                await asyncio.sleep(0.005)
            self.cleaned.set()


def run_and_interrupt(portal: Portal, *jobs: Coroutine[Any, Any, None]) -> None:
    """Run the jobs, and press Stop in this thread once it waits for them: its first tick says that it does."""
    ticked = threading.Event()

    async def press_stop() -> None:
        await asyncio.to_thread(ticked.wait, HANG)
        _thread.interrupt_main()

    async def all_of_them() -> None:
        await asyncio.gather(press_stop(), *jobs)

    portal.run(all_of_them(), on_tick=ticked.set)


# What comes back


def test_returns_what_the_coroutine_returns(portal: Portal) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert portal.run(answer()) == 42


@pytest.mark.parametrize("kind", [ValueError, TimeoutError, OSError])
def test_raises_what_the_coroutine_raises_a_timeout_of_its_own_too(portal: Portal, kind: type[Exception]) -> None:
    ticked = threading.Event()

    async def fail() -> None:
        await asyncio.to_thread(ticked.wait, HANG)  # past the first look at it
        raise kind("its own")

    with pytest.raises(kind, match=r"^its own$"):
        portal.run(fail(), on_tick=ticked.set)


def test_every_coroutine_runs_on_the_same_loop_in_a_daemon_thread_of_its_own(portal: Portal) -> None:
    async def where() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        return asyncio.get_running_loop(), threading.current_thread()

    first, second = portal.run(where()), portal.run(where())
    assert first == second
    assert first[1] is not threading.current_thread()
    assert first[1].daemon


def test_works_inside_a_running_loop_as_magics_must(portal: Portal) -> None:
    async def answer() -> int:
        return 42

    async def cell() -> int:
        return portal.run(answer())

    assert asyncio.run(cell()) == 42


def test_ticks_in_the_callers_thread_while_it_waits(portal: Portal) -> None:
    ticks: list[threading.Thread] = []
    enough = threading.Event()

    async def wait_for_ticks() -> None:
        await asyncio.to_thread(enough.wait, HANG)

    def tick() -> None:
        ticks.append(threading.current_thread())
        if len(ticks) == 3:
            enough.set()

    portal.run(wait_for_ticks(), on_tick=tick)
    assert len(ticks) >= 3
    assert set(ticks) == {threading.current_thread()}


# Stop


@pytest.mark.usefixtures("patient")
def test_an_interrupt_cancels_the_coroutine_and_waits_until_it_has_cleaned_up(portal: Portal) -> None:
    job = Job()
    with pytest.raises(KeyboardInterrupt):
        run_and_interrupt(portal, job.run())
    assert job.cleaned.is_set()


@pytest.mark.usefixtures("patient")
def test_an_interrupt_cancels_all_tasks_that_the_coroutine_waits_for(portal: Portal) -> None:
    workers = [Job() for _ in range(4)]
    with pytest.raises(KeyboardInterrupt):
        run_and_interrupt(portal, *(worker.run() for worker in workers))
    assert all(worker.cleaned.is_set() for worker in workers)


def test_a_clean_up_that_does_not_end_does_not_keep_the_prompt(portal: Portal) -> None:
    release = threading.Event()
    ended = threading.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.to_thread(release.wait, HANG)
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_and_interrupt(portal, stubborn())
    assert not ended.is_set()
    release.set()
    assert ended.wait(HANG)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("is_open", [False, True])
def test_an_interrupt_at_any_line_of_a_run_leaves_no_job_behind_and_a_portal_that_works(
    is_open: bool, recwarn: pytest.WarningsRecorder
) -> None:
    gc.collect()
    recwarn.clear()  # what other tests have left is not ours
    for number in itertools.count(2):  # before its `try` nothing has begun
        portal, job, ticked = Portal(), Job(), threading.Event()
        if is_open:
            portal.run(asyncio.sleep(0))

        async def until_a_tick(job: Job = job, ticked: threading.Event = ticked) -> None:
            running = asyncio.ensure_future(job.run())
            try:
                await asyncio.to_thread(ticked.wait, HANG)
            finally:
                running.cancel()
                await asyncio.wait([running])

        def run(portal: Portal = portal, ticked: threading.Event = ticked) -> None:
            portal.run(until_a_tick(), on_tick=ticked.set)

        interrupted = interrupted_at_line(number, portal_module, run)
        ticked.set()
        assert job.started.is_set() == job.cleaned.is_set()
        assert portal.run(asyncio.sleep(0, "works")) == "works"
        portal.close()
        if not interrupted:
            break
    assert number > 10
    gc.collect()
    assert [told for warned in recwarn if "never awaited" in (told := str(warned.message))] == []


def test_an_interrupt_leaves_other_jobs_alone(portal: Portal) -> None:
    go_on = threading.Event()

    async def other() -> str:
        await asyncio.to_thread(go_on.wait, HANG)
        return "done"

    future = portal.submit(other())
    with pytest.raises(KeyboardInterrupt):
        run_and_interrupt(portal, Job().run())
    go_on.set()
    assert future.result(HANG) == "done"
    assert portal.run(asyncio.sleep(0, "and the next one")) == "and the next one"


@pytest.mark.usefixtures("patient")
def test_an_exception_of_a_tick_cancels_the_coroutine_too(portal: Portal) -> None:
    job = Job()

    def tick() -> None:
        raise BrokenPipeError("the screen is gone")

    with pytest.raises(BrokenPipeError):
        portal.run(job.run(), on_tick=tick)
    assert job.cleaned.is_set()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a single process")
def test_a_real_ctrl_c_ends_a_program_after_the_coroutine_has_cleaned_up() -> None:
    program = """
import asyncio
from vn_magic import portal

portal.CANCEL_SECONDS = 30

async def job():
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.05)
        print("cleaned up", flush=True)

said = []

def say_once():
    if not said:
        print("waiting", flush=True)
    said.append(1)

try:
    portal.Portal().run(job(), on_tick=say_once)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(vn_magic.__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=HANG)
    finally:
        child.kill()
    assert (rest, errors, child.returncode) == ("cleaned up\ninterrupted\n", "", 0)


# From another loop


def test_join_awaits_a_coroutine_of_another_loop(portal: Portal) -> None:
    async def where() -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    async def caller() -> bool:
        return await portal.join(where()) is not asyncio.get_running_loop()

    assert asyncio.run(caller())


def test_join_raises_what_the_coroutine_raises(portal: Portal) -> None:
    async def fail() -> None:
        raise ValueError("its own")

    async def caller() -> None:
        await portal.join(fail())

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(caller())


def test_the_callers_loop_goes_on_while_it_joins(portal: Portal) -> None:
    turn = threading.Event()

    async def caller() -> bool:
        joined = asyncio.create_task(portal.join(asyncio.to_thread(turn.wait, HANG)))
        await asyncio.sleep(0.01)
        turn.set()  # had the loop been blocked, nobody would set it
        return await joined

    assert asyncio.run(caller())


def test_cancelling_the_awaiter_cancels_the_coroutine(portal: Portal) -> None:
    job = Job()

    async def caller() -> None:
        joined = asyncio.create_task(portal.join(job.run()))
        await asyncio.to_thread(job.started.wait, HANG)
        joined.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joined

    asyncio.run(caller())
    assert job.cleaned.wait(HANG)


# The thread


def test_no_thread_is_started_before_the_first_coroutine() -> None:
    before = loop_threads()
    portal = Portal()
    portal.close()
    assert loop_threads() <= before


def test_close_ends_the_thread() -> None:
    before = loop_threads()
    portal = Portal()
    portal.run(asyncio.sleep(0))
    assert len(loop_threads() - before) == 1
    portal.close()
    portal.close()
    assert loop_threads() <= before


def test_close_cancels_what_runs_and_lets_it_clean_up() -> None:
    before = loop_threads()
    portal, job = Portal(), Job()
    future = portal.submit(job.run())
    assert job.started.wait(HANG)
    portal.close()
    assert job.cleaned.is_set()
    assert future.cancelled()
    assert loop_threads() <= before


def test_close_frees_a_thread_that_waits_for_a_job_and_leaves_no_loop_behind() -> None:
    before = loop_threads()
    portal, job = Portal(), Job()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(portal.run, job.run())
        assert job.started.wait(HANG)
        portal.close()
        with pytest.raises(CancelledError):
            waiting.result(HANG)
    assert loop_threads() <= before


def test_a_closed_portal_opens_again_when_it_is_used() -> None:
    portal = Portal()
    portal.run(asyncio.sleep(0))
    portal.close()
    assert portal.run(asyncio.sleep(0, "again")) == "again"
    portal.close()


def test_several_threads_share_one_loop(portal: Portal) -> None:
    together = threading.Barrier(8)
    before = loop_threads()

    async def double(number: int) -> int:
        await asyncio.sleep(0.01)
        return 2 * number

    def use(number: int) -> int:
        together.wait(HANG)
        return portal.run(double(number))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [2 * number for number in range(8)]
    assert len(loop_threads() - before) == 1


def test_a_job_that_is_handed_over_while_the_portal_closes_is_run_or_cancelled_and_never_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    portal = Portal()
    closing = threading.Thread(target=portal.close)
    hand_over = asyncio.run_coroutine_threadsafe

    def close_meanwhile(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Future[None]:
        closing.start()
        closing.join(0.2)  # held up until the job is handed over, or else the loop is gone now
        return hand_over(coroutine, loop)

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", close_meanwhile)
    future = portal.submit(asyncio.sleep(0))
    closing.join()
    assert wait([future], timeout=HANG).not_done == set()
