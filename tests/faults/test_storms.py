"""Storms, pace and patience: what a whole job asks of a gateway that cannot take it, by the gateway's own log."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
from support.engine import python

from faults.answers import always, answer, good, json_answer, limit, openai_error
from faults.gateway import HANG, RESET, Arrival, Script, Step, fault_gateway
from faults.jobs import assert_own_vectors, embed, failure, job, talking_to
from vn_magic.exceptions import OutageError
from vn_magic.gateway.circuit import MOST_BAD_ANSWERS_IN_A_ROW, MOST_IN_A_ROW, MOST_LIMITED_IN_A_ROW
from vn_magic.gateway.client import GatewayClient
from vn_magic.gateway.retry import RetryPolicy
from vn_magic.progress import ProgressEvent
from vn_magic.settings import FIRST_CONCURRENCY, MOST_CONCURRENCY

WINDOW = 0.5
UNAVAILABLE = answer(503, openai_error("overloaded", code="system_cpu_overloaded"))


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sessions of this test be as persistent as ever, but wait for milliseconds where they would for seconds."""
    shorter = {"first_backoff": 0.002, "longest_backoff": 0.02}
    defaults = tuple(shorter.get(item.name, item.default) for item in fields(RetryPolicy))
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", defaults)


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients of this test count their rate by half a second instead of a minute."""
    monkeypatch.setattr("vn_magic.gateway.client.GatewayClient", partial(GatewayClient, window=WINDOW))


def texts_of(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def most_in_a_window(times: list[float], window: float) -> int:
    return max(sum(first <= later < first + window for later in times) for first in times)


class Gauge:
    """Answers rightly after a while, and counts how many requests it has at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, arrival: Arrival) -> Iterator[Step]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        yield self._seconds
        with self._lock:
            self._now -= 1  # before the answer leaves: what comes because of it is not at once with it
        yield good(arrival)


# Storms


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("on_error", ["stop", "keep"])
@pytest.mark.parametrize("concurrency", [None, 64])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(always(answer(429)), id="429 without a word"),
        pytest.param(always(limit(0.01, "header")), id="429 that names its wait"),
        pytest.param(always(UNAVAILABLE), id="503"),
        pytest.param(always(RESET), id="reset"),
    ],
)
def test_a_storm_gets_a_bounded_number_of_attempts_not_rows_times_attempts(
    script: Script, concurrency: int | None, on_error: str
) -> None:
    with talking_to(script) as (session, gateway):
        error = failure(session, OutageError, *texts_of(2000), concurrency=concurrency, on_error=on_error)
    assert "failed again and again" in str(error)
    assert ("set --rpm to what the account allows" in str(error)) == (error.status == 429)
    # A volley, those who had started when all of it had failed, and then one at a time.
    steps = MOST_LIMITED_IN_A_ROW if error.status == 429 else MOST_IN_A_ROW
    assert len(gateway.received) <= 2 * (concurrency or FIRST_CONCURRENCY) + steps + 2


def test_answers_without_a_vector_are_paid_for_a_bounded_number_of_times_too() -> None:
    zeros = json_answer({"embedding": {"values": [0.0] * 128}})
    with talking_to(always(zeros)) as (session, gateway):
        error = failure(session, OutageError, *texts_of(2000), on_error="keep", concurrency=4)
    assert "an answer without a vector × " in str(error)
    assert len(gateway.received) <= MOST_BAD_ANSWERS_IN_A_ROW + 4


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize(("poisoned", "concurrency"), [(1, None), (1, 1), (2, None), (2, 1), (4, 4), (4, 1), (9, None)])
def test_rows_that_fail_for_ever_fail_alone_under_keep_and_when_nothing_else_is_left(
    poisoned: int, concurrency: int | None
) -> None:
    spoilt = set(range(0, 3 * poisoned, 3))

    def script(arrival: Arrival) -> bytes:
        return UNAVAILABLE if int((arrival.text or "").split()[1]) in spoilt else good(arrival)

    texts = texts_of(60)
    with talking_to(script) as (session, gateway):
        for _ in range(2):  # the second time only these rows are left
            embeddings = job(session, texts, on_error="keep", concurrency=concurrency)
            assert set(embeddings.errors) == spoilt
            right = [row for row in range(60) if row not in spoilt]
            assert_own_vectors(embeddings.matrix[right], [texts[row] for row in right])
    assert Counter(gateway.texts)[texts[1]] == 1


