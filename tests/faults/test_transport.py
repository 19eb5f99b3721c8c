"""The way to the gateway breaks: what has arrived stays, what can be had is had, and the rest says why."""

from __future__ import annotations

import gc
import socket
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray

from faults.answers import (
    JSON,
    TRANSIENT,
    always,
    answer,
    drip,
    good,
    gzip_bomb,
    right_body,
    then_good,
)
from faults.authority import Authority
from faults.gateway import CLOSE, RESET, Arrival, Script, Step, fault_gateway
from faults.jobs import DIMENSION, TOKEN, assert_own_vectors, embed, failure, session_at, talking_to
from faults.tunnels import tunnel_proxy
from vn_magic import Session
from vn_magic.exceptions import (
    AccessDeniedError,
    ConnectionFailedError,
    DeadlineError,
    GatewayError,
    TokenRefusedError,
    UnreadableAnswerError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.retry import RetryPolicy
from vn_magic.progress import ProgressEvent

pytestmark = pytest.mark.usefixtures("quick")

TEXTS = [f"text {number}" for number in range(12)]
SHORT = 1.0  # seconds; the deadline where a test means to miss it


def embed_after_trouble(session: Session, texts: Sequence[str], **options: Any) -> NDArray[np.float32]:
    """Embed texts whose first attempts fail; all later ones have half a minute, and no stall makes them fail, too."""

    def report(event: ProgressEvent) -> None:
        if event.retries:
            for client in session.runtime._clients.values():
                client._transport._timeout = 30.0

    request = session.prepare(texts, **{"dimension": DIMENSION, **options})
    return session.run(session.run_job(request, report)).matrix


@pytest.fixture(autouse=True)
def no_exceptions_from_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


# Nobody there


def assert_nobody_there(base_url: str, attempts: int) -> None:
    concurrency = 4
    with session_at(base_url) as session:
        error = failure(session, ConnectionFailedError, *TEXTS, concurrency=concurrency)
        assert urlsplit(base_url).netloc in str(error)
        assert "%vn doctor" in str(error)
        assert attempts <= session.totals.requests <= attempts * concurrency


def test_a_name_that_does_not_exist_is_said_so_after_a_few_attempts(
    quick: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_arguments: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a machine without a network may ask for half a minute
    assert_nobody_there("https://gateway.invalid", quick.connection_attempts)


def test_a_refused_connection_is_said_so_after_a_few_attempts(quick: RetryPolicy) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        assert_nobody_there(f"http://127.0.0.1:{bound.getsockname()[1]}", quick.connection_attempts)


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


def test_a_gateway_that_proves_who_it_is_gets_the_token_under_encryption(trusted: Authority) -> None:
    with talking_to(good, tls=trusted.server()) as (session, gateway):
        assert_own_vectors(embed(session, TEXTS), TEXTS)
    assert {arrival.headers["authorization"] for arrival in gateway.received} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("server", "said"),
    [({"expired": True}, "expired"), ({"host": "127.0.0.2"}, "not valid for '127.0.0.1'")],
    ids=["expired", "for another name"],
)
def test_a_certificate_that_does_not_hold_stops_the_job_before_the_token_is_sent(
    trusted: Authority, server: dict[str, Any], said: str
) -> None:
    with talking_to(good, tls=trusted.server(**server)) as (session, gateway):
        error = failure(session, WrongAddressError, *TEXTS, concurrency=4)
        assert said in str(error)
        assert "clock" in str(error)
    assert gateway.received == []
    assert gateway.connections <= 4


def test_a_certificate_that_nobody_vouches_for_stops_the_job_before_the_token_is_sent(authority: Authority) -> None:
    with talking_to(good, tls=authority.server()) as (session, gateway):
        error = failure(session, WrongAddressError, *TEXTS, concurrency=4)
        assert "cannot prove who it is" in str(error)
    assert gateway.received == []
    assert gateway.connections <= 4


def test_a_server_that_never_shakes_hands_is_left_at_the_deadline() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        session_at(f"https://127.0.0.1:{listener.getsockname()[1]}", deadline=0.2) as session,
    ):
        failure(session, DeadlineError)


# Broken off, cut, packed, dripping


def one_long_line(arrival: Arrival) -> bytes:
    return answer(200, right_body(arrival), {"x-ballast": "x" * 200_000})


WAYS: dict[str, type[GatewayError]] = {
    "reset before the headers": UpstreamError,
    "closed before the headers": UpstreamError,
    "reset in the headers": UpstreamError,
    "closed in the headers": UpstreamError,
    "reset in the body": UpstreamError,
    "closed in the body": UpstreamError,
    "half of the JSON": UnreadableAnswerError,
    "half of the JSON, no length": UnreadableAnswerError,
    "half a chunk": UpstreamError,
    "gzip": UnreadableAnswerError,
    "truncated gzip": UnreadableAnswerError,
    "broken gzip": UnreadableAnswerError,
    "200 kB of headers": UpstreamError,
    "no answer": DeadlineError,
    "no end of the body": DeadlineError,
    "drip": DeadlineError,
}
SLOW = {"no answer", "no end of the body", "drip"}


