"""The client over real HTTP on loopback. What was sent is read from the servers' logs."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import pickle
import socket
import ssl
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.gateways import App, Receive, Send, answering, json_answer, served

from vn_magic.credentials import Token
from vn_magic.exceptions import (
    BadAnswerError,
    ConnectionFailedError,
    DeadlineError,
    DimensionError,
    GatewayError,
    LongWaitError,
    RateLimitedError,
    RejectedTextError,
    SettingsError,
    TokenRefusedError,
    TransientError,
    UnreadableAnswerError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.client import GatewayClient
from vn_magic.gateway.probe import Probe, Verdict
from vn_magic.gateway.retry import RetryPolicy
from vn_magic.gateway.transport import LARGEST_BODY
from vn_magic.gateway.wire import Answer
from vn_magic.offline import ENVELOPES, create_app
from vn_magic.settings import Recipe

TOKEN = "sk-canary-41ac9e77d0"
ASKED = ("gemini-embedding-001", 768, "SEMANTIC_SIMILARITY")
RECIPE = Recipe(*ASKED)
QUICK = RetryPolicy(first_backoff=0.01, longest_backoff=0.02)
ONCE = RetryPolicy(attempts=1, connection_attempts=1)


def vector_answer(length: int = 768, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return json_answer({"embedding": {"values": [0.5] * length}}, **headers)


def error_answer(status: int, code: str, message: str = "x") -> tuple[int, dict[str, str], bytes]:
    return json_answer({"error": {"message": message, "type": "new_api_error", "param": "", "code": code}}, status)


@dataclass
class Watch:
    """Counts attempts, keeps what was waited for, and passes on that there is a wait."""

    sends: int = 0
    waits: list[TransientError] = field(default_factory=list)
    heard: Callable[[], None] = lambda: None

    def on_send(self) -> None:
        self.sends += 1

    def on_wait(self, _seconds: float, error: TransientError) -> None:
        self.waits.append(error)
        self.heard()


@asynccontextmanager
async def opened(
    url: str, *, token: str | None = TOKEN, policy: RetryPolicy = QUICK, request_timeout: float = 30.0
) -> AsyncIterator[GatewayClient]:
    secret = Token(token) if token else None
    async with GatewayClient(url, secret, policy=policy, request_timeout=request_timeout) as client:
        yield client


def embed(
    url: str, *texts: str, recipe: Recipe = RECIPE, watch: Watch | None = None, **options: Any
) -> tuple[list[Answer], list[str]]:
    """Embed the texts one after another with one client; return the answers and the client's notices."""

    async def run() -> tuple[list[Answer], list[str]]:
        async with opened(url, **options) as client:
            return [await client.embed(text, recipe, watch or Watch()) for text in texts], client.notices

    return asyncio.run(run())


def refusal(url: str, kind: type[GatewayError], **options: Any) -> GatewayError:
    """Return the error of exactly this kind in which one text ends."""
    with pytest.raises(kind) as caught:
        embed(url, "x", **options)
    assert type(caught.value) is kind
    return caught.value


def probe(url: str, **options: Any) -> Probe:
    async def run() -> Probe:
        async with opened(url, **options) as client:
            return await client.probe()

    return asyncio.run(run())


