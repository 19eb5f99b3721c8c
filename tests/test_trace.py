"""What a session remembers of its last job: each row's outcome, and what went over a real wire for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from faults.answers import answer as http
from faults.answers import body_of, json_answer, openai_error, with_value
from faults.gateway import CLOSE, Arrival, Script, Step, fault_gateway
from support.engine import BAD_TEXT, behind
from support.gateways import Served, served

from vn_magic import Session
from vn_magic.classroom.recording import save_session
from vn_magic.exceptions import VnMagicError
from vn_magic.lookup import Origin
from vn_magic.offline import create_app, lexical
from vn_magic.settings import JobOptions, Recipe
from vn_magic.trace import MOST_EXCHANGES, Exchange, Outcome, Trace

TOKEN = "sk-canary-8c0ab12f6e"


def trace_of(session: Session) -> Trace:
    assert session.last_job is not None
    return session.last_job


def trace_after(script: Script, *texts: str, row_timeout: float = 60.0) -> Trace:
    """Embed texts, 128 values each, with a gateway that answers so, and return what is remembered."""
    with fault_gateway(script) as gateway:
        session = Session(base_url=gateway.base_url, token=TOKEN)
        session.configure("row_timeout", row_timeout, "this test")
        with suppress(VnMagicError):
            session.embed(list(texts), dimension=128, on_error="keep")
        session.close()
        return trace_of(session)


async def _refusing_bad(text: str) -> tuple[int, dict[str, str], bytes] | None:
    return BAD_TEXT if text == "bad" else None


def test_every_row_has_its_outcome() -> None:
    with served(behind(_refusing_bad, create_app())) as gateway:
        session = Session(base_url=gateway.url, token=TOKEN)
        session.embed(["old"])
        session.embed(["new", "old", None, "bad", "new", "bad"], on_error="keep")
        session.close()
    trace = trace_of(session)
    found = [trace.outcome(row).name for row in range(6)]
    assert found == ["NEW", "CACHED", "FAILED", "FAILED", "NEW", "FAILED"]
    assert [trace.was_sent(row) for row in range(6)] == [True, False, False, True, True, True]
    assert [trace.first(row) for row in range(6)] == [0, 1, 2, 3, 0, 3]
    assert trace.errors[2] == "missing"
    assert "rejected this text" in trace.errors[3]
    assert (trace.count(Outcome.NEW), trace.count(Outcome.CACHED), trace.count(Outcome.FAILED)) == (1, 1, 1)
    assert trace.first_remembered == 0


def test_a_request_is_remembered_as_the_gateway_received_it(session: Session, gateway: Served) -> None:
    session.embed(['It\'s "naïve"\n日本 \\ text', "other"])
    [request] = [one for one in gateway.received if "naïve" in one.text]
    exchange = trace_of(session).exchange(0)
    assert exchange is not None
    assert (exchange.path, exchange.body, exchange.texts) == (request.path, request.body, 1)
    assert (exchange.status, exchange.length, exchange.attempts) == (200, 768, 1)


def test_the_gateways_own_request_id_and_count_of_tokens_are_remembered() -> None:
    def counting(arrival: Arrival) -> bytes:
        value = {"embedding": {"values": [0.5] * 128}, "usageMetadata": {"promptTokenCount": 41}}
        return json_answer(value, headers={"X-Oneapi-Request-Id": f"id of {arrival.text}"})

    exchange = trace_after(counting, "one").exchange(0)
    assert exchange is not None
    assert (exchange.request_id, exchange.tokens) == ("id of one", 41)


def test_a_service_that_counts_nothing_leaves_the_count_open(session: Session) -> None:
    session.embed(["one"])
    exchange = trace_of(session).exchange(0)
    assert exchange is not None
    assert exchange.tokens is None


def test_rows_of_a_batch_share_its_request(session: Session, gateway: Served) -> None:
    session.embed(["a", "b", "c", "d", "e"], batch_size=3)
    trace = trace_of(session)
    batches = {request.body: request.texts for request in gateway.received}
    for row, text in enumerate("abcde"):
        exchange = trace.exchange(row)
        assert exchange is not None
        assert text in batches[exchange.body]
        assert exchange.texts == len(batches[exchange.body])


def test_a_row_that_was_tried_again_remembers_how_often_and_the_last_answer() -> None:
    def twice_busy(arrival: Arrival) -> bytes:
        if arrival.attempt < 3:
            return http(429, openai_error("retry in 1ms"))
        return json_answer({"embedding": {"values": [0.5] * 128}}, headers={"X-Oneapi-Request-Id": "third"})

    exchange = trace_after(twice_busy, "one").exchange(0)
    assert exchange is not None
    assert (exchange.attempts, exchange.status, exchange.request_id) == (3, 200, "third")


def _closing(_arrival: Arrival) -> list[Step]:
    return [CLOSE]


def _cut(arrival: Arrival) -> bytes:
    return http(200, body_of(arrival.texts[0], 128)[:-20], {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (lambda _: http(400, openai_error("no", code="bad"), {"X-Oneapi-Request-Id": "r-1"}), 400),
        (lambda _: http(401, openai_error("no"), {"X-Oneapi-Request-Id": "r-1"}), 401),
        (lambda arrival: with_value(arrival, "NaN"), 200),
        (_cut, 200),
        (_closing, None),
    ],
    ids=["rejected", "token refused", "not a number", "cut", "no answer"],
)
def test_a_failed_row_remembers_the_status_it_was_answered_with(script: Script, status: int | None) -> None:
    trace = trace_after(script, "one", row_timeout=0.01)
    exchange = trace.exchange(0)
    assert exchange is not None
    assert (trace.outcome(0), exchange.status) == (Outcome.FAILED, status)
    assert trace.errors[0]


def test_an_outage_is_remembered_with_the_status_behind_it() -> None:
    down = http(503, openai_error("down, retry in 1ms"), {"X-Oneapi-Request-Id": "r-503"})
    trace = trace_after(lambda _: down, *map(str, range(40)))
    [row, *_] = [row for row, error in trace.errors.items() if "failed again and again" in error]
    exchange = trace.exchange(row)
    assert exchange is not None
    assert (exchange.status, exchange.request_id) == (503, "r-503")


def test_norms_are_those_of_the_vectors_before_they_were_normalised(session: Session) -> None:
    texts = ["one", "another one", "one"]
    session.embed(texts, dimension=128)
    norms = trace_of(session).norms
    expected = [np.linalg.norm(lexical.embed(text, 128)) for text in texts]
    assert norms is not None
    np.testing.assert_allclose(norms, expected, rtol=1e-6)
    assert max(expected) < 0.9  # else nothing would have been normalised


def test_a_job_that_failed_is_the_last_one_and_has_no_norms() -> None:
    trace = trace_after(lambda _: http(401, openai_error("no")), "one", "two")
    assert trace.norms is None
    assert list(trace.texts) == ["one", "two"]


def test_only_the_latest_requests_keep_their_bodies(offline: Session) -> None:
    rows = MOST_EXCHANGES + 5
    offline.embed([f"text {row}" for row in range(rows)], dimension=128, concurrency=1)
    trace = trace_of(offline)
    assert [trace.exchange(row) is None for row in range(rows)] == [True] * 5 + [False] * MOST_EXCHANGES
    assert (trace.was_sent(0), trace.first_remembered, trace.count(Outcome.NEW)) == (True, 5, rows)


def test_a_row_that_is_sent_again_is_among_the_latest() -> None:
    texts = [f"text {row}" for row in range(MOST_EXCHANGES + 1)]
    recipe = Recipe("gemini-embedding-001", 128, "SEMANTIC_SIMILARITY")
    trace = Trace(texts, {}, recipe, JobOptions(), Origin("https://gateway", "gateway"), None)
    for row in [*range(MOST_EXCHANGES), 0, MOST_EXCHANGES]:
        trace.sent(row, Exchange("/path", b"{}", 1))
    again = trace.exchange(0)
    assert again is not None
    assert (again.attempts, trace.exchange(1), trace.first_remembered) == (2, None, 0)


def test_the_pack_that_was_in_use_is_remembered_with_what_it_had(offline: Session, tmp_path: Path) -> None:
    offline.embed(["recorded"])
    save_session(offline, tmp_path / "lesson.vnpack")
    offline.use_pack(tmp_path / "lesson.vnpack", strict=True, source="this test")
    offline.embed(["recorded", "not recorded"], on_error="keep")
    offline.drop_pack()
    trace = trace_of(offline)
    assert trace.pack is not None
    assert (trace.pack.pack.name, trace.pack.strict) == ("lesson.vnpack", True)
    assert [trace.outcome(row).name for row in (0, 1)] == ["RECORDED", "FAILED"]
    assert not trace.was_sent(1)