def test_texts_that_the_gateway_rejects_say_nothing_about_the_gateway() -> None:
    rejection = answer(400, openai_error("not this text", "upstream_error", 400))
    texts = texts_of(300)
    with talking_to(lambda arrival: rejection if arrival.number < 290 else good(arrival)) as (session, gateway):
        embeddings = job(session, texts, on_error="keep", concurrency=4)
    assert len(gateway.received) == 300
    assert len(embeddings.errors) == 290


@pytest.mark.usefixtures("brisk")
def test_a_gateway_that_falls_silent_gets_a_bounded_number_of_attempts() -> None:
    with talking_to(always(HANG), deadline=0.1) as (session, gateway):
        failure(session, OutageError, *texts_of(500), on_error="keep")
    assert len(gateway.received) <= 2 * FIRST_CONCURRENCY + MOST_IN_A_ROW + 2


@pytest.mark.usefixtures("brisk")
def test_an_outage_names_what_was_seen() -> None:
    def script(arrival: Arrival) -> bytes:
        return answer(429) if arrival.number % 2 else UNAVAILABLE

    with talking_to(script) as (session, _):
        told = str(failure(session, OutageError, *texts_of(200)))
    assert "429 × " in told
    assert "503 × " in told


@pytest.mark.usefixtures("brisk")
def test_an_outage_loses_nothing_that_had_arrived_and_the_next_run_pays_only_for_the_rest() -> None:
    broken = threading.Event()

    def script(arrival: Arrival) -> bytes:
        if arrival.number == 100:
            broken.set()
        return UNAVAILABLE if broken.is_set() else good(arrival)

    texts = texts_of(400)
    with talking_to(script) as (session, gateway):
        failure(session, OutageError, *texts)
        before = len(gateway.received)
        broken = threading.Event()
        assert_own_vectors(embed(session, texts), texts)
        again = {arrival.text for arrival in gateway.received[before:]}
    assert again.isdisjoint({arrival.text for arrival in gateway.received[:100]})


@pytest.mark.usefixtures("brisk")
def test_a_short_outage_in_the_middle_heals_with_the_order_intact() -> None:
    def script(arrival: Arrival) -> bytes:
        return UNAVAILABLE if 200 <= arrival.number < 230 else good(arrival)

    texts = texts_of(600)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts, concurrency=24), texts)
    assert len(gateway.received) == 630


@pytest.mark.usefixtures("brisk")
def test_a_network_that_was_there_and_goes_away_is_waited_for() -> None:
    def script(arrival: Arrival) -> Iterator[Step]:
        yield RESET if 50 <= arrival.number < 50 + 6 else good(arrival)

    texts = texts_of(120)
    with talking_to(script) as (session, _):
        assert_own_vectors(embed(session, texts, concurrency=1), texts)


@pytest.mark.usefixtures("brisk")
def test_a_gateway_that_fails_more_often_than_not_is_not_burdened_with_retries_on_top() -> None:
    def script(arrival: Arrival) -> bytes:
        return UNAVAILABLE if arrival.number % 4 else good(arrival)

    texts = texts_of(1200)
    with talking_to(script) as (session, gateway):
        embeddings = job(session, texts, on_error="keep")
    # The retries of the start, and one more for every success that needed one or every fifth that did not.
    successes = sum(arrival.number % 4 == 0 for arrival in gateway.received)
    assert len(gateway.received) <= len(texts) + 2 * 2 * MOST_CONCURRENCY + successes
    unpaid = [message for message in embeddings.errors.values() if "Not tried again" in message]
    assert len(unpaid) > 100
    right = [row for row in range(len(texts)) if row not in embeddings.errors]
    assert len(right) == successes
    assert_own_vectors(embeddings.matrix[right], [texts[row] for row in right])
    assert np.isnan(embeddings.matrix[list(embeddings.errors)]).all()


@pytest.mark.usefixtures("brisk")
def test_a_gateway_that_fails_every_fifth_time_is_worked_with_to_the_end() -> None:
    def script(arrival: Arrival) -> bytes:
        return good(arrival) if arrival.number % 5 else UNAVAILABLE

    texts = texts_of(1500)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts), texts)
    assert len(gateway.received) < 1.3 * len(texts)


# After a 429


