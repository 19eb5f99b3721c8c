"""Several texts in one request: retry, pace, cache and errors are those of each text."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from support.waiting import until

from faults.answers import (
    HTML,
    TRANSIENT,
    answer,
    batch_body_of,
    envelope,
    good,
    json_answer,
    limit,
    openai_error,
    right_body,
    then_good,
    vector_of,
)
from faults.gateway import HANG, RESET, Arrival, FaultGateway, Script, Step
from faults.jobs import (
    DIMENSION,
    WINDOW,
    assert_own_vectors,
    embed,
    failure,
    job,
    most_in_a_window,
    talking_to,
    texts_of,
)
from vn_magic import Embeddings, Session
from vn_magic.exceptions import (
    BadAnswerError,
    OutageError,
    RejectedTextError,
    TokenRefusedError,
    WrongAddressError,
)
from vn_magic.gateway.circuit import MOST_IN_A_ROW, MOST_LIMITED_IN_A_ROW
from vn_magic.settings import FIRST_CONCURRENCY, LARGEST_BATCH

REFUSED_TOKEN = answer(401, openai_error("no such token", "new_api_error", ""))
REJECTED = answer(400, openai_error("* EmbedContentRequest.content: contains no text", "upstream_error", 400))


FIRST = ("the first batch", "finds out")


@contextmanager
def talking_in_batches_to(script: Script) -> Iterator[tuple[Session, FaultGateway]]:
    """Open a session that has learnt by a first batch that its gateway has them; the log is empty again."""

    def with_first(arrival: Arrival) -> bytes | Iterable[Step]:
        return good(arrival) if arrival.texts == FIRST else script(arrival)

    with talking_to(with_first) as (session, gateway):
        embed(session, FIRST, batch_size=2)
        assert gateway.batches == [FIRST]
        gateway.received.clear()
        yield session, gateway


def once_each(texts: Collection[str]) -> Counter[str]:
    return Counter(dict.fromkeys(texts, 1))


def paid(gateway: FaultGateway, is_paid: Callable[[Arrival], bool]) -> Counter[str]:
    """Return how often each text was answered with a vector, where the script does so for these requests."""
    return Counter(text for arrival in gateway.received if is_paid(arrival) for text in arrival.texts)


def started(session: Session, texts: list[str], **options: Any) -> Future[Embeddings]:
    """Start a job on the session's loop."""
    request = session.prepare(texts, **{"dimension": DIMENSION, **options})
    return session.runtime.portal.submit(session.run_job(request))


async def workers() -> int:
    """Count the workers of the jobs on this loop."""
    coroutines = (task.get_coro() for task in asyncio.all_tasks())
    return sum(getattr(coroutine, "__qualname__", "") == "EmbeddingJob._work" for coroutine in coroutines)


# What is in a batch


@pytest.mark.parametrize(("size", "sizes"), [(7, [5, 7, 7, 7, 7, 7]), (20, [20, 20]), (100, [40])])
def test_distinct_texts_go_in_batches_of_the_size_and_every_row_duplicates_included_has_its_own_vector(
    size: int, sizes: list[int]
) -> None:
    texts = texts_of(40) * 3
    random.Random(size).shuffle(texts)
    with talking_in_batches_to(good) as (session, gateway):
        embeddings = job(session, texts, batch_size=size)
    assert_own_vectors(embeddings.matrix, texts)
    assert sorted(map(len, gateway.batches)) == sizes
    assert Counter(gateway.texts) == once_each(texts)
    assert embeddings.summary.requests == len(gateway.received) == len(sizes)


def test_the_largest_batch_of_the_largest_vectors_is_read() -> None:
    texts = texts_of(LARGEST_BATCH)
    with talking_in_batches_to(good) as (session, gateway):
        assert_own_vectors(embed(session, texts, batch_size=LARGEST_BATCH, dimension=3072), texts)
    assert gateway.batches == [tuple(texts)]


def test_texts_that_the_cache_has_are_in_no_batch() -> None:
    texts = texts_of(30)
    with talking_in_batches_to(good) as (session, gateway):
        embed(session, texts[::3], batch_size=10)
        gateway.received.clear()
        assert_own_vectors(embed(session, texts, batch_size=10), texts)
        assert sorted(map(len, gateway.batches)) == [10, 10]
        assert Counter(gateway.texts) == once_each([text for text in texts if text not in texts[::3]])