@contextmanager
def raw_server(reply: Callable[[bytes], bytes]) -> Iterator[str]:
    """Answer each connection with these bytes and hang up: what no HTTP server would send."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(ConnectionError):
                        connection.sendall(reply(connection.recv(65536)))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def streaming(chunks: Iterable[bytes], pause: float) -> App:
    """Give an answer piece by piece, until it ends or the client hangs up."""

    async def app(_scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.ensure_future(receive())
        for chunk in chunks:
            if gone.done():
                break
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": b""})
        gone.cancel()

    return app


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
            return await client.embed("x", RECIPE, Watch())

    with served(create_app(token=TOKEN)) as server:
        [over_http], _ = embed(server.url, "x")
    answer = asyncio.run(inside())
    assert answer.source == over_http.source
    assert answer.vector.tobytes() == over_http.vector.tobytes()


# Where the token goes


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with served(answering(vector_answer())) as elsewhere:
        redirect = (status, {"location": f"{elsewhere.url}/v1beta/models/x:embedContent"}, b"")
        with served(answering(redirect)) as server:
            error = refusal(server.url, WrongAddressError)
    assert elsewhere.received == []
    assert len(server.received) == 1
    assert "redirect" in str(error)


def test_the_token_is_for_its_own_origin_alone() -> None:
    async def ask_both(own: str, other: str) -> None:
        async with opened(own) as client:
            await client._transport._http.get(f"{own}/v1/models")
            await client._transport._http.get(f"{other}/v1/models")

    with served(create_app()) as own, served(create_app()) as other:
        asyncio.run(ask_both(own.url, other.url))
    assert own.received[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(other.received[0].headers)


def test_without_a_token_no_header_is_sent() -> None:
    with served(create_app()) as server:
        probe(server.url, token=None)
    assert "authorization" not in server.received[0].headers


QUOTES: dict[str, tuple[int, dict[str, str], bytes]] = {
    "message": error_answer(401, "", f"Invalid token {TOKEN}, sorry"),
    "message after a long prelude": error_answer(401, "", "x" * 150 + f" {TOKEN}"),
    "code": error_answer(403, TOKEN),
    "type": json_answer({"error": {"message": "x", "type": TOKEN}}, 400),
    "string": json_answer({"error": f"bad {TOKEN}"}, 400),
    "a transient error": json_answer({"error": f"bad {TOKEN}"}, 502),
    "inside a 200": error_answer(200, "401", TOKEN),
    "request id": json_answer({}, 401, **{"x-oneapi-request-id": TOKEN}),
    "content type": (200, {"content-type": f"text/{TOKEN}"}, b"{}"),
    "page": (401, {"content-type": "text/html"}, f"<p>{TOKEN}".encode()),
    "field of a success": json_answer({TOKEN: TOKEN}),
    "value of a success": json_answer({"embedding": {"values": TOKEN}}),
    "location": (302, {"location": f"http://127.0.0.1/?key={TOKEN}"}, b""),
}
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "whole request": lambda request: request,
    "header line": lambda request: b"HTTP/1.1 200 OK\r\n" + request.replace(b": ", b" "),
    "chunk size": lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TOKEN.encode() + b"\r\n",
    "status line": lambda _: b"HTTP/1.1 " + TOKEN.encode() + b" OK\r\n\r\n",
}


def shown(error: BaseException) -> str:
    """All that a reader, a log or a file could have of an exception."""
    return f"{error}{error!r}{vars(error)}{''.join(traceback.format_exception(error))}{pickle.dumps(error)!r}"


@pytest.mark.parametrize("place", QUOTES)
def test_a_token_that_the_gateway_quotes_is_masked_in_the_error(place: str) -> None:
    with served(answering(QUOTES[place])) as server, pytest.raises(GatewayError) as caught:
        embed(server.url, "x", policy=ONCE)
    assert TOKEN in server.received[0].headers["authorization"]
    assert TOKEN not in shown(caught.value)


@pytest.mark.parametrize("place", BROKEN)
def test_a_token_in_an_answer_that_is_no_http_is_masked_in_the_error(place: str) -> None:
    with raw_server(BROKEN[place]) as url:
        error = refusal(url, UpstreamError, policy=ONCE)
    assert TOKEN not in shown(error)
    assert len(str(error).splitlines()) == 2


def test_no_log_record_has_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with served(answering(error_answer(503, "", TOKEN), vector_answer())) as server:
        embed(server.url, "x")
    assert "UpstreamError" in caplog.text
    assert TOKEN not in caplog.text


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
            await asyncio.gather(*(client.embed(text, RECIPE, Watch()) for text in "abcdef"))
            return client.notices

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
                await client.embed("x", recipe, Watch())
            return await client.embed("x", recipe, Watch())

    with served(answering(vector_answer(3072), vector_answer(768))) as server:
        assert len(asyncio.run(run(server.url)).vector) == 768
    assert ["outputDimensionality" in request.json for request in server.received] == [False, True]


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


def limiting_once(limit: tuple[int, dict[str, str], bytes], heard: threading.Event) -> App:
    """Answer the first request by a limit; hold those beside it until the client has heard of it."""
    answers = [limit]

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if answers:
            return await answering(answers.pop())(scope, receive, send)
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

            async def work(*texts: str) -> None:
                for text in texts:
                    await client.embed(text, RECIPE, watch)

            await asyncio.gather(work("a1", "a2"), work("b1", "b2"), work("c1", "c2"))

    with served(limiting_once(limit, heard)) as server:
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
            first = asyncio.create_task(client.embed("a", RECIPE, watch))
            await waiting.wait()
            async with asyncio.timeout(60):  # less than the first one's wait
                await client.embed("b", RECIPE, Watch())
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


def test_time_at_the_gate_is_not_counted_against_the_row() -> None:
    watch = Watch()

    async def run(url: str) -> None:
        async with opened(url, policy=RetryPolicy(row_timeout=2.0, first_backoff=0.01)) as client:
            client.pace.cool_down(2.1)
            await client.embed("x", RECIPE, watch)

    with served(answering(error_answer(503, ""), vector_answer())) as server:
        asyncio.run(run(server.url))
    assert len(server.received) == watch.sends == 2


def test_a_server_that_drips_is_left_at_the_requests_deadline() -> None:
    _, _, good = vector_answer()
    drops = [good[start : start + 8] for start in range(0, len(good), 8)]  # good in the end, ten seconds later
    with served(streaming(drops, pause=0.02)) as server:
        error = refusal(server.url, DeadlineError, request_timeout=1.0, policy=ONCE)
    assert ", 1 s)" in str(error)
    assert len(server.received) == 1


def test_a_server_that_never_answers_is_left_at_the_requests_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusal(f"http://127.0.0.1:{listener.getsockname()[1]}", DeadlineError, request_timeout=0.2, policy=ONCE)


# Bodies


def test_a_body_without_end_is_read_to_the_bound_and_no_further() -> None:
    with served(streaming(repeat(b" " * 65536), pause=0)) as server:
        error = refusal(server.url, UnreadableAnswerError, policy=ONCE)
    assert f"more than {LARGEST_BODY} bytes" in str(error)


def test_a_body_at_the_bound_is_read() -> None:
    body = json.dumps({"embedding": {"values": [0.5] * 768}}).encode().ljust(LARGEST_BODY)
    with served(answering((200, {"content-type": "application/json"}, body))) as server:
        [answer], _ = embed(server.url, "x")
    assert len(answer.vector) == 768


def test_a_compressed_answer_is_refused_and_never_unpacked() -> None:
    bomb = gzip.compress(json.dumps({"embedding": {"values": [0.5] * 768}}).encode() + b" " * 50_000_000)
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    with served(answering((200, packed, bomb))) as server:
        error = refusal(server.url, UnreadableAnswerError, policy=ONCE)
    assert "compressed" in str(error)


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"content-encoding": "br"}, b"\x0b\x02"), ({}, b"x" * (LARGEST_BODY + 1))],
    ids=["packed", "long"],
)
def test_a_failure_is_known_by_its_status_when_its_body_cannot_be_read(headers: dict[str, str], body: bytes) -> None:
    with served(answering((401, headers, body))) as server:
        error = refusal(server.url, TokenRefusedError)
    assert error.status == 401
    assert len(server.received) == 1


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


# Proxies


@dataclass
class Proxy:
    """A proxy on loopback, and what it was asked for: method, target and headers."""

    address: str
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Answer for every host as a gateway would, and refuse every tunnel."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(*vector_answer())

        def do_CONNECT(self) -> None:
            self.answer(403, {}, b"no tunnels")

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            proxy.asked.append((self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
            self.send_response(status)
            for name, text in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield proxy
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_exceptions_from_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_variable_is_heeded(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str) -> None:
    monkeypatch.setenv(variable, scheme + proxy.address)
    embed("http://gateway.invalid", "x")  # a host that only the proxy can answer for
    [(method, target, _)] = proxy.asked
    assert (method, target) == ("POST", "http://gateway.invalid/v1beta/models/gemini-embedding-001:embedContent")


@pytest.mark.parametrize("exceptions", ["gateway.invalid", "localhost, .invalid", "*"])
def test_no_proxy_is_heeded(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, exceptions: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", exceptions)
    refusal("http://gateway.invalid", ConnectionFailedError, policy=ONCE)
    assert proxy.asked == []


def test_a_proxy_for_another_scheme_is_left_alone(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    refusal("http://gateway.invalid", ConnectionFailedError, policy=ONCE)
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_is_for_this_machine_never_passes_a_proxy(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://{proxy.address}")
    with served(answering(vector_answer())) as server:
        embed(server.url.replace("127.0.0.1", host), "x")
    assert proxy.asked == []
    assert server.texts == ["x"]


def test_through_a_proxy_https_is_a_tunnel_and_the_proxy_never_sees_the_token(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass-word-1@{proxy.address}")
    error = refusal("https://gateway.invalid", ConnectionFailedError, policy=ONCE)
    [(method, target, headers)] = proxy.asked
    assert (method, target) == ("CONNECT", "gateway.invalid:443")
    assert headers["proxy-authorization"] == f"Basic {b64encode(b'user:pass-word-1').decode()}"
    assert TOKEN not in str(headers)
    assert "pass-word-1" not in shown(error)


def test_a_proxy_that_is_not_there_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://user:pass-word-1@127.0.0.1:{bound.getsockname()[1]}")
        error = refusal("http://gateway.invalid", ConnectionFailedError, policy=ONCE)
    assert "pass-word-1" not in shown(error)


def test_a_proxy_of_a_kind_that_cannot_be_used_is_an_error_and_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:pass-word-1@127.0.0.1:9")
    with pytest.raises(SettingsError, match="socks5") as caught:
        embed("http://gateway.invalid", "x")
    assert "pass-word-1" not in shown(caught.value)


# TLS


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Listen with a certificate that nobody signed; log what arrives under the encryption."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=1))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    arrived: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                        arrived.append(tls.recv(65536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", arrived
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_gateway_that_cannot_prove_who_it_is_never_gets_the_token(tmp_path: Path) -> None:
    watch = Watch()
    with tls_server(tmp_path) as (url, arrived):
        error = refusal(url, WrongAddressError, watch=watch)
    assert "cannot prove who it is" in str(error)
    assert b"".join(arrived) == b""
    assert watch.sends == 1


def test_https_to_a_server_of_plain_http_is_a_failed_connection() -> None:
    with served(answering(vector_answer())) as server:
        refusal(server.url.replace("http://", "https://"), ConnectionFailedError, policy=ONCE)
    assert server.received == []