def test_one_429_among_clean_answers_holds_all_and_resumes_as_slowly_and_the_progress_tells() -> None:
    refused, events = threading.Event(), list[ProgressEvent]()

    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.number == 40:
            yield limit(1.2, "header")
            refused.set()
        else:
            if 32 < arrival.number < 50:  # under way with it, and answered well after it
                refused.wait()
                yield 0.1
            yield 0.02
            yield good(arrival)

    texts = texts_of(120)
    with talking_to(script) as (session, gateway):
        request = session.prepare(texts, dimension=128, concurrency=16)
        assert_own_vectors(session.run(session.run_job(request, events.append)).matrix, texts)
    told = gateway.received[40].at
    later = [arrival.at for arrival in gateway.received if arrival.at >= told + 1.2]
    assert sum(told < arrival.at < told + 1.2 for arrival in gateway.received) < 16
    assert later[1] >= later[0] + 0.02  # alone until it was answered
    waiting = [event for event in events if event.waiting]
    assert {event.waiting for event in waiting} == {"1 s (429)"}
    assert {event.concurrency for event in waiting} == {1}
    assert max(event.done for event in waiting) > min(event.done for event in waiting)  # answers that came meanwhile


@pytest.mark.parametrize("place", ["header", "text", "details"])
def test_after_a_429_traffic_resumes_with_one_request_that_tests_the_water(place: str) -> None:
    # All of the first volley are refused; then every answer takes a while, so that a burst would show.
    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.number < 16:
            yield limit(0.3, place)
        else:
            yield 0.05
            yield good(arrival)

    texts = texts_of(60)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts, concurrency=16), texts)
    times = [arrival.at for arrival in gateway.received]
    refused, later = times[:16], times[16:]
    assert later[0] >= refused[-1] + 0.3
    assert later[1] >= later[0] + 0.05  # alone until it was answered
    assert later[3] >= later[1] + 0.05  # then two
    assert later[7] >= later[3] + 0.05  # then four


@pytest.mark.usefixtures("brisk")
def test_a_wait_that_the_server_names_is_kept_by_all_workers() -> None:
    def script(arrival: Arrival) -> bytes:
        return limit(0.4, "header") if arrival.number == 30 else good(arrival)

    texts = texts_of(200)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts, concurrency=12), texts)
    told = gateway.received[30].at
    # Those who were on their way with it may still arrive; nobody starts later.
    assert sum(told < arrival.at < told + 0.4 for arrival in gateway.received) <= 12


@pytest.mark.parametrize("concurrency", [None, 1])
def test_a_limit_that_is_counted_by_the_minute_and_names_no_wait_is_worked_with_to_the_end(
    monkeypatch: pytest.MonkeyPatch, concurrency: int | None
) -> None:
    # All times a thirtieth of what they are: a minute is two seconds.
    minute = 2.0
    shorter = {"first_backoff": 0.5 / 30, "longest_backoff": 1.0}
    defaults = tuple(shorter.get(item.name, item.default) for item in fields(RetryPolicy))
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", defaults)
    lock, admitted = threading.Lock(), Counter[int]()

    def script(arrival: Arrival) -> bytes:
        with lock:
            now = int(arrival.at / minute)
            admitted[now] += 1
            return good(arrival) if admitted[now] <= 15 else answer(429)

    texts = texts_of(60)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts, concurrency=concurrency), texts)
    assert len(gateway.received) < 2.5 * len(texts)


@pytest.mark.usefixtures("brisk")
def test_a_wait_that_the_server_names_is_kept_also_when_the_row_that_heard_it_is_not_tried_again() -> None:
    def script(arrival: Arrival) -> bytes:
        return limit(0.6, "header") if arrival.text == "text 0" else good(arrival)

    texts = texts_of(8)
    with talking_to(script) as (session, gateway):
        session.configure("row_timeout", 1.0, "this test")
        embeddings = job(session, texts, on_error="keep", concurrency=1)
    assert set(embeddings.errors) == {0}
    refused = [arrival.at for arrival in gateway.received if arrival.text == "text 0"]
    others = [arrival.at for arrival in gateway.received if arrival.text != "text 0"]
    assert min(others) >= refused[-1] + 0.6


def test_two_jobs_of_one_session_back_off_together() -> None:
    all_are_there = threading.Barrier(9)

    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.number < 8:
            all_are_there.wait(60)
            if arrival.text == "panel 0":
                yield limit(0.4, "header")
            else:
                yield good(arrival)
        else:
            yield 0.05
            yield good(arrival)

    with talking_to(script) as (session, gateway), ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(embed, session, [f"{name} {number}" for number in range(20)], concurrency=4)
            for name in ("panel", "cell")
        ]
        all_are_there.wait(60)
        for each in jobs:
            each.result(60)
    told = next(arrival.at for arrival in gateway.received if arrival.text == "panel 0")
    later = [arrival.at for arrival in gateway.received if arrival.at >= told + 0.4]
    # One of each job tests the water.
    assert later[2] >= later[0] + 0.05


