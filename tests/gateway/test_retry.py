"""Where a wait is looked for, how long the waits are, and when a row is given up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import (
    ConnectionFailedError,
    DeadlineError,
    RateLimitedError,
    TransientError,
    UnreadableAnswerError,
    UpstreamError,
)
from vn_magic.gateway.circuit import MOST_IN_A_ROW
from vn_magic.gateway.retry import RetryPolicy, Trial, unix_time, wait_named_by_server

NOW = 1_780_000_000.0  # Thu, 28 May 2026 20:26:40 GMT
IN_THE_TEXT = "Quota exceeded. Please retry in 45.57s."
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "300ms"}


class Run:
    """A run of failures, as a job tells it."""

    def __init__(self, run: int = 0, *, reached: bool = True, gateway_seems_down: bool = True) -> None:
        self.run = run
        self.reached = reached
        self.gateway_seems_down = gateway_seems_down and reached


CALM = Run()
NOWHERE = Run(reached=False)


def named(header: str | None = None, details: Iterable[dict[str, Any]] = (), message: str = "") -> float | None:
    headers = {} if header is None else {"retry-after": header}
    return wait_named_by_server(headers, details, message, now=NOW)


def tried(attempts: int = 1, seconds: float = 0.0) -> Trial:
    """A row that has been tried so often and for so long."""
    return Trial({0: "x"}, attempts, seconds)


def drawn(policy: RetryPolicy, error: TransientError, trial: Trial, run: Run) -> float:
    """Return a wait as the client draws it."""
    return policy.wait(error, trial, run, draw=random.random())


def attempts_of(policy: RetryPolicy, error: TransientError, run: Run = CALM) -> int:
    """Return how many attempts a row has that always fails in this way."""
    return next(made for made in count(1) if policy.gives_up(error, tried(made), 0.0, run))


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
    wait = drawn(policy, UpstreamError("x"), tried(attempt), CALM)
    assert 0 <= wait <= min(longest, first * 2.0 ** (attempt - 1))


def test_backoff_uses_the_whole_range() -> None:
    policy = RetryPolicy(first_backoff=1.0, longest_backoff=1.0)
    waits = [drawn(policy, UpstreamError("x"), tried(), CALM) for _ in range(400)]
    # 400 draws leave a quarter empty once in 10^50 runs.
    assert {int(wait * 4) for wait in waits} >= {0, 1, 2, 3}


@given(seconds=st.floats(0.001, 1e4), attempt=st.integers(1, 12))
def test_a_named_wait_is_kept_and_spread_by_a_tenth_at_most(seconds: float, attempt: int) -> None:
    wait = drawn(RetryPolicy(), RateLimitedError("x", retry_after=seconds), tried(attempt), CALM)
    assert seconds <= wait <= 1.1 * seconds + 1e-9


def test_a_wait_beyond_all_numbers_is_one() -> None:
    assert drawn(RetryPolicy(), UpstreamError("x", retry_after=math.inf), tried(), CALM) == math.inf


def test_a_class_that_was_told_the_same_wait_does_not_return_as_one() -> None:
    error = RateLimitedError("x", retry_after=40.0)
    assert len({drawn(RetryPolicy(), error, tried(6), CALM) for _ in range(30)}) == 30


def test_a_named_wait_of_zero_is_not_taken_as_leave_to_hammer() -> None:
    waits = [drawn(RetryPolicy(), RateLimitedError("x", retry_after=0.0), tried(4), CALM) for _ in range(20)]
    assert max(waits) > 0


# When it ends


def test_a_transient_failure_is_tried_as_often_as_the_policy_says() -> None:
    error = UpstreamError("x", status=503)
    assert attempts_of(RetryPolicy(attempts=5), error) == 5


@given(attempt=st.integers(1, 12), run=st.integers(0, 40))
def test_in_a_run_of_failures_the_bound_doubles_with_the_run_where_it_is_longer_than_the_rows_own(
    attempt: int, run: int
) -> None:
    policy = RetryPolicy(first_backoff=0.5, longest_backoff=30.0)
    bound = min(30.0, 0.5 * 2.0 ** max(attempt - 1, run))
    waits = [drawn(policy, UpstreamError("x"), tried(attempt), Run(run)) for _ in range(60)]
    assert max(waits) <= bound
    assert max(waits) > bound / 2  # sixty draws from a range all stay in its lower half once in 10^18 runs
    assert min(waits) >= (bound / 2 if run else 0)


def test_a_run_that_ends_a_job_outlasts_the_minute_by_which_gateways_count() -> None:
    policy = RetryPolicy()
    waits = [drawn(policy, RateLimitedError("x"), tried(), Run(run)) for run in range(MOST_IN_A_ROW)]
    assert sum(waits) > 60.0
    assert (
        attempts_of(policy, RateLimitedError("x")) > MOST_IN_A_ROW + 1
    )  # so that the run decides, and not the row that happens to be tried


def test_a_run_that_may_be_these_texts_own_makes_nobody_wait_longer_but_for_a_limit() -> None:
    policy, run = RetryPolicy(first_backoff=0.5), Run(9, gateway_seems_down=False)
    assert max(drawn(policy, UpstreamError("x"), tried(), run) for _ in range(60)) <= 0.5
    assert min(drawn(policy, RateLimitedError("x"), tried(), run) for _ in range(60)) >= 15.0


def test_a_run_against_an_address_where_nothing_answers_makes_nobody_wait_longer() -> None:
    policy = RetryPolicy(first_backoff=0.5)
    waits = [drawn(policy, ConnectionFailedError("x"), tried(), Run(9, reached=False)) for _ in range(60)]
    assert max(waits) <= 0.5


def test_without_options_a_row_is_tried_eight_times() -> None:
    assert attempts_of(RetryPolicy(), UpstreamError("x")) == 8


def test_silence_is_given_up_sooner_where_nothing_has_ever_answered() -> None:
    policy = RetryPolicy()
    assert attempts_of(policy, ConnectionFailedError("x"), NOWHERE) == policy.connection_attempts < policy.attempts


def test_a_network_that_was_there_before_is_waited_for() -> None:
    assert attempts_of(RetryPolicy(), ConnectionFailedError("x"), CALM) == RetryPolicy().attempts


def test_a_wait_that_would_end_past_the_rows_deadline_is_not_begun() -> None:
    policy, error = RetryPolicy(row_timeout=60.0), RateLimitedError("x", retry_after=61.0)
    assert policy.gives_up(error, tried(), drawn(policy, error, tried(), CALM), CALM)


@pytest.mark.parametrize(
    ("seconds", "wait", "stops"), [(0.0, 299.0, False), (200.0, 99.0, False), (200.0, 101.0, True)]
)
def test_the_deadline_counts_from_the_first_attempt(seconds: float, wait: float, stops: bool) -> None:
    policy = RetryPolicy(row_timeout=300.0)
    assert policy.gives_up(RateLimitedError("x"), tried(seconds=seconds), wait, CALM) is stops


# Several texts


@given(texts=st.dictionaries(st.integers(0, 500), st.text(max_size=3), min_size=2, max_size=100))
def test_halves_have_every_text_once_and_in_order_and_are_halves(texts: dict[int, str]) -> None:
    first, second = Trial(texts, attempts=3, seconds=2.0, cost=5).halves()
    assert [*first.texts.items(), *second.texts.items()] == list(texts.items())
    assert abs(len(first.texts) - len(second.texts)) <= 1
    assert (first.attempts, first.seconds) == (second.attempts, second.seconds) == (3, 2.0)
    assert first.cost + second.cost == 5  # a retry is paid for once, and given back once


def test_one_text_has_no_halves() -> None:
    assert tried().halves() == []


@pytest.mark.parametrize("kind", [UpstreamError, DeadlineError, UnreadableAnswerError])
def test_texts_that_may_be_why_they_failed_are_parted_and_keep_what_was_tried(kind: type[TransientError]) -> None:
    after = Trial({3: "a", 4: "b", 5: "c"}, attempts=2, seconds=7.0, cost=5).after(kind("x"))
    assert after == [Trial({3: "a"}, 2, 7.0, 5), Trial({4: "b", 5: "c"}, 2, 7.0, 0)]
    assert tried(2).after(kind("x")) == [tried(2)]


@pytest.mark.parametrize("kind", [RateLimitedError, ConnectionFailedError])
def test_texts_that_are_not_why_they_failed_stay_together(kind: type[TransientError]) -> None:
    trial = Trial({3: "a", 4: "b"}, attempts=2)
    assert trial.after(kind("x")) == [trial]


def test_a_text_that_always_fails_is_alone_before_the_attempts_are_used_up() -> None:
    trial, policy = Trial(dict.fromkeys(range(100), "x")), RetryPolicy()
    while len(trial.texts) > 1:
        trial.attempts += 1
        assert not policy.gives_up(UpstreamError("x"), trial, 0.0, CALM)
        trial = max(trial.after(UpstreamError("x")), key=lambda half: len(half.texts))
