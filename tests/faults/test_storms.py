"""Storms: what a whole job asks of a gateway that fails and fails, by the gateway's own log."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from faults.answers import always, answer, good, json_answer, limit, openai_error
from faults.gateway import HANG, RESET, Arrival, Script, Step
from faults.jobs import assert_own_vectors, embed, failure, job, talking_to, texts_of
from vn_magic.exceptions import OutageError
from vn_magic.gateway.circuit import MOST_BAD_ANSWERS_IN_A_ROW, MOST_IN_A_ROW, MOST_LIMITED_IN_A_ROW
from vn_magic.settings import FIRST_CONCURRENCY, MOST_CONCURRENCY

UNAVAILABLE = answer(503, openai_error("overloaded", code="system_cpu_overloaded"))


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
    # Three were under way with the last step of the run that was too short, and three with the first that was not.
    assert len(gateway.received) <= MOST_BAD_ANSWERS_IN_A_ROW + 2 * 3


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
    mended = threading.Event()

    def script(arrival: Arrival) -> bytes:
        return good(arrival) if arrival.number < 100 or mended.is_set() else UNAVAILABLE

    texts = texts_of(400)
    with talking_to(script) as (session, gateway):
        failure(session, OutageError, *texts)
        before = len(gateway.received)
        mended.set()
        assert_own_vectors(embed(session, texts), texts)
        again = {arrival.text for arrival in gateway.received[before:]}
    assert again.isdisjoint({arrival.text for arrival in gateway.received[:100]})


@pytest.mark.usefixtures("brisk")
def test_a_short_outage_in_the_middle_heals_with_the_order_intact() -> None:
    workers = 24
    all_are_there = threading.Barrier(workers)

    def script(arrival: Arrival) -> bytes:
        if 200 <= arrival.number < 200 + workers:
            all_are_there.wait(60)  # one failure of each worker, and one step of the run
        return UNAVAILABLE if 200 <= arrival.number < 230 else good(arrival)

    texts = texts_of(600)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts, concurrency=workers), texts)
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
        # Without the second half a text in two hundred runs would meet it eight times, and be given up.
        return good(arrival) if arrival.number % 5 or arrival.attempt > 5 else UNAVAILABLE

    texts = texts_of(1500)
    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, texts), texts)
    assert len(gateway.received) < 1.3 * len(texts)
