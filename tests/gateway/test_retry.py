"""Where a wait is looked for, how long the waits are, and when a row is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState

from vn_magic.exceptions import (
    ConnectionFailedError,
    DailyLimitError,
    RateLimitedError,
    RejectedTextError,
    TokenRefusedError,
    TransientError,
    UpstreamError,
)
from vn_magic.gateway.circuit import MOST_IN_A_ROW
from vn_magic.gateway.retry import RetryPolicy, error_of, unix_time, wait_named_by_server

NOW = 1_780_000_000.0  # Thu, 28 May 2026 20:26:40 GMT
IN_THE_TEXT = "Quota exceeded. Please retry in 45.57s."
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "300ms"}
AT_ONCE = RetryPolicy(first_backoff=0.0)


class Run:
    """A run of failures, as a job tells it."""

    def __init__(self, run: int = 0, *, reached: bool = True, gateway_seems_down: bool = True) -> None:
        self.run = run
        self.reached = reached
        self.gateway_seems_down = gateway_seems_down and reached


CALM = Run()
NOWHERE = Run(reached=False)


def unheard(_state: RetryCallState) -> None:
    """Tell nobody of a wait."""


def named(header: str | None = None, details: Iterable[dict[str, Any]] = (), message: str = "") -> float | None:
    headers = {} if header is None else {"retry-after": header}
    return wait_named_by_server(headers, details, message, now=NOW)


def failed(error: TransientError, *, attempt: int = 1, elapsed: float = 0.0, wait: float = 0.0) -> RetryCallState:
    """The state of a row whose last attempt raised this error."""
    state = RetryCallState(retry_object=AT_ONCE.retrying(CALM, unheard), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    state.upcoming_sleep = wait
    state.set_exception((type(error), error, None))
    assert state.outcome_timestamp is not None
    state.start_time = state.outcome_timestamp - elapsed
    return state


def attempts_of(policy: RetryPolicy, *failures: Exception, run: Run = CALM) -> tuple[int, Exception]:
    """Run a row whose attempts fail in this way, the last one for ever; return how many there were, and the end."""
    made = 0

    async def attempt() -> None:
        nonlocal made
        made += 1
        raise failures[min(made, len(failures)) - 1]

    with pytest.raises(type(failures[-1])) as caught:
        asyncio.run(policy.retrying(run, unheard)(attempt))
    return made, caught.value


# The wait that a server names


def test_the_header_comes_first_then_the_details_then_the_text() -> None:
    assert named("7", [RETRY_INFO], IN_THE_TEXT) == 7.0
    assert named(None, [RETRY_INFO], IN_THE_TEXT) == 0.3
    assert named(None, [], IN_THE_TEXT) == 45.57
    assert named(None, [], "Slow down.") is None


def test_a_header_that_cannot_be_read_is_passed_over() -> None:
    assert named("soon", [RETRY_INFO], IN_THE_TEXT) == 0.3


def test_a_delay_that_cannot_be_read_is_passed_over() -> None:
    assert named(None, [{"retryDelay": "a while"}, {"retryDelay": None}, {"x": 1}], IN_THE_TEXT) == 45.57


def test_the_delay_may_stand_in_any_detail() -> None:
    assert named(None, [{"@type": "QuotaFailure"}, RETRY_INFO]) == 0.3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("+5", 5.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Thu, 28 May 2026 20:27:25 GMT", 45.0),
        ("Thu, 28 May 2026 22:27:25 +0200", 45.0),
        ("Thursday, 28-May-26 20:27:25 GMT", 45.0),
        ("Thu May 28 20:27:25 2026", 45.0),
        ("Thu, 28 May 2026 20:26:40 GMT", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_negative(header: str, seconds: float) -> None:
    assert named(header) == seconds


@pytest.mark.parametrize(
    "header", ["", "soon", "nan", "inf", "1e3", "5 s", "0x10", "١٢ x", "99 May", "Thu, 99 Foo 2026"]
)
def test_garbage_in_retry_after_is_no_wait(header: str) -> None:
    assert named(header) is None


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("45.837906927s", 45.837906927),
        ("300ms", 0.3),
        ("0s", 0.0),
        ("2s ", 2.0),
        ("2m", None),
        ("s", None),
        ("-1s", None),
    ],
)
def test_retry_delay_is_in_seconds_or_milliseconds(delay: str, seconds: float | None) -> None:
    assert named(None, [{"retryDelay": delay}]) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please retry in 45.57s.", 45.57),
        ("please RETRY IN 2s", 2.0),
        ("retry in 850ms, please", 0.85),
        ("retry in 3 seconds", None),
        ("retry in 1m30s", None),
        ("retry later", None),
    ],
)
def test_a_wait_in_the_text_is_read_only_where_its_unit_is_certain(message: str, seconds: float | None) -> None:
    assert named(None, [], message) == seconds


@given(
    header=st.text(max_size=30), delay=st.text(max_size=12) | st.integers() | st.none(), message=st.text(max_size=40)
)
def test_whatever_a_server_writes_the_wait_is_none_or_not_negative(header: str, delay: Any, message: str) -> None:
    wait = named(header, [{"retryDelay": delay}], message)
    assert wait is None or wait >= 0


@given(seconds=st.floats(0, 1e6))
def test_seconds_are_read_as_they_are_written(seconds: float) -> None:
    assert named(f"{seconds:f}") == float(f"{seconds:f}")


@given(
    date=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - hypothesis adds the zone
    zone=st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_a_date_means_the_same_moment_in_every_zone(date: datetime, zone: timezone) -> None:
    moment = date.replace(microsecond=0, tzinfo=UTC)
    written = format_datetime(moment.astimezone(zone))
    assert unix_time(written) == moment.timestamp()
    assert named(written) == max(0.0, moment.timestamp() - NOW)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a running process can be moved on POSIX only")
def test_a_date_without_a_zone_is_in_utc_wherever_the_computer_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert unix_time("Thu May 28 20:26:40 2026") == unix_time("Thu, 28 May 2026 20:26:40 -0000") == NOW
    finally:
        monkeypatch.undo()
        time.tzset()


# The wait between attempts


@given(attempt=st.integers(1, 40), first=st.floats(0.01, 2), longest=st.floats(2, 60))
def test_backoff_is_drawn_between_zero_and_a_bound_that_doubles_up_to_the_longest(
    attempt: int, first: float, longest: float
) -> None:
    policy = RetryPolicy(first_backoff=first, longest_backoff=longest)
    wait = policy.wait(failed(UpstreamError("x"), attempt=attempt), CALM)
    assert 0 <= wait <= min(longest, first * 2.0 ** (attempt - 1))


def test_backoff_uses_the_whole_range() -> None:
    policy = RetryPolicy(first_backoff=1.0, longest_backoff=1.0)
    waits = [policy.wait(failed(UpstreamError("x")), CALM) for _ in range(400)]
    # 400 draws leave a quarter empty once in 10^50 runs.
    assert {int(wait * 4) for wait in waits} >= {0, 1, 2, 3}


@given(seconds=st.floats(0.001, 1e4), attempt=st.integers(1, 12))
def test_a_named_wait_is_kept_and_spread_by_a_tenth_at_most(seconds: float, attempt: int) -> None:
    wait = RetryPolicy().wait(failed(RateLimitedError("x", retry_after=seconds), attempt=attempt), CALM)
    assert seconds <= wait <= 1.1 * seconds + 1e-9


def test_a_class_that_was_told_the_same_wait_does_not_return_as_one() -> None:
    error = RateLimitedError("x", retry_after=40.0)
    assert len({RetryPolicy().wait(failed(error, attempt=6), CALM) for _ in range(30)}) == 30


def test_a_named_wait_of_zero_is_not_taken_as_leave_to_hammer() -> None:
    waits = [RetryPolicy().wait(failed(RateLimitedError("x", retry_after=0.0), attempt=4), CALM) for _ in range(20)]
    assert max(waits) > 0


# When it ends


def test_a_transient_failure_is_tried_as_often_as_the_policy_says_and_raised_as_it_is() -> None:
    error = UpstreamError("x", status=503)
    made, raised = attempts_of(RetryPolicy(attempts=5, first_backoff=0.0), error)
    assert (made, raised) == (5, error)


@given(attempt=st.integers(1, 12), run=st.integers(0, 40))
def test_in_a_run_of_failures_the_bound_doubles_with_the_run_where_it_is_longer_than_the_rows_own(
    attempt: int, run: int
) -> None:
    policy = RetryPolicy(first_backoff=0.5, longest_backoff=30.0)
    state = failed(UpstreamError("x"), attempt=attempt)
    bound = min(30.0, 0.5 * 2.0 ** max(attempt - 1, run))
    waits = [policy.wait(state, Run(run)) for _ in range(60)]
    assert max(waits) <= bound
    assert max(waits) > bound / 2  # sixty draws from a range all stay in its lower half once in 10^18 runs
    assert min(waits) >= (bound / 2 if run else 0)


def test_a_run_that_ends_a_job_outlasts_the_minute_by_which_gateways_count() -> None:
    policy = RetryPolicy()
    waits = [policy.wait(failed(RateLimitedError("x")), Run(run)) for run in range(MOST_IN_A_ROW)]
    assert sum(waits) > 60.0
    made, _ = attempts_of(RetryPolicy(first_backoff=0.0), RateLimitedError("x"))
    assert made > MOST_IN_A_ROW + 1  # so that the run decides, and not the row that happens to be tried


def test_a_run_that_may_be_these_texts_own_makes_nobody_wait_longer_but_for_a_limit() -> None:
    policy, run = RetryPolicy(first_backoff=0.5), Run(9, gateway_seems_down=False)
    assert max(policy.wait(failed(UpstreamError("x")), run) for _ in range(60)) <= 0.5
    assert min(policy.wait(failed(RateLimitedError("x")), run) for _ in range(60)) >= 15.0


def test_a_run_against_an_address_where_nothing_answers_makes_nobody_wait_longer() -> None:
    policy = RetryPolicy(first_backoff=0.5)
    waits = [policy.wait(failed(ConnectionFailedError("x")), Run(9, reached=False)) for _ in range(60)]
    assert max(waits) <= 0.5


def test_without_options_a_row_is_tried_eight_times() -> None:
    made, _ = attempts_of(AT_ONCE, UpstreamError("x"))
    assert made == 8


def test_silence_is_given_up_sooner_where_nothing_has_ever_answered() -> None:
    made, raised = attempts_of(AT_ONCE, ConnectionFailedError("x"), run=NOWHERE)
    assert made == AT_ONCE.connection_attempts < AT_ONCE.attempts
    assert isinstance(raised, ConnectionFailedError)


def test_a_network_that_was_there_before_is_waited_for() -> None:
    made, _ = attempts_of(AT_ONCE, ConnectionFailedError("x"), run=CALM)
    assert made == AT_ONCE.attempts


@pytest.mark.parametrize("kind", [TokenRefusedError, DailyLimitError, RejectedTextError, ValueError, RuntimeError])
def test_what_is_not_transient_is_never_tried_again(kind: type[Exception]) -> None:
    made, raised = attempts_of(AT_ONCE, kind("x"))
    assert (made, type(raised)) == (1, kind)


def test_a_failure_that_is_not_transient_ends_a_row_in_the_middle_of_its_retries() -> None:
    made, raised = attempts_of(AT_ONCE, UpstreamError("x"), UpstreamError("x"), TokenRefusedError("x"))
    assert (made, type(raised)) == (3, TokenRefusedError)


def test_a_wait_that_would_end_past_the_rows_deadline_is_not_begun() -> None:
    made, raised = attempts_of(RetryPolicy(row_timeout=60.0), RateLimitedError("x", retry_after=61.0))
    assert (made, type(raised)) == (1, RateLimitedError)


@pytest.mark.parametrize(
    ("elapsed", "wait", "stops"), [(0.0, 299.0, False), (200.0, 99.0, False), (200.0, 101.0, True)]
)
def test_the_deadline_counts_from_the_first_attempt(elapsed: float, wait: float, stops: bool) -> None:
    state = failed(RateLimitedError("x"), elapsed=elapsed, wait=wait)
    assert RetryPolicy(row_timeout=300.0).stop(state, CALM) is stops


def test_before_every_further_attempt_its_wait_is_told() -> None:
    told: list[tuple[int, float, TransientError]] = []
    error = UpstreamError("x")

    async def attempt() -> None:
        raise error

    def tell(state: RetryCallState) -> None:
        told.append((state.attempt_number, state.upcoming_sleep, error_of(state)))

    retrying = RetryPolicy(attempts=3, first_backoff=0.001).retrying(CALM, tell)
    with pytest.raises(UpstreamError):
        asyncio.run(retrying(attempt))
    assert [(number, seen) for number, _, seen in told] == [(1, error), (2, error)]
    assert all(0 <= wait <= 0.002 for _, wait, _ in told)


def test_a_wait_is_asked_for_after_a_transient_failure_only() -> None:
    state = RetryCallState(retry_object=AT_ONCE.retrying(CALM, unheard), fn=None, args=(), kwargs={})
    with pytest.raises(TypeError, match="transient"):
        error_of(state)