@pytest.mark.parametrize("fault", WAYS)
def test_a_fault_of_the_way_that_passes_costs_one_retry_and_no_row(fault: str) -> None:
    texts = TEXTS[:4]
    with talking_to(then_good(TRANSIENT[fault]), deadline=SHORT if fault in SLOW else 30) as (session, gateway):
        assert_own_vectors(embed_after_trouble(session, texts, concurrency=len(texts)), texts)
        assert session.totals.retries == len(texts)
    assert sorted(gateway.texts) == sorted(texts * 2)


@pytest.mark.parametrize("fault", WAYS)
def test_a_fault_of_the_way_that_stays_fails_the_row_when_its_attempts_are_used_up(
    fault: str, quick: RetryPolicy
) -> None:
    with talking_to(TRANSIENT[fault], deadline=SHORT if fault in SLOW else 30) as (session, gateway):
        error = failure(session, WAYS[fault], "the only row")
        assert "Row 0 ('the only row')" in str(error)
    assert gateway.texts == ["the only row"] * quick.attempts


def test_headers_of_200_kb_in_one_line_are_an_answer_that_cannot_be_had() -> None:
    with talking_to(one_long_line) as (session, _):
        failure(session, UpstreamError)


def test_a_drip_is_left_at_the_deadline_and_not_at_its_end() -> None:
    pause = 0.2
    drops = len(good(Arrival(0, 0.0, 0, "POST", "/", {}, b"", ("x",), DIMENSION, 1)))
    with talking_to(then_good(lambda arrival: drip(good(arrival), pause)), deadline=SHORT) as (session, gateway):
        embed_after_trouble(session, ["x"])
    first, second = gateway.received
    assert second.at - first.at < drops * pause / 10


def test_a_drip_that_ends_in_time_is_an_answer() -> None:
    with talking_to(lambda arrival: drip(good(arrival), 0.001, size=100)) as (session, gateway):
        assert_own_vectors(embed(session, TEXTS), TEXTS)
    assert sorted(gateway.texts) == sorted(TEXTS)


def test_a_gzip_bomb_is_never_unpacked() -> None:
    with talking_to(always(gzip_bomb())) as (session, _):
        failure(session, UnreadableAnswerError)  # all that is loaded late is loaded now
        gc.collect()
        tracemalloc.start()
        try:
            assert "compressed" in str(failure(session, UnreadableAnswerError))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 5_000_000  # unpacked it is a hundred million


@pytest.mark.parametrize(("status", "kind"), [(401, TokenRefusedError), (403, AccessDeniedError), (500, UpstreamError)])
def test_a_failure_is_known_by_its_status_whatever_its_body_is_packed_in(status: int, kind: type[GatewayError]) -> None:
    with talking_to(always(answer(status, b"\x1f\x8b\x08garbage", {"content-encoding": "gzip"}))) as (session, _):
        failure(session, kind)


# Connections that are kept, and those that are not


def and_then(ending: Step) -> Script:
    def script(arrival: Arrival) -> Iterator[Step]:
        yield good(arrival)
        yield ending

    return script


@pytest.mark.parametrize("ending", [CLOSE, RESET], ids=str)
def test_a_kept_connection_that_the_server_has_ended_costs_no_row_and_sends_none_twice(
    ending: Step,
    brisk: RetryPolicy,  # noqa: ARG001 - in the place of `quick`: a row may meet three that are just being ended
) -> None:
    with talking_to(and_then(ending)) as (session, gateway):
        for _ in range(2):
            assert_own_vectors(embed(session, TEXTS, concurrency=2, refresh=True), TEXTS)
    assert sorted(gateway.texts) == sorted(TEXTS * 2)
    assert gateway.connections >= len(TEXTS) * 2


def test_an_answer_after_which_the_connection_closes_is_read_and_another_connection_made() -> None:
    def script(arrival: Arrival) -> Iterator[Step]:
        yield answer(200, right_body(arrival), {"connection": "close"})
        yield CLOSE

    with talking_to(script) as (session, gateway):
        assert_own_vectors(embed(session, TEXTS), TEXTS)
        assert session.totals.retries == 0
    assert gateway.connections == len(gateway.received) == len(TEXTS)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    def script(arrival: Arrival) -> Iterator[Step]:
        yield answer(200, right_body(arrival), {"content-length": None})
        yield CLOSE

    with talking_to(script) as (session, _):
        assert_own_vectors(embed(session, TEXTS), TEXTS)
        assert session.totals.retries == 0