@pytest.mark.parametrize("seed", range(3))
def test_two_jobs_at_once_that_want_the_same_texts_in_other_orders_send_each_once(seed: int) -> None:
    opened = threading.Event()

    def script(arrival: Arrival) -> bytes:
        opened.wait(30)
        return good(arrival)

    texts = texts_of(60)
    other_order = texts[::-1] if seed == 0 else random.Random(seed).sample(texts, 60)
    with talking_in_batches_to(script) as (session, gateway):
        jobs = [started(session, order, batch_size=7, concurrency=4) for order in (texts, other_order)]
        until(lambda: len(gateway.received) >= 4)
        opened.set()
        one, other = (each.result(60) for each in jobs)
    assert_own_vectors(one.matrix, texts)
    assert_own_vectors(other.matrix, other_order)
    assert Counter(gateway.texts) == once_each(texts)
    assert one.summary.new + other.summary.new == one.summary.cached + other.summary.cached == len(texts)
    assert max(map(len, gateway.batches)) == 7


def test_the_tokens_that_the_gateway_counts_for_a_batch_are_counted_once() -> None:
    def script(arrival: Arrival) -> bytes:
        return json_answer({**json.loads(right_body(arrival)), "usageMetadata": {"promptTokenCount": 70}})

    with talking_in_batches_to(script) as (session, gateway):
        before = session.totals.tokens
        summary = job(session, texts_of(30), batch_size=10).summary
        assert session.totals.tokens - before == 3 * 70
    assert (summary.tokens, summary.tokens_estimated) == (3 * 70, False)
    assert len(gateway.batches) == 3


# One text among many


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("poison", "rows"),
    [
        pytest.param(REJECTED, {5}, id="one is rejected"),
        pytest.param(REJECTED, {0, 11}, id="two of two batches are rejected"),
        pytest.param(REJECTED, {2, 3}, id="two of one batch are rejected"),
        pytest.param(REJECTED, set(range(6)), id="a whole batch is rejected"),
        pytest.param(envelope("malformed request"), {5}, id="one is refused as malformed"),
        pytest.param(envelope("body too large"), {5}, id="one is too large"),
        pytest.param(envelope("upstream unreachable"), {5}, id="one fails for ever"),
        pytest.param([RESET], {5}, id="one breaks the connection for ever"),
    ],
)
def test_a_poisoned_text_in_a_batch_fails_alone_and_the_others_are_paid_for_once(
    poison: bytes | list[Step], rows: set[int]
) -> None:
    texts = [f"bad {row}" if row in rows else f"text {row}" for row in range(18)]

    def is_paid(arrival: Arrival) -> bool:
        return not any(text.startswith("bad") for text in arrival.texts)

    with talking_in_batches_to(lambda arrival: good(arrival) if is_paid(arrival) else poison) as (session, gateway):
        embeddings = job(session, texts, on_error="keep", batch_size=6)
    kept = [row for row in range(18) if row not in rows]
    assert set(embeddings.errors) == rows
    assert all(embeddings.errors[row].startswith(f"Row {row} ('bad {row}'): ") for row in rows)
    assert np.isnan(embeddings.matrix[sorted(rows)]).all()
    assert_own_vectors(embeddings.matrix[kept], [texts[row] for row in kept])
    assert paid(gateway, is_paid) == once_each([texts[row] for row in kept])
    assert max(map(len, gateway.batches)) == 6


def test_a_poisoned_text_in_a_batch_is_named_where_the_job_stops_and_the_others_are_paid_for_once() -> None:
    texts = ["bad" if row == 5 else f"text {row}" for row in range(18)]
    mended = threading.Event()

    def script(arrival: Arrival) -> bytes:
        return REJECTED if "bad" in arrival.texts and not mended.is_set() else good(arrival)

    with talking_in_batches_to(script) as (session, gateway):
        error = failure(session, RejectedTextError, *texts, batch_size=6)
        assert "Row 5 ('bad')" in str(error)
        before = len(gateway.received)
        mended.set()
        assert_own_vectors(embed(session, texts, batch_size=6), texts)
    assert paid(gateway, lambda arrival: arrival.number >= before or "bad" not in arrival.texts) == once_each(texts)
    assert max(map(len, gateway.batches)) == 6