# Concurrency


def test_unset_concurrency_grows_while_answers_are_clean_and_the_progress_tells() -> None:
    gauge, events = Gauge(0.02), list[ProgressEvent]()
    texts = texts_of(900)
    with talking_to(gauge) as (session, _):
        embeddings = session.run(session.run_job(session.prepare(texts, dimension=128), events.append))
    assert FIRST_CONCURRENCY < gauge.most <= MOST_CONCURRENCY
    assert gauge.most <= embeddings.summary.concurrency <= max(event.concurrency for event in events)
    first = next(event.concurrency for event in events if event.requests)
    assert first == FIRST_CONCURRENCY


@pytest.mark.parametrize("given", [1, 3, 20])
def test_a_given_concurrency_is_never_exceeded(given: int) -> None:
    gauge = Gauge(0.005)
    with talking_to(gauge) as (session, _):
        embed(session, texts_of(150), concurrency=given)
    assert gauge.most <= given


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize(
    ("fault", "deadline"), [(always(limit(0.01, "header")), 30.0), (always(HANG), 0.3)], ids=["429", "timeout"]
)
def test_concurrency_backs_off_on_strain_and_the_progress_tells(fault: Script, deadline: float) -> None:
    events = list[ProgressEvent]()
    gauge = Gauge(0.002)

    def script(arrival: Arrival) -> Iterator[Step]:
        yield from fault(arrival) if arrival.number == 100 else gauge(arrival)

    texts = texts_of(200)
    with talking_to(script, deadline=deadline) as (session, _):
        request = session.prepare(texts, dimension=128, concurrency=10)
        assert_own_vectors(session.run(session.run_job(request, events.append)).matrix, texts)
    assert next(event.concurrency for event in events if event.requests) == 10
    assert min(event.concurrency for event in events if event.requests) == 1


# Pace


@pytest.mark.usefixtures("short_window")
@pytest.mark.parametrize(("rate", "rows"), [(3, 10), (12, 40)])
def test_the_gateway_never_sees_more_requests_in_any_window_than_the_rate(rate: int, rows: int) -> None:
    texts = texts_of(rows)
    with talking_to(Gauge(0.01)) as (session, gateway):
        assert_own_vectors(embed(session, texts, requests_per_minute=rate, concurrency=16), texts)
    assert len(gateway.received) == rows
    assert most_in_a_window([arrival.at for arrival in gateway.received], WINDOW) <= rate


@pytest.mark.usefixtures("short_window", "brisk")
def test_retries_count_in_the_rate() -> None:
    def script(arrival: Arrival) -> bytes:
        return UNAVAILABLE if arrival.attempt == 1 else good(arrival)

    texts = texts_of(12)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts, requests_per_minute=8), texts)
    assert len(gateway.received) == 24
    assert most_in_a_window([arrival.at for arrival in gateway.received], WINDOW) <= 8


KERNEL = """
import sys
from functools import partial
import vn_magic.gateway.client as client

client.GatewayClient = partial(client.GatewayClient, window=float(sys.argv[2]))
from vn_magic import Session

session = Session(base_url=sys.argv[1], token="sk-canary-5f02c8e1aa")
print("ready", flush=True)
sys.stdin.readline()
texts = [f"{sys.argv[3]} {number}" for number in range(20)]
matrix = session.embed(texts, result="numpy", dimension=128, requests_per_minute=int(sys.argv[4]), cache=False)
print(matrix.shape)
session.close()
"""


def test_kernels_of_one_machine_share_the_rate_whatever_their_caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    with fault_gateway(Gauge(0.01)) as gateway:
        kernels = [
            python(KERNEL, gateway.base_url, str(WINDOW), name, "10", VN_MAGIC_CACHE=str(tmp_path_factory.mktemp(name)))
            for name in ("one", "other")
        ]
        for kernel in kernels:
            assert kernel.stdout is not None
            assert kernel.stdout.readline() == "ready\n"
        for kernel in kernels:
            assert kernel.stdin is not None
            kernel.stdin.write("go\n")
            kernel.stdin.flush()
        told = [kernel.communicate(timeout=120) for kernel in kernels]
        assert told == [("(20, 128)\n", "")] * 2
    times = [arrival.at for arrival in gateway.received]
    assert len(times) == 40
    assert most_in_a_window(times, WINDOW) <= 10