def test_an_answer_in_chunks_is_put_together() -> None:
    def script(arrival: Arrival) -> Iterator[Step]:
        yield answer(200, b"", {"content-length": None, "content-type": JSON, "transfer-encoding": "chunked"})
        for piece in drip(right_body(arrival), 0.0, size=300):
            yield b"%x\r\n%s\r\n" % (len(piece), piece) if isinstance(piece, bytes) else piece
        yield b"0\r\n\r\n"

    with talking_to(script) as (session, _):
        assert_own_vectors(embed(session, TEXTS), TEXTS)
        assert session.totals.retries == 0


def test_connections_are_kept_and_as_many_as_there_are_workers() -> None:
    with talking_to(good) as (session, gateway):
        for number in range(3):
            embed(session, [f"{number}/{text}" for text in TEXTS], concurrency=3)
    assert gateway.connections <= 3


def test_an_answer_that_comes_after_its_deadline_never_becomes_another_rows() -> None:
    def late(arrival: Arrival) -> Iterator[Step]:
        yield SHORT * 2
        yield good(arrival)

    with talking_to(then_good(late), deadline=SHORT) as (session, gateway):
        assert_own_vectors(embed(session, TEXTS[:4], concurrency=2), TEXTS[:4])
    assert len({arrival.connection for arrival in gateway.received}) > 4


# Proxies


def port_of(base_url: str) -> int:
    return urlsplit(base_url).port or 0


def test_through_a_tunnel_every_row_arrives_and_the_proxy_sees_neither_token_nor_text(
    trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        fault_gateway(good, tls=trusted.server("gateway.example")) as gateway,
        tunnel_proxy(port_of(gateway.base_url)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with session_at("https://gateway.example") as session:
            assert_own_vectors(embed(session, TEXTS), TEXTS)
    assert {head.split(b"\r\n")[0] for head in proxy.heads} == {b"CONNECT gateway.example:443 HTTP/1.1"}
    seen = b"".join(proxy.heads) + b"".join(proxy.traffic)
    assert len(seen) > 10_000
    assert TOKEN.encode() not in seen
    assert TEXTS[0].encode() not in seen
    assert gateway.received[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_certificate_is_checked_through_a_tunnel_too(trusted: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        fault_gateway(good, tls=trusted.server("another.example")) as gateway,
        tunnel_proxy(port_of(gateway.base_url)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with session_at("https://gateway.example") as session:
            failure(session, WrongAddressError)
    assert gateway.received == []


@pytest.mark.parametrize("status", [403, 407, 502, 503])
def test_a_proxy_that_refuses_the_tunnel_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch, status: int, quick: RetryPolicy
) -> None:
    with tunnel_proxy(0, answer(status)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with session_at("https://gateway.example") as session:
            assert str(status) in str(failure(session, ConnectionFailedError))
    assert len(proxy.heads) == quick.connection_attempts
    assert TOKEN.encode() not in b"".join(proxy.heads)


@pytest.mark.parametrize("fault", ["reset before the headers", "closed in the body", "half of the JSON", "no answer"])
def test_a_fault_behind_a_forward_proxy_that_passes_costs_no_row(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    texts = TEXTS[:4]
    with fault_gateway(then_good(TRANSIENT[fault])) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        with session_at("http://gateway.invalid", deadline=SHORT if fault in SLOW else 30) as session:
            assert_own_vectors(embed_after_trouble(session, texts), texts)
    assert {arrival.path for arrival in proxy.received} == {
        "http://gateway.invalid/v1beta/models/gemini-embedding-001:embedContent"
    }
    assert sorted(proxy.texts) == sorted(texts * 2)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `gateway.example` be this machine: a name that no variable calls loopback."""
    look_up = socket.getaddrinfo

    def found(host: Any, *arguments: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host == "gateway.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("exceptions", "through_proxy"),
    [("", True), ("other.example", True), ("gateway.example", False), (".example", False), ("*", False)],
)
def test_no_proxy_decides_who_gets_the_requests(
    monkeypatch: pytest.MonkeyPatch, exceptions: str, through_proxy: bool
) -> None:
    with fault_gateway(good) as gateway, fault_gateway(good) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        monkeypatch.setenv("NO_PROXY", exceptions)
        with session_at(f"http://gateway.example:{port_of(gateway.base_url)}") as session:
            assert_own_vectors(embed(session, TEXTS), TEXTS)
    asked, passed_by = (proxy, gateway) if through_proxy else (gateway, proxy)
    assert sorted(asked.texts) == sorted(TEXTS)
    assert passed_by.connections == 0


def test_what_is_for_this_machine_never_passes_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with fault_gateway(good) as proxy, talking_to(good) as (session, gateway):
        monkeypatch.setenv("ALL_PROXY", proxy.base_url)
        embed(session, TEXTS)
    assert sorted(gateway.texts) == sorted(TEXTS)
    assert proxy.connections == 0
