"""What one job may ask of the gateway: places that are learned, retries that are paid for, and an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import (
    BadAnswerError,
    ConnectionFailedError,
    DeadlineError,
    OutageError,
    RateLimitedError,
    TransientError,
    UnreadableAnswerError,
    UpstreamError,
)
from vn_magic.gateway.budget import CAPACITY, RetryBudget
from vn_magic.gateway.circuit import (
    FEWEST_TEXTS,
    MOST_BAD_ANSWERS_IN_A_ROW,
    MOST_IN_A_ROW,
    MOST_LIMITED_IN_A_ROW,
    Circuit,
    Failure,
)
from vn_magic.gateway.concurrency import Concurrency
from vn_magic.gateway.effort import Effort
from vn_magic.settings import FIRST_CONCURRENCY, MOST_CONCURRENCY

TROUBLE = UpstreamError("x", status=503)
LIMITED = RateLimitedError("x", status=429)

# Concurrency


def played(play: Callable[[Concurrency], Coroutine[Any, Any, None]], given: int | None = None) -> Concurrency:
    async def run() -> Concurrency:
        concurrency = Concurrency(given)
        await play(concurrency)
        return concurrency

    return asyncio.run(run())


async def round_of(concurrency: Concurrency) -> int:
    """Fill all places, and answer all cleanly; return how many there were."""
    count = concurrency.limit
    entered = 0
    everybody_is_in = asyncio.Event()

    async def request() -> None:
        nonlocal entered
        async with concurrency:
            entered += 1
            if entered == count:
                everybody_is_in.set()
            await everybody_is_in.wait()
            concurrency.clean(time.monotonic())

    await asyncio.gather(*(request() for _ in range(count)))
    return count


def test_unset_it_begins_with_a_few_and_grows_while_answers_are_clean_up_to_its_most() -> None:
    limits: list[int] = []

    async def play(concurrency: Concurrency) -> None:
        for _ in range(200):
            limits.append(concurrency.limit)
            await round_of(concurrency)

    played(play)
    assert (limits[0], limits[-1]) == (FIRST_CONCURRENCY, MOST_CONCURRENCY)
    assert limits == sorted(limits)


def test_a_given_number_is_where_it_starts_and_the_most_there_will_be() -> None:
    async def play(concurrency: Concurrency) -> None:
        assert concurrency.limit == 5
        for _ in range(30):
            await round_of(concurrency)
        assert concurrency.limit == 5
        concurrency.strained(time.monotonic())
        assert concurrency.limit == 1
        for _ in range(30):
            await round_of(concurrency)
        assert concurrency.limit == 5

    played(play, given=5)


def test_strain_takes_it_down_to_one_which_tests_the_water_alone() -> None:
    async def play(concurrency: Concurrency) -> None:
        concurrency.strained(time.monotonic())
        under_way = most = 0

        async def request() -> None:
            nonlocal under_way, most
            async with concurrency:
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0)
                under_way -= 1

        await asyncio.gather(*(request() for _ in range(20)))
        assert most == 1

    played(play)


def test_after_strain_it_doubles_up_to_half_of_what_was_too_much_and_goes_slowly_from_there() -> None:
    async def play(concurrency: Concurrency) -> None:
        concurrency.strained(time.monotonic())
        rounds = [await round_of(concurrency) for _ in range(12)]
        assert rounds[:4] == [1, 2, 4, 8]  # fast to 8, the half of 16
        assert rounds[4:] == [9, 10, 11, 12, 13, 14, 15, 16]

    played(play, given=16)


def test_answers_to_what_was_under_way_at_the_strain_do_not_bring_it_up_again() -> None:
    async def play(concurrency: Concurrency) -> None:
        begun = time.monotonic()
        concurrency.strained(begun)
        for _ in range(63):
            concurrency.clean(begun)
        assert concurrency.limit == 1

    played(play, given=64)


def test_a_volley_of_failures_is_one_strain() -> None:
    async def play(concurrency: Concurrency) -> None:
        begun = time.monotonic()
        for _ in range(64):
            concurrency.strained(begun)
        # Had each of them halved what was too much, it would go up one by one from one.
        assert [await round_of(concurrency) for _ in range(6)] == [1, 2, 4, 8, 16, 32]

    played(play, given=64)


# The retry budget


def test_a_dead_gateway_gets_a_hundred_retries_and_no_more() -> None:
    budget = RetryBudget(8)
    spent = [budget.spend(TROUBLE) for _ in range(150)]
    assert (spent.count(5), spent.count(None)) == (100, 50)


def test_a_timeout_costs_twice_as_much() -> None:
    budget = RetryBudget(8)
    assert [budget.spend(DeadlineError("x")) for _ in range(51)].count(10) == 50


@pytest.mark.parametrize("most_at_once", [1, 64, 256])
def test_two_volleys_of_timeouts_do_not_use_it_up(most_at_once: int) -> None:
    budget = RetryBudget(most_at_once)
    assert None not in [budget.spend(DeadlineError("x")) for _ in range(2 * most_at_once)]


@given(failures=st.lists(st.booleans(), max_size=300))
def test_the_budget_is_never_above_its_capacity_and_never_overdrawn(failures: list[bool]) -> None:
    budget = RetryBudget(8)
    left, cost = CAPACITY, 0
    for fails in failures:
        if fails:
            paid = budget.spend(TROUBLE)
            assert (paid is None) == (left < 5)
            cost = paid or 0
            left -= cost
        else:
            budget.give_back(cost)
            left, cost = min(CAPACITY, left + (cost or 1)), 0
        assert 0 <= left <= CAPACITY


def test_a_gateway_that_fails_every_fourth_time_is_worked_with_for_ever() -> None:
    budget = RetryBudget(8)
    for _ in range(10_000):
        cost = budget.spend(TROUBLE)
        assert cost is not None
        budget.give_back(cost)
        budget.give_back(0)
        budget.give_back(0)


def test_when_the_budget_is_spent_the_row_fails_with_its_own_error_and_says_why_it_was_not_tried_again() -> None:
    async def run() -> TransientError:
        effort = Effort(8, patience=300.0)
        for _ in range(100):
            effort.pay_for_retry(TROUBLE)
        with pytest.raises(UpstreamError) as caught:
            effort.pay_for_retry(UpstreamError("Trouble.\nNext: later.", status=503, request_id="2026x"))
        return caught.value

    error = asyncio.run(run())
    assert str(error).splitlines() == [
        "Trouble.",
        "Not tried again: too many of this job's requests have failed. Next: later.",
    ]
    assert (error.status, error.request_id) == (503, "2026x")


# The circuit


def failing(circuit: Circuit, *errors: Failure, texts: int = 8) -> int:
    """Let steps fail with these errors until the circuit opens; return how many there were before that."""
    for step, error in enumerate(errors):
        try:
            circuit.failed(error, time.monotonic(), [f"text {step % texts}"])
        except OutageError:
            return step
    return len(errors)


def test_failures_in_a_row_without_a_success_end_the_job_with_what_was_seen() -> None:
    circuit = Circuit(300.0)
    seen = [LIMITED, DeadlineError("x"), UnreadableAnswerError("x"), UpstreamError("reset")]
    assert failing(circuit, *seen, *[TROUBLE] * (MOST_IN_A_ROW - len(seen))) == MOST_IN_A_ROW
    with pytest.raises(OutageError) as caught:
        circuit.failed(ConnectionFailedError("x"), time.monotonic(), ["text"])
    told = str(caught.value)
    assert len(told.splitlines()) == 2
    assert f"503 × {MOST_IN_A_ROW - 4}, " in told
    for kind in ("429", "no answer in time", "an unreadable answer", "a broken connection", "no connection"):
        assert f"{kind} × 1" in told


def test_one_success_ends_the_run() -> None:
    circuit = Circuit(300.0)
    for _ in range(20):
        assert failing(circuit, *[TROUBLE] * MOST_IN_A_ROW) == MOST_IN_A_ROW
        circuit.answered()
    assert (circuit.run, circuit.failures) == (0, 0)


def test_a_text_that_is_rejected_ends_the_run_too() -> None:
    async def run() -> int:
        effort = Effort(4, patience=300.0)
        for text in range(6):
            effort.failed(TROUBLE, time.monotonic(), [str(text)])
        before = effort.run
        effort.answered()
        assert not effort.gateway_seems_down
        return before - effort.run

    assert asyncio.run(run()) == 5


def test_requests_that_were_under_way_together_are_one_step_however_many_they_were() -> None:
    circuit = Circuit(300.0)
    for step in range(MOST_IN_A_ROW):
        begun = time.monotonic()
        for text in range(256):
            circuit.failed(TROUBLE, begun, [str(text)])
        assert circuit.run == step
    with pytest.raises(OutageError, match=f"503 × {256 * MOST_IN_A_ROW + 1}"):
        circuit.failed(TROUBLE, time.monotonic(), ["x"])


@pytest.mark.parametrize(
    ("error", "most"),
    [
        (TROUBLE, MOST_IN_A_ROW),
        (LIMITED, MOST_LIMITED_IN_A_ROW),
        (BadAnswerError("x"), MOST_BAD_ANSWERS_IN_A_ROW - 1),
    ],
    ids=["trouble", "limit", "bad answer"],
)
def test_how_long_a_run_may_be_depends_on_what_it_says_of_the_gateway(error: Failure, most: int) -> None:
    assert failing(Circuit(300.0), *[error] * 200) == most


def test_a_run_of_few_texts_is_as_well_their_own_and_ends_no_job() -> None:
    assert failing(Circuit(300.0), *[TROUBLE] * 200, texts=FEWEST_TEXTS - 1) == 200


def test_a_run_that_takes_too_long_ends_the_job_however_few_steps_it_had() -> None:
    circuit = Circuit(0.0)
    begun = time.monotonic()
    for text in range(FEWEST_TEXTS):
        circuit.failed(DeadlineError("x"), begun, [str(text)])
    while time.monotonic() == begun:
        pass
    with pytest.raises(OutageError, match="no answer in time"):
        circuit.failed(DeadlineError("x"), time.monotonic(), ["x"])


# All together


@pytest.mark.parametrize("error", [LIMITED, DeadlineError("x")])
def test_a_limit_and_a_timeout_take_the_concurrency_down_at_once(error: TransientError) -> None:
    async def run() -> int:
        effort = Effort(32, patience=300.0)
        effort.failed(error, time.monotonic(), ["x"])
        return effort.concurrency.limit

    assert asyncio.run(run()) == 1


def test_other_failures_do_so_when_nothing_else_comes() -> None:
    async def run() -> list[int]:
        effort = Effort(6, patience=300.0)
        limits = []
        begun = time.monotonic()
        for _ in range(6):
            effort.failed(TROUBLE, begun, [str(len(limits))])
            limits.append(effort.concurrency.limit)
        effort.failed(TROUBLE, time.monotonic(), ["x"])
        return [*limits, effort.concurrency.limit]

    assert asyncio.run(run()) == [6, 6, 6, 6, 6, 6, 1]


def test_an_address_where_nothing_answers_is_not_taken_for_a_gateway_in_trouble() -> None:
    async def run() -> list[bool]:
        effort, down = Effort(4, patience=300.0), []
        for step, error in enumerate([ConnectionFailedError("x")] * 8 + [TROUBLE]):
            effort.failed(error, time.monotonic(), [str(step)])
            down.append(effort.gateway_seems_down)
        return down

    assert asyncio.run(run()) == [False] * 8 + [True]


def test_a_place_that_is_given_back_goes_to_whoever_waits_and_not_back_to_the_giver() -> None:
    async def run() -> list[str]:
        concurrency, order, under_way = Concurrency(1), [], 0

        async def request(name: str) -> None:
            nonlocal under_way
            async with concurrency:
                under_way += 1
                assert under_way == 1
                order.append(name)
                await asyncio.sleep(0)
                under_way -= 1

        async def twice(name: str) -> None:
            await request(name)
            await request(name)

        await asyncio.gather(twice("a"), request("b"))
        return order

    assert asyncio.run(run()) == ["a", "b", "a"]