@pytest.mark.parametrize("status", [400, 413])
def test_a_batch_that_is_refused_for_its_size_brings_all_its_rows_in_smaller_ones(status: int) -> None:
    def is_paid(arrival: Arrival) -> bool:
        return len(arrival.texts) <= 4

    refusal = answer(status, openai_error("too many tokens in this batch", "upstream_error", status))
    texts = texts_of(32)
    with talking_in_batches_to(lambda arrival: good(arrival) if is_paid(arrival) else refusal) as (session, gateway):
        assert_own_vectors(embed(session, texts, batch_size=16), texts)
    assert paid(gateway, is_paid) == once_each(texts)
    assert max(map(len, gateway.batches)) == 16


NO_VECTORS: dict[str, Any] = {
    "a null among its values": {"values": [0.5, None]},
    "a NaN among its values": {"values": [0.5, float("nan")]},
    "zeros": {"values": [0.0] * DIMENSION},
    "no values": {"values": []},
    "null in its place": None,
}


def spoiling_the_vector_of(text: str, spoilt: Any, unless: threading.Event) -> Script:
    """Answer rightly but for one text's vector, until somebody has mended that."""

    def script(arrival: Arrival) -> bytes:
        if text not in arrival.texts or unless.is_set():
            return good(arrival)
        value = json.loads(right_body(arrival))
        value["embeddings"][arrival.texts.index(text)] = spoilt
        return json_answer(value)

    return script


@pytest.mark.parametrize("name", NO_VECTORS)
def test_a_vector_of_a_batch_that_is_none_fails_its_own_row_and_the_others_are_kept(name: str) -> None:
    texts, mended = texts_of(12), threading.Event()
    with talking_in_batches_to(spoiling_the_vector_of(texts[7], NO_VECTORS[name], mended)) as (session, gateway):
        embeddings = job(session, texts, on_error="keep", batch_size=12)
        assert set(embeddings.errors) == {7}
        assert "not a usable vector" in embeddings.errors[7]
        assert np.isnan(embeddings.matrix[7]).all()
        kept = [row for row in range(12) if row != 7]
        assert_own_vectors(embeddings.matrix[kept], [texts[row] for row in kept])
        assert gateway.batches == [tuple(texts)]
        assert gateway.texts == texts  # an answer without a vector is paid for, so it is not asked for again
        mended.set()
        assert_own_vectors(embed(session, texts, batch_size=12), texts)
    assert gateway.texts == [*texts, texts[7]]


def test_a_vector_of_a_batch_that_is_none_stops_the_job_and_the_others_are_kept() -> None:
    texts, mended = texts_of(12), threading.Event()
    with talking_in_batches_to(spoiling_the_vector_of(texts[7], None, mended)) as (session, gateway):
        error = failure(session, BadAnswerError, *texts, batch_size=12)
        assert "Row 7 ('text 7')" in str(error)
        mended.set()
        assert_own_vectors(embed(session, texts, batch_size=12), texts)
    assert gateway.batches[0] == tuple(texts)
    assert gateway.texts == [*texts, texts[7]]


# A gateway without batches


def counting(more: int) -> Script:
    """Answer a batch with so many vectors more than it has texts."""

    def script(arrival: Arrival) -> bytes:
        texts = [*arrival.texts, "nobody's"][: len(arrival.texts) + more]
        return answer(200, batch_body_of(texts, arrival.dimension))

    return script


NO_BATCHES: dict[str, Script] = {
    "a gateway's 404": lambda _: answer(404, openai_error("Invalid URL (POST /v1beta/x)", "invalid_request_error", "")),
    "another server's 404": lambda _: answer(404, b"<h1>404", {"content-type": HTML}),
    "405": lambda _: answer(405),
    "a vector too few": counting(-1),
    "a vector too many": counting(1),
    "no vectors": lambda _: json_answer({"embeddings": []}),
}


