"""Pace and concurrency: how much at once and how often, by the gateway's own log."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest
from support.engine import python, side_by_side

from faults.answers import always, answer, good, limit, openai_error
from faults.gateway import HANG, Arrival, Script, Step, fault_gateway
from faults.jobs import WINDOW, assert_own_vectors, embed, job, most_in_a_window, talking_to, texts_of
from vn_magic.gateway.retry import RetryPolicy
from vn_magic.progress import ProgressEvent
from vn_magic.settings import FIRST_CONCURRENCY, MOST_CONCURRENCY

UNAVAILABLE = answer(503, openai_error("overloaded", code="system_cpu_overloaded"))


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


# After a 429


def test_one_429_among_clean_answers_holds_all_and_resumes_as_slowly_and_the_progress_tells() -> None:
    all_are_there, heard, events = threading.Barrier(16), threading.Event(), list[ProgressEvent]()

    def script(arrival: Arrival) -> Iterator[Step]:
        if 32 < arrival.number <= 48:  # one of each worker, all under way together
            all_are_there.wait(60)
        if arrival.number == 40:
            yield limit(1.2, "header")
        else:
            if 32 < arrival.number <= 48:
                heard.wait(60)  # answered after it
            else:
                yield 0.02
            yield good(arrival)

    def report(event: ProgressEvent) -> None:
        events.append(event)
        if event.waiting:
            heard.set()

    texts = texts_of(120)
    with talking_to(script) as (session, gateway):
        request = session.prepare(texts, dimension=128, concurrency=16)
        assert_own_vectors(session.run(session.run_job(request, report)).matrix, texts)
    told, *later = [arrival.at for arrival in gateway.received[48:]]
    assert later[0] >= told + 1.2
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
    heard = threading.Event()

    def script(arrival: Arrival) -> bytes:
        if arrival.number > 30:
            heard.wait(60)  # or the others would be answered, and start again, before anybody has heard of the wait
        return limit(0.4, "header") if arrival.number == 30 else good(arrival)

    def report(event: ProgressEvent) -> None:
        if event.retries:
            heard.set()

    texts = texts_of(200)
    with talking_to(script) as (session, gateway):
        request = session.prepare(texts, dimension=128, concurrency=12)
        assert_own_vectors(session.run(session.run_job(request, report)).matrix, texts)
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
    all_are_there, heard = threading.Barrier(8), threading.Event()

    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.number < 8:
            all_are_there.wait(60)
            if arrival.text == "panel 0":
                yield limit(0.4, "header")
            else:
                heard.wait(60)
                yield good(arrival)
        else:
            yield 0.05
            yield good(arrival)

    def report(event: ProgressEvent) -> None:
        if event.retries:
            heard.set()

    with talking_to(script) as (session, gateway), ThreadPoolExecutor(2) as pool:
        jobs = []
        for name in ("panel", "cell"):
            texts = [f"{name} {number}" for number in range(20)]
            request = session.prepare(texts, dimension=128, concurrency=4)
            jobs.append(pool.submit(session.run_request, request, report))
        for each in jobs:
            each.result(60)
    times = [arrival.at for arrival in gateway.received]
    told, later = times[7], times[8:]
    assert later[0] >= told + 0.4
    # One of each job tests the water.
    assert later[2] >= later[0] + 0.05


# Concurrency


def test_unset_concurrency_grows_while_answers_are_clean_and_the_progress_tells() -> None:
    gauge, events = Gauge(0.02), list[ProgressEvent]()
    more_than_at_first = threading.Barrier(FIRST_CONCURRENCY + 1)

    def script(arrival: Arrival) -> Iterator[Step]:
        steps = gauge(arrival)
        yield next(steps)
        # However slow client and gateway are: when the first ones are answered, one more than these is under way.
        if FIRST_CONCURRENCY <= arrival.number <= 2 * FIRST_CONCURRENCY:
            more_than_at_first.wait(60)
        yield from steps

    texts = texts_of(900)
    with talking_to(script) as (session, _):
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
        assert side_by_side(kernels) == [("(20, 128)\n", "")] * 2
    times = [arrival.at for arrival in gateway.received]
    assert len(times) == 40
    assert most_in_a_window(times, WINDOW) <= 10
