"""What the gateway says of trouble, in every form: how often it is asked again, and what a reader is told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from threading import Event
from typing import Any

import numpy as np
import pytest

from faults.answers import (
    LANGUAGES,
    PER_DAY,
    PER_MINUTE,
    REQUEST_ID,
    SITUATIONS,
    always,
    answer,
    envelope,
    good,
    google_error,
    json_answer,
    retry_info,
    right_body,
    then_good,
    with_value,
)
from faults.gateway import Arrival, Script, Step, steps_of
from faults.jobs import assert_own_vectors, embed, failure, job, talking_to
from vn_magic.exceptions import (
    AccessDeniedError,
    BadAnswerError,
    BalanceError,
    DailyLimitError,
    GatewayError,
    LongWaitError,
    ModelUnavailableError,
    RateLimitedError,
    RejectedTextError,
    StopJobError,
    TokenRefusedError,
    TransientError,
    UnreadableAnswerError,
    UpstreamError,
)
from vn_magic.gateway.retry import RetryPolicy

pytestmark = pytest.mark.usefixtures("quick")

TEXTS = [f"text {number}" for number in range(40)]
WORKERS = 4
MISREAD = 10.0  # seconds; less than any of these waits would be if it were read as another one

# The table of GATEWAY section 2, row by row: with its body, and where the body is empty and the status is all there is.
KINDS: dict[str, tuple[type[GatewayError], type[GatewayError]]] = {
    "token missing": (TokenRefusedError, TokenRefusedError),
    "token wrong": (TokenRefusedError, TokenRefusedError),
    "token expired": (TokenRefusedError, TokenRefusedError),
    "token disabled": (TokenRefusedError, TokenRefusedError),
    "token's quota spent": (TokenRefusedError, TokenRefusedError),
    "balance empty": (BalanceError, AccessDeniedError),
    "balance too low for the estimate": (BalanceError, AccessDeniedError),
    "model not allowed": (AccessDeniedError, AccessDeniedError),
    "group not permitted": (AccessDeniedError, AccessDeniedError),
    "user banned": (AccessDeniedError, AccessDeniedError),
    "address barred": (AccessDeniedError, AccessDeniedError),
    "no channel": (ModelUnavailableError, UpstreamError),
    "malformed request": (RejectedTextError, UpstreamError),
    "body too large": (RejectedTextError, RejectedTextError),
    "user rate limit": (RateLimitedError, RateLimitedError),
    "upstream rate limit": (RateLimitedError, RateLimitedError),
    "upstream not JSON": (UpstreamError, UpstreamError),
    "upstream unreachable": (UpstreamError, UpstreamError),
    "channel lost": (UpstreamError, UpstreamError),
    "bad response": (UpstreamError, UpstreamError),
    "overloaded": (UpstreamError, UpstreamError),
    **{name: (UpstreamError, UpstreamError) for name in SITUATIONS if name.startswith("CDN")},
}
CURES: dict[type[GatewayError], str] = {
    TokenRefusedError: "`%vn login`",
    BalanceError: "top up the account",
    AccessDeniedError: "another model with --model",
    ModelUnavailableError: "spelling of --model",
    RejectedTextError: "--on-error keep",
    RateLimitedError: "--rpm",
    UpstreamError: "again later",
}
STOPPING = [name for name, (kind, _) in KINDS.items() if issubclass(kind, StopJobError)]
PASSING = [name for name, (kind, _) in KINDS.items() if issubclass(kind, TransientError)]


def test_the_table_has_a_row_for_every_situation() -> None:
    assert KINDS.keys() == SITUATIONS.keys()


@pytest.mark.parametrize("language", [*LANGUAGES, None])
@pytest.mark.parametrize("name", KINDS)
def test_an_answer_is_asked_for_again_only_where_that_helps_and_its_error_names_the_cure(
    name: str, language: str | None, quick: RetryPolicy
) -> None:
    kind = KINDS[name][language is None]
    situation = SITUATIONS[name]
    with talking_to(always(envelope(name, language))) as (session, gateway):
        error = failure(session, kind)
    assert len(gateway.received) == (quick.attempts if issubclass(kind, TransientError) else 1)
    assert error.status == situation.status
    assert CURES[kind] in str(error).splitlines()[-1]
    if not situation.is_page:
        assert error.request_id == REQUEST_ID
        assert str(error).count(REQUEST_ID) == 1
        assert language is None or (situation.english if language == "English" else situation.chinese) in str(error)


@pytest.mark.parametrize("on_error", ["stop", "keep"])
@pytest.mark.parametrize("name", STOPPING)
def test_what_would_meet_every_row_ends_the_job_within_the_requests_under_way(name: str, on_error: str) -> None:
    with talking_to(always(envelope(name, "Chinese"))) as (session, gateway):
        failure(session, KINDS[name][0], *TEXTS, concurrency=WORKERS, on_error=on_error)
    assert 1 <= len(gateway.received) <= WORKERS
    assert set(Counter(gateway.texts).values()) == {1}


@pytest.mark.parametrize("name", ["token wrong", "balance empty", "no channel", "group not permitted"])
@pytest.mark.parametrize("on_error", ["stop", "keep"])
def test_a_stop_in_the_middle_sends_no_more_than_what_is_under_way_and_what_came_before_is_kept(
    name: str, on_error: str
) -> None:
    served, mended = 15, Event()

    def script(arrival: Arrival) -> bytes:
        return good(arrival) if mended.is_set() or arrival.number < served else envelope(name)

    with talking_to(script) as (session, gateway):
        failure(session, KINDS[name][0], *TEXTS, concurrency=WORKERS, on_error=on_error)
        refused = gateway.texts[served:]
        assert len(refused) <= WORKERS
        mended.set()
        assert_own_vectors(embed(session, TEXTS), TEXTS)
    paid_again = Counter(gateway.texts) - Counter([*TEXTS, *refused])
    assert paid_again.total() == 0  # at most those that were on their way when the stop came


@pytest.mark.parametrize("name", ["token wrong", "balance empty"])
def test_answers_on_their_way_when_a_job_stops_are_paid_for_and_kept(name: str) -> None:
    underway, mended = Event(), Event()

    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.text == "paid":
            underway.set()
            yield 0.3
        elif not mended.is_set():
            underway.wait(30)
            yield envelope(name)
            return
        yield good(arrival)

    with talking_to(script) as (session, gateway):
        failure(session, KINDS[name][0], "refused", "paid", concurrency=2)
        mended.set()
        assert_own_vectors(embed(session, ["refused", "paid"]), ["refused", "paid"])
    assert gateway.texts.count("paid") == 1


# Bursts, and single rows that fail


@pytest.mark.parametrize("name", PASSING)
def test_a_burst_of_trouble_heals_with_every_row_in_its_place(name: str) -> None:
    burst = TEXTS[10:20]

    def script(arrival: Arrival) -> bytes:
        return envelope(name) if arrival.text in burst and arrival.attempt == 1 else good(arrival)

    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, TEXTS, concurrency=8), TEXTS)
        assert session.totals.retries == len(burst)
    assert sorted(gateway.texts) == sorted(TEXTS + burst)


def test_duplicates_of_a_text_that_heals_all_get_its_vector() -> None:
    texts = ["a", "b", "a", "c", "a"]
    with talking_to(then_good(always(envelope("overloaded")))) as (session, gateway):
        assert_own_vectors(embed(session, texts), texts)
    assert Counter(gateway.texts) == {"a": 2, "b": 2, "c": 2}


POISONS: dict[str, tuple[Script, type[GatewayError]]] = {
    "400": (always(json_answer({"error": {"message": "not this text", "code": 400}}, 400)), RejectedTextError),
    "413": (always(envelope("body too large")), RejectedTextError),
    "422": (always(answer(422)), RejectedTextError),
    "500 invalid_request": (always(envelope("malformed request", "Chinese")), RejectedTextError),
    "204": (always(answer(204, headers={"content-length": None})), BadAnswerError),
    "NaN": (lambda arrival: with_value(arrival, "NaN"), BadAnswerError),
    "503 for ever": (always(envelope("overloaded")), UpstreamError),
    "cut for ever": (lambda arrival: answer(200, right_body(arrival)[:99]), UnreadableAnswerError),
}


def poisoned(name: str, text: str) -> Script:
    poison = POISONS[name][0]
    return lambda arrival: steps_of(poison if arrival.text == text else good, arrival)


@pytest.mark.parametrize("name", POISONS)
def test_one_poisoned_text_fails_alone_where_rows_are_kept(name: str, quick: RetryPolicy) -> None:
    texts = TEXTS[:12]
    with talking_to(poisoned(name, texts[5])) as (session, gateway):
        embeddings = job(session, [*texts, texts[5]], on_error="keep", concurrency=WORKERS)
    others = [row for row in range(12) if row != 5]
    assert_own_vectors(embeddings.matrix[others], [texts[row] for row in others])
    assert np.isnan(embeddings.matrix[[5, 12]]).all()
    assert embeddings.errors.keys() == {5, 12}
    assert POISONS[name][1].meaning in embeddings.errors[5]
    expected = quick.attempts if issubclass(POISONS[name][1], TransientError) else 1
    assert Counter(gateway.texts) == {text: expected if text == texts[5] else 1 for text in texts}


@pytest.mark.parametrize("name", POISONS)
def test_one_poisoned_text_stops_the_job_and_the_others_are_paid_for_once(name: str) -> None:
    with talking_to(poisoned(name, TEXTS[9])) as (session, gateway):
        error = failure(session, POISONS[name][1], *TEXTS, concurrency=WORKERS)
        assert f"Row 9 ({TEXTS[9]!r})" in str(error)
        healthy = [text for text in TEXTS if text != TEXTS[9]]
        assert_own_vectors(embed(session, healthy), healthy)
    counts = Counter(gateway.texts)
    assert all(counts[text] == 1 for text in healthy)


# Google's own envelope


def google(*arguments: Any) -> Script:
    return always(answer(arguments[0], google_error(*arguments)))


GOOGLE: dict[str, tuple[Script, type[GatewayError]]] = {
    "key invalid": (
        google(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"}),
        TokenRefusedError,
    ),
    "unauthenticated": (google(401, "UNAUTHENTICATED", "no"), TokenRefusedError),
    "permission": (google(403, "PERMISSION_DENIED", "no"), AccessDeniedError),
    "no such model": (google(404, "NOT_FOUND", "models/x is not found"), ModelUnavailableError),
    "per day": (google(429, "RESOURCE_EXHAUSTED", "x", PER_DAY, retry_info("45.837906927s")), DailyLimitError),
    "per day and per minute": (
        google(429, "RESOURCE_EXHAUSTED", "Please retry in 1s.", PER_MINUTE, PER_DAY, retry_info("1s")),
        DailyLimitError,
    ),
    "a wait longer than a row may take": (
        google(429, "RESOURCE_EXHAUSTED", "x", PER_MINUTE, retry_info("86399s")),
        LongWaitError,
    ),
}


@pytest.mark.parametrize("on_error", ["stop", "keep"])
@pytest.mark.parametrize("name", GOOGLE)
def test_googles_final_words_end_the_job_within_the_requests_under_way(name: str, on_error: str) -> None:
    script, kind = GOOGLE[name]
    with talking_to(script) as (session, gateway):
        failure(session, kind, *TEXTS, concurrency=WORKERS, on_error=on_error)
    assert len(gateway.received) <= WORKERS


@pytest.mark.parametrize(
    ("details", "message", "named"),
    [
        ([PER_MINUTE, retry_info("0.4s")], "x", 0.4),
        ([retry_info("0.400000001s"), PER_MINUTE], "x", 0.4),
        ([retry_info("400ms")], "x", 0.4),
        ([], "Please retry in 0.4s.", 0.4),
        ([PER_MINUTE, retry_info("soon")], "Please retry in 400ms", 0.4),
        ([PER_MINUTE, retry_info("-30s")], "x", 0.0),
        ([PER_MINUTE, {"retryDelay": None}, {"retryDelay": {"seconds": 90}}], "x", 0.0),
        ([PER_MINUTE], "x", 0.0),
    ],
)
def test_googles_limit_per_minute_is_waited_out_as_long_as_it_says(
    details: list[dict[str, Any]], message: str, named: float
) -> None:
    with talking_to(then_good(google(429, "RESOURCE_EXHAUSTED", message, *details))) as (session, gateway):
        assert_own_vectors(embed(session, ["x"]), ["x"])
    first, second = gateway.received
    assert named <= second.at - first.at < named + MISREAD


@pytest.mark.parametrize(("status", "word"), [(500, "INTERNAL"), (503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED")])
def test_googles_weather_passes(status: int, word: str) -> None:
    with talking_to(then_good(google(status, word, "An internal error"), times=2)) as (session, gateway):
        assert_own_vectors(embed(session, ["x"]), ["x"])
    assert len(gateway.received) == 3


# Retry-After


def in_seconds(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (lambda: "1", 1.0),
        (lambda: " 0.4 ", 0.4),
        (lambda: in_seconds(2.5), 1.0),  # a date has whole seconds
        (lambda: in_seconds(-3600), 0.0),
        (lambda: "Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (lambda: "-30", 0.0),
        (lambda: "0", 0.0),
        (lambda: "", 0.0),
        (lambda: "soon", 0.0),
        (lambda: "1 minute", 0.0),
        (lambda: "NaN", 0.0),
        (lambda: "Infinity", 0.0),
        (lambda: "1e3", 0.0),
        (lambda: "0x10", 0.0),
        (lambda: "Thu, 99 Foo 2026 99:99:99 GMT", 0.0),
    ],
    ids=[
        "seconds", "a fraction", "a date", "a date in the past", "the epoch", "negative", "zero", "empty", "a word",
        "words", "NaN", "Infinity", "an exponent", "hexadecimal", "an impossible date",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for_where_it_is_a_wait_and_passed_over_where_not(
    status: int, header: Callable[[], str], named: float
) -> None:
    def limited(_: Arrival) -> bytes:
        return answer(status, b"", {"retry-after": header()})

    with talking_to(then_good(limited)) as (session, gateway):
        assert_own_vectors(embed(session, ["x"]), ["x"])
        assert session.totals.retries == 1
    first, second = gateway.received
    assert named <= second.at - first.at < named + MISREAD


@pytest.mark.parametrize(
    "header", ["301", "86400", "9" * 30, "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"], ids=lambda text: text[:30]
)
def test_a_wait_that_is_longer_than_a_row_may_take_is_not_begun(header: str) -> None:
    with talking_to(always(answer(429, b"", {"retry-after": header}))) as (session, gateway):
        failure(session, LongWaitError, *TEXTS, concurrency=WORKERS)
    assert len(gateway.received) <= WORKERS
    with talking_to(always(answer(503, b"", {"retry-after": header}))) as (session, gateway):
        failure(session, UpstreamError, *TEXTS, concurrency=WORKERS)
    assert len(gateway.received) <= WORKERS