@pytest.mark.parametrize("concurrency", [1, None])
@pytest.mark.parametrize("name", NO_BATCHES)
def test_a_gateway_without_batches_gets_single_requests_for_the_rest_of_the_session_and_one_notice(
    name: str, concurrency: int | None
) -> None:
    def script(arrival: Arrival) -> bytes | Any:
        return NO_BATCHES[name](arrival) if arrival.is_batch else good(arrival)

    texts, later = texts_of(40), [f"later {row}" for row in range(20)]
    with talking_to(script) as (session, gateway):
        first = job(session, texts, batch_size=5, concurrency=concurrency)
        assert_own_vectors(first.matrix, texts)
        tried = list(gateway.batches)
        second = job(session, later, batch_size=5, concurrency=concurrency)
        assert_own_vectors(second.matrix, later)
    assert tried == [tuple(texts[:2])]  # alone and small, for it may be in vain and paid for
    assert gateway.batches == tried
    assert Counter(arrival.text for arrival in gateway.received if not arrival.is_batch) == once_each([*texts, *later])
    [notice] = first.summary.notices
    assert "several texts in one request" in notice
    assert "alone" in notice
    assert second.summary.notices == ()


def test_an_address_that_knows_neither_batches_nor_single_requests_ends_the_job_and_is_said_so() -> None:
    with talking_to(NO_BATCHES["a gateway's 404"]) as (session, gateway):
        error = failure(session, WrongAddressError, *texts_of(40), batch_size=5, concurrency=2)
        assert "base URL" in str(error)
    assert len(gateway.batches) == 1
    assert len(gateway.received) == 2


# Trouble with all of a batch


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("reset in the body", [12, 6, 6]),
        ("half of the JSON", [12, 6, 6]),
        ("gzip", [12, 6, 6]),
        ("overloaded", [12, 6, 6]),
        ("CDN 502", [12, 6, 6]),
        ("429 in a 200", [12, 12]),
    ],
)
def test_a_batch_that_meets_passing_trouble_is_sent_once_more_in_halves_unless_it_was_a_limit(
    name: str, sizes: list[int]
) -> None:
    texts = texts_of(12)
    with talking_in_batches_to(then_good(TRANSIENT[name])) as (session, gateway):
        embeddings = job(session, texts, batch_size=12)
    assert_own_vectors(embeddings.matrix, texts)
    assert [len(batch) for batch in gateway.batches] == sizes
    assert gateway.texts == texts * 2
    assert (embeddings.summary.requests, embeddings.summary.retries) == (len(sizes), 1)


def test_a_batch_waits_as_a_429_says_and_nothing_is_paid_for_twice() -> None:
    texts = texts_of(20)
    with talking_in_batches_to(lambda arrival: good(arrival) if arrival.number else limit(0.3, "header")) as (
        session,
        gateway,
    ):
        assert_own_vectors(embed(session, texts, batch_size=10, concurrency=1), texts)
    assert gateway.received[1].at >= gateway.received[0].at + 0.3
    assert paid(gateway, lambda arrival: arrival.number > 0) == once_each(texts)
    assert [len(batch) for batch in gateway.batches] == [10, 10, 10]


@pytest.mark.parametrize("on_error", ["stop", "keep"])
def test_what_would_meet_every_text_ends_the_job_within_the_batches_under_way(on_error: str) -> None:
    with talking_in_batches_to(lambda _: envelope("token expired")) as (session, gateway):
        failure(session, TokenRefusedError, *texts_of(40), batch_size=5, concurrency=2, on_error=on_error)
    assert len(gateway.received) == len(gateway.batches) <= 2


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("on_error", ["stop", "keep"])
@pytest.mark.parametrize(
    ("steps", "most_in_a_row"),
    [
        pytest.param([answer(429)], MOST_LIMITED_IN_A_ROW, id="429"),
        pytest.param([envelope("overloaded")], MOST_IN_A_ROW, id="503"),
        pytest.param([RESET], MOST_IN_A_ROW, id="reset"),
    ],
)
def test_a_storm_gets_no_more_requests_where_texts_go_in_batches(
    steps: list[Step], most_in_a_row: int, on_error: str
) -> None:
    with talking_in_batches_to(lambda _: steps) as (session, gateway):
        failure(session, OutageError, *texts_of(2000), batch_size=20, on_error=on_error)
    assert gateway.batches
    assert len(gateway.received) <= 2 * FIRST_CONCURRENCY + most_in_a_row + 2


