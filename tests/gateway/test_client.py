"""What the client sends, what an answer means, and when it tries again: read from the servers' logs."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import MutableMapping
from email.utils import formatdate
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.clients import (
    ASKED,
    ONCE,
    QUICK,
    RECIPE,
    TOKEN,
    Watch,
    embed,
    error_answer,
    opened,
    probe,
    raw_server,
    refusal,
    streaming,
    vector_answer,
    vector_of,
)
from support.gateways import App, Receive, Send, answering, json_answer, served

from vn_magic.exceptions import (
    BadAnswerError,
    ConnectionFailedError,
    DeadlineError,
    DimensionError,
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
    WrongAddressError,
)
from vn_magic.gateway.client import GatewayClient
from vn_magic.gateway.pace import Start
from vn_magic.gateway.probe import Verdict
from vn_magic.gateway.retry import RetryPolicy
from vn_magic.gateway.wire import Answer
from vn_magic.offline import ENVELOPES, create_app
from vn_magic.settings import Recipe

# The request


def test_sends_exactly_the_documented_request() -> None:
    with served(create_app(token=TOKEN)) as server:
        embed(server.url, "What is the meaning of life?")
    [request] = server.received
    assert (request.method, request.path) == ("POST", "/v1beta/models/gemini-embedding-001:embedContent")
    assert request.json == {
        "content": {"parts": [{"text": "What is the meaning of life?"}]},
        "output_dimensionality": 768,
        "taskType": "SEMANTIC_SIMILARITY",
    }
    told = {
        name: request.headers[name] for name in ("authorization", "content-type", "accept-encoding", "accept-language")
    }
    assert told == {
        "authorization": f"Bearer {TOKEN}",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "accept-language": "en",
    }
    usual = {"host", "accept", "user-agent", "connection", "content-length"}
    assert request.headers.keys() <= told.keys() | usual


def test_a_prefix_in_the_base_url_is_kept() -> None:
    with served(answering(vector_answer())) as server:
        embed(f"{server.url}/team/api", "x")
    assert server.received[0].path == "/team/api/v1beta/models/gemini-embedding-001:embedContent"


def test_a_strange_model_name_stays_one_segment_of_the_path() -> None:
    requests: list[bytes] = []

    def reply(request: bytes) -> bytes:
        requests.append(request)
        return b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"

    with raw_server(reply) as url:
        refusal(url, TokenRefusedError, recipe=Recipe("a/../b?c#d e", 768, None))
    assert requests[0].startswith(b"POST /v1beta/models/a%2F..%2Fb%3Fc%23d%20e:embedContent HTTP/1.1\r\n")


def test_answer_is_the_vector_as_the_server_sent_it_with_its_maker_and_count() -> None:
    body = {"embedding": {"values": [3.0, -4.0]}, "usageMetadata": {"promptTokenCount": 7}}
    with served(answering(json_answer(body))) as server:
        [answer], _ = embed(server.url, "x", recipe=Recipe("m", 2, None))
    assert answer.vector.dtype == np.float32
    assert answer.vector.tolist() == [3.0, -4.0]
    assert (answer.source, answer.tokens) == (server.url.removeprefix("http://"), 7)


def test_the_stand_ins_signature_is_heeded_wherever_it_is_served() -> None:
    with served(create_app(token=TOKEN)) as server:
        [answer], _ = embed(server.url, "x")
    assert answer.source == "offline-lexical"


def test_an_app_inside_the_process_answers_as_over_http() -> None:
    async def inside() -> Answer:
        client = GatewayClient("http://offline", None, policy=ONCE, request_timeout=30.0, app=create_app())
        async with client:
            return await vector_of(client, "x")

    with served(create_app(token=TOKEN)) as server:
        [over_http], _ = embed(server.url, "x")
    answer = asyncio.run(inside())
    assert answer.source == over_http.source
    assert answer.vector.tobytes() == over_http.vector.tobytes()


# The dimension


def test_a_gateway_that_drops_the_dimension_is_understood_and_no_text_is_paid_for_twice() -> None:
    with served(create_app(token=TOKEN, drops_dimension=True)) as server:
        answers, notices = embed(server.url, "a", "b", "c")
    assert [len(answer.vector) for answer in answers] == [3072, 768, 768]
    spellings = [request.json.keys() & {"output_dimensionality", "outputDimensionality"} for request in server.received]
    assert spellings == [{"output_dimensionality"}, {"outputDimensionality"}, {"outputDimensionality"}]
    assert server.texts == ["a", "b", "c"]
    [notice] = notices
    assert "3072" in notice
    assert "outputDimensionality" in notice


def test_workers_that_learn_the_spelling_at_once_say_so_once() -> None:
    async def run(url: str) -> list[str]:
        async with opened(url) as client:
            await asyncio.gather(*(vector_of(client, text) for text in "abcdef"))
            return list(client.notices)

    with served(create_app(token=TOKEN, drops_dimension=True)) as server:
        assert len(asyncio.run(run(server.url))) == 1
    assert sorted(server.texts) == list("abcdef")


def test_the_prefix_of_the_longer_answer_is_the_vector_that_was_asked_for() -> None:
    with served(create_app(token=TOKEN, drops_dimension=True)) as server:
        [longer, exact], _ = embed(server.url, "a", "a")
    assert np.allclose(longer.vector[:768], exact.vector, rtol=1e-6, atol=0)


def test_a_gateway_that_heeds_the_dimension_is_asked_in_the_documented_spelling_throughout() -> None:
    with served(create_app(token=TOKEN)) as server:
        answers, notices = embed(server.url, "a", "b")
    assert [len(answer.vector) for answer in answers] == [768, 768]
    assert all("output_dimensionality" in request.json for request in server.received)
    assert notices == []


def test_a_shorter_answer_is_an_error_that_stops_the_job() -> None:
    with served(answering(vector_answer(512))) as server:
        error = refusal(server.url, DimensionError)
    assert "asked 768, got 512" in str(error)
    assert len(server.received) == 1


@pytest.mark.parametrize("model", ["gemini-embedding-2", "a-stranger"])
def test_a_longer_answer_of_a_model_whose_prefixes_are_no_vectors_is_an_error(model: str) -> None:
    with served(answering(vector_answer(3072))) as server:
        error = refusal(server.url, DimensionError, recipe=Recipe(model, 768, None))
    assert f"asked 768, got 3072 from {model}" in str(error)
    assert len(server.received) == 1


@pytest.mark.parametrize("recipe", [Recipe("gemini-embedding-2", 768, None), Recipe(*ASKED, unit_length=False)])
def test_where_no_prefix_will_do_the_next_run_uses_the_other_spelling(recipe: Recipe) -> None:
    async def run(url: str) -> Answer:
        async with opened(url) as client:
            with pytest.raises(DimensionError, match="Next:"):
                await vector_of(client, "x", recipe=recipe)
            return await vector_of(client, "x", recipe=recipe)

    with served(answering(vector_answer(3072), vector_answer(768))) as server:
        assert len(asyncio.run(run(server.url)).vector) == 768
    assert ["outputDimensionality" in request.json for request in server.received] == [False, True]


# Several texts in a request


def methods(paths: list[str]) -> list[str]:
    return [path.rpartition(":")[2] for path in paths]


def test_a_gateway_that_rejects_together_what_it_takes_alone_is_asked_for_one_text_a_request_from_then_on() -> None:
    watch = Watch()

    async def run(url: str) -> list[str]:
        async with opened(url) as client:
            effort = client.effort(None)
            await client.embed({0: "a", 1: "b"}, RECIPE, watch, effort)
            assert client.batch_size(100) == 1
            await client.embed({2: "c", 3: "d"}, RECIPE, watch, effort)
            return list(client.notices)

    with served(answering(error_answer(400, ""), vector_answer())) as server:
        [notice] = asyncio.run(run(server.url))
    assert "one request" in notice
    assert methods([request.path for request in server.received]) == ["batchEmbedContents", *["embedContent"] * 4]
    assert sorted(watch.answers) == [0, 1, 2, 3]


def test_a_first_batch_with_a_text_that_is_rejected_alone_too_says_nothing_about_batches() -> None:
    async def run(url: str) -> None:
        watch = Watch()
        async with opened(url) as client:
            await client.embed({0: "a", 1: "b"}, RECIPE, watch, client.effort(None))
            assert not client.knows_of_batches
        assert list(watch.answers) == [1]
        assert list(watch.failures) == [0]

    with served(answering(error_answer(400, ""), error_answer(400, ""), vector_answer())) as server:
        asyncio.run(run(server.url))


def test_a_model_that_is_not_there_says_nothing_about_batches() -> None:
    missing = error_answer(404, "NOT_FOUND")

    async def run(url: str) -> None:
        async with opened(url) as client:
            with pytest.raises(ModelUnavailableError):
                await client.embed({0: "a", 1: "b"}, RECIPE, Watch(), client.effort(None))
            assert not client.knows_of_batches

    with served(answering(missing)) as server:
        asyncio.run(run(server.url))
    assert methods([request.path for request in server.received]) == ["batchEmbedContents", "embedContent"]


def test_nothing_is_sent_any_more_once_a_client_is_closed() -> None:
    async def run(url: str) -> None:
        async with opened(url) as client:
            pass
        with pytest.raises(StopJobError, match="closed"):
            await vector_of(client, "x")

    with served(answering(vector_answer())) as server:
        asyncio.run(run(server.url))
    assert server.received == []


# Failures: how often, and what they become


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error_answer(401, ""), TokenRefusedError),
        (error_answer(500, "invalid_request"), RejectedTextError),
        (error_answer(413, "read_request_body_failed"), RejectedTextError),
        ((200, {"content-type": "text/html; charset=utf-8"}, b"<!doctype html><title>Home</title>"), WrongAddressError),
        ((200, {}, b'{"embedding": {"values": [0.5]}}'), WrongAddressError),
        (json_answer({"embeddings": [{"values": [0.5] * 768}]}), BadAnswerError),
        ((200, {"content-type": "application/json"}, b'{"embedding": {"values": [0.5, NaN]}}'), BadAnswerError),
        (error_answer(200, "401"), TokenRefusedError),
    ],
    ids=["401", "invalid_request", "too large", "html", "no content type", "plural", "NaN", "401 in a 200"],
)
def test_what_another_attempt_cannot_cure_is_sent_once(
    answer: tuple[int, dict[str, str], bytes], kind: type[GatewayError]
) -> None:
    with served(answering(answer)) as server:
        refusal(server.url, kind)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "name",
    ["wrong-token", "expired-token", "no-balance", "no-channel", "daily-limit", "group-not-allowed", "invalid-request"],
)
def test_the_stand_ins_final_errors_are_sent_once(name: str) -> None:
    assert name in ENVELOPES
    with served(create_app(play=name)) as server, pytest.raises(GatewayError) as caught:
        embed(server.url, "x")
    assert not isinstance(caught.value, TransientError)
    assert caught.value.request_id is not None
    assert len(server.received) == 1


def test_a_burst_of_503_heals() -> None:
    watch = Watch()
    busy = error_answer(503, "system_cpu_overloaded")
    with served(answering(busy, (502, {"content-type": "text/html"}, b"<h1>502"), busy, vector_answer())) as server:
        [answer], _ = embed(server.url, "x", watch=watch)
    assert len(answer.vector) == 768
    assert (len(server.received), watch.sends) == (4, 4)
    assert [error.status for error in watch.waits] == [503, 502, 503]
    assert len({request.body for request in server.received}) == 1


def test_trouble_that_stays_is_raised_after_as_many_attempts_as_the_policy_has() -> None:
    with served(answering(error_answer(503, ""))) as server:
        error = refusal(server.url, UpstreamError, policy=RetryPolicy(attempts=3, first_backoff=0.01))
    assert error.status == 503
    assert len(server.received) == 3


def test_an_answer_cut_in_the_middle_is_asked_for_again() -> None:
    good = json.dumps({"embedding": {"values": [0.5] * 768}}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answers = iter([b"", (head % len(good)) + good[:100], (head % 100) + good[:100], (head % len(good)) + good])
    watch = Watch()
    with raw_server(lambda _: next(answers)) as url:
        [answer], _ = embed(url, "x", watch=watch)
    assert len(answer.vector) == 768
    assert [type(error) for error in watch.waits] == [UpstreamError, UpstreamError, UnreadableAnswerError]


def test_a_refused_connection_is_given_up_after_few_attempts() -> None:
    watch = Watch()
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        error = refusal(f"http://{address}", ConnectionFailedError, watch=watch)
    assert watch.sends == QUICK.connection_attempts < QUICK.attempts
    assert address in str(error)


def test_a_host_that_does_not_exist_is_a_failed_connection() -> None:
    watch = Watch()
    error = refusal("http://gateway.invalid", ConnectionFailedError, watch=watch, policy=ONCE)
    assert "gateway.invalid" in str(error)


# Waiting


def limiting_once(limit: tuple[int, dict[str, str], bytes], beside: int, heard: threading.Event) -> App:
    """Answer the first request by a limit once so many are beside it; hold those until the client has heard of it."""
    arrived, together = count(), asyncio.Event()

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if (number := next(arrived)) == beside:
            together.set()
        if number == 0:
            await together.wait()
            return await answering(limit)(scope, receive, send)
        await asyncio.to_thread(heard.wait, 30)
        return await answering(vector_answer())(scope, receive, send)

    return app


@pytest.mark.parametrize(
    "limit",
    [
        (429, {"retry-after": "1"}, b""),
        error_answer(429, "", "Please retry in 1s."),
        error_answer(200, "429", "retry in 1s"),
    ],
    ids=["header", "text", "inside a 200"],
)
def test_a_limit_holds_all_workers_for_the_time_that_the_server_named(limit: tuple[int, dict[str, str], bytes]) -> None:
    heard = threading.Event()
    watch = Watch(heard=heard.set)

    async def run(url: str) -> None:
        async with opened(url) as client:
            effort = client.effort(None)

            async def work(*texts: str) -> None:
                for text in texts:
                    await vector_of(client, text, watch=watch, effort=effort)

            await asyncio.gather(work("a1", "a2"), work("b1", "b2"), work("c1", "c2"))

    with served(limiting_once(limit, 2, heard)) as server:
        asyncio.run(run(server.url))
    limited, *beside = server.received[:3]
    later = server.received[3:]
    assert {request.text for request in (limited, *beside)} == {"a1", "b1", "c1"}
    assert sorted(request.text for request in later) == sorted([limited.text, "a2", "b2", "c2"])
    assert min(request.at for request in later) >= limited.at + 1.0


def test_another_trouble_than_429_holds_nobody_else() -> None:
    waiting = asyncio.Event()
    watch = Watch(heard=waiting.set)

    async def run(url: str) -> None:
        async with opened(url) as client:
            first = asyncio.create_task(vector_of(client, "a", watch=watch))
            await waiting.wait()
            async with asyncio.timeout(60):  # less than the first one's wait
                await vector_of(client, "b")
            assert not first.done()
            first.cancel()

    busy = (503, {"retry-after": "200"}, b"")
    with served(answering(busy, vector_answer())) as server:
        asyncio.run(run(server.url))
    assert server.texts == ["a", "b"]


def test_a_named_wait_that_is_longer_than_a_row_may_take_stops_the_job_at_once() -> None:
    headers = {"retry-after": "3600", "x-oneapi-request-id": "2026abc"}
    with served(answering((429, headers, b'{"error": {"code": "busy"}}'))) as server:
        error = refusal(server.url, LongWaitError, policy=RetryPolicy(row_timeout=60.0))
    assert "3,600 s" in str(error)
    assert (error.status, error.code, error.request_id, error.retry_after) == (429, "busy", "2026abc", 3600.0)
    assert len(server.received) == 1


def test_waits_that_add_up_to_more_than_a_row_may_take_fail_the_row() -> None:
    with served(answering((429, {"retry-after": "0.6"}, b""))) as server:
        refusal(server.url, RateLimitedError, policy=RetryPolicy(row_timeout=1.0))
    assert len(server.received) <= 2


def test_time_at_the_gate_is_not_counted_against_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, at_the_gate = Watch(), 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + at_the_gate)
    monkeypatch.setattr("vn_magic.gateway.client.time", clock)

    async def run(url: str) -> None:
        async with opened(url, policy=RetryPolicy(row_timeout=300.0, first_backoff=0.01)) as client:
            start = client.pace.start

            async def an_hour_later(*texts: int, **unless: Any) -> Start | None:
                nonlocal at_the_gate
                at_the_gate += 3600.0
                return await start(*texts, **unless)

            monkeypatch.setattr(client.pace, "start", an_hour_later)
            await vector_of(client, "x", watch=watch)

    with served(answering(error_answer(503, ""), vector_answer())) as server:
        asyncio.run(run(server.url))
    assert len(server.received) == watch.sends == 2


def test_a_server_that_drips_is_left_at_the_requests_deadline() -> None:
    _, _, good = vector_answer()
    drops = [good[start : start + 8] for start in range(0, len(good), 8)]  # good in the end, ten seconds later
    watch = Watch()
    with served(streaming(drops, pause=0.02)) as server:
        error = refusal(server.url, DeadlineError, request_timeout=1.0, policy=ONCE, watch=watch)
    assert ", 1 s)" in str(error)
    assert len(server.received) <= watch.sends == 1  # a server that stalls for a second may not hear of it any more


def test_a_server_that_never_answers_is_left_at_the_requests_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusal(f"http://127.0.0.1:{listener.getsockname()[1]}", DeadlineError, request_timeout=0.2, policy=ONCE)


# The free request


@pytest.mark.parametrize(
    ("token", "verdict"), [(TOKEN, Verdict.ACCEPTED), ("sk-another", Verdict.REFUSED), (None, Verdict.REFUSED)]
)
def test_a_probe_tells_whether_the_token_works_by_one_free_request(token: str | None, verdict: Verdict) -> None:
    with served(create_app(token=TOKEN)) as server:
        assert probe(server.url, token=token).verdict is verdict
    assert [(request.method, request.path) for request in server.received] == [("GET", "/v1/models")]


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}, b""),
        json_answer({"error": {"message": "Invalid URL"}}, 404),
        (200, {"content-type": "text/html"}, b"<p>"),
    ],
)
def test_a_gateway_without_the_list_leaves_the_token_unchecked(answer: tuple[int, dict[str, str], bytes]) -> None:
    with served(answering(answer)) as server:
        assert probe(server.url).verdict is Verdict.UNKNOWN


def test_a_probe_raises_what_is_neither() -> None:
    with served(answering(error_answer(503, ""))) as server, pytest.raises(UpstreamError):
        probe(server.url)
    assert len(server.received) == 1


def test_a_probe_tells_how_far_the_clocks_are_apart() -> None:
    an_hour_late = formatdate(time.time() - 3600, usegmt=True).encode()
    with raw_server(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: " + an_hour_late + b"\r\n\r\n") as url:
        offset = probe(url).clock_offset
    assert offset is not None
    assert 3599 <= offset < 7200


@pytest.mark.parametrize("date", [b"", b"Date: yesterday\r\n"])
def test_a_gateway_without_a_date_leaves_the_clock_unchecked(date: bytes) -> None:
    with raw_server(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + date + b"\r\n") as url:
        assert probe(url).clock_offset is None