def test_a_batch_whose_vectors_are_longer_than_asked_is_cut_and_nothing_is_sent_twice() -> None:
    def script(arrival: Arrival) -> bytes:
        heeded = b'"outputDimensionality"' in arrival.body
        return good(arrival) if heeded else answer(200, batch_body_of(arrival.texts, 3072))

    texts = texts_of(20)
    with talking_in_batches_to(script) as (session, gateway):
        embeddings = job(session, texts, batch_size=10, concurrency=1)
    cut = np.array([vector_of(text, 3072)[:DIMENSION] for text in texts[:10]], dtype=np.float64)
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings.matrix[:10], expected, rtol=0, atol=1e-6)
    assert_own_vectors(embeddings.matrix[10:], texts[10:])
    assert gateway.batches == [tuple(texts[:10]), tuple(texts[10:])]
    assert gateway.texts == texts
    assert ["output_dimensionality" in notice for notice in embeddings.summary.notices] == [True]


def test_a_job_that_is_stopped_keeps_the_batches_that_had_arrived_and_the_next_run_sends_the_rest() -> None:
    def script(arrival: Arrival) -> Iterator[Step]:
        yield HANG if arrival.number == 2 else good(arrival)

    texts = texts_of(40)
    with talking_in_batches_to(script) as (session, gateway):
        stopped = started(session, texts, batch_size=10, concurrency=1)
        until(lambda: len(gateway.received) == 3)
        stopped.cancel()
        with pytest.raises(CancelledError):
            stopped.result(60)
        assert_own_vectors(embed(session, texts, batch_size=10, concurrency=1), texts)
    assert paid(gateway, lambda arrival: arrival.number != 2) == once_each(texts)
    assert [len(batch) for batch in gateway.batches] == [10] * 5


# Pace


@pytest.mark.usefixtures("short_window")
@pytest.mark.parametrize(("rate", "size", "rows"), [(5, 100, 12), (10, 10, 30), (10, 4, 24)])
def test_the_rate_counts_texts_and_no_batch_is_larger_than_it(rate: int, size: int, rows: int) -> None:
    texts = texts_of(rows)
    with talking_in_batches_to(good) as (session, gateway):
        assert_own_vectors(embed(session, texts, requests_per_minute=rate, batch_size=size), texts)
    times = [arrival.at for arrival in gateway.received for _ in arrival.texts]
    assert most_in_a_window(times, WINDOW) <= rate
    assert max(map(len, gateway.batches)) == min(rate, size)
    assert Counter(gateway.texts) == once_each(texts)


def test_after_an_error_that_ends_the_job_no_half_of_a_rejected_batch_is_sent_any_more() -> None:
    over = threading.Event()

    def script(arrival: Arrival) -> bytes | Iterable[Step]:
        if "text 7" in arrival.texts:
            return [REFUSED_TOKEN]
        over.wait(30)
        return [REJECTED]

    with talking_in_batches_to(script) as (session, gateway):
        running = started(session, texts_of(8), batch_size=4, concurrency=2)
        until(lambda: len(gateway.received) == 2)
        until(lambda: session.run(workers()) == 1)  # the one that met the 401 has ended the job
        over.set()
        with pytest.raises(TokenRefusedError):
            running.result(60)
        assert len(gateway.received) == 2


@pytest.mark.usefixtures("quick")
def test_a_row_that_another_job_is_asking_for_is_not_said_to_have_failed_with_its_batch() -> None:
    opened = threading.Event()

    def script(arrival: Arrival) -> bytes:
        if "slow" not in arrival.texts:
            return answer(500, openai_error("x", "upstream_error", "do_request_failed"))
        opened.wait(30)
        return good(arrival)

    with talking_in_batches_to(script) as (session, gateway):
        first = started(session, ["slow"])
        until(lambda: gateway.texts == ["slow"])
        other = started(session, ["slow", *texts_of(7)], batch_size=8, on_error="keep")
        with pytest.raises(OutageError):  # not a result in which a row that was never tried has failed
            other.result(60)
        opened.set()
        assert first.result(60).errors == {}
        assert gateway.texts.count("slow") == 1
