"""The fault gateway does what its scripts say: seen by a bare socket, without any of vn_magic's code."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from io import BufferedReader
from urllib.parse import urlsplit

import numpy as np
import pytest
from support.waiting import until

from faults.answers import (
    SITUATIONS,
    TRANSIENT,
    always,
    answer,
    body_of,
    drip,
    envelope,
    good,
    gzip_bomb,
    heavy_headers,
    packed,
    spoiling,
    vector_of,
    with_value,
)
from faults.gateway import CLOSE, HANG, RESET, Arrival, FaultGateway, Script, Step, fault_gateway, steps_of


def request(text: str, dimension: int = 4, spelling: str = "output_dimensionality") -> bytes:
    body = json.dumps({"content": {"parts": [{"text": text}]}, spelling: dimension}).encode()
    return b"POST /v1beta/models/m:embedContent HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def batch_request(*texts: str, dimension: int, spelling: str) -> bytes:
    asked = [{"model": "models/m", "content": {"parts": [{"text": text}]}, spelling: dimension} for text in texts]
    body = json.dumps({"requests": asked}).encode()
    head = b"POST /v1beta/models/m:batchEmbedContents HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


def connect(gateway: FaultGateway) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", urlsplit(gateway.base_url).port or 0), timeout=30)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_answer(stream: BufferedReader) -> tuple[int, dict[str, str], bytes]:
    """Read one answer by its Content-Length."""
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(": ")
        headers[name] = value
    return status, headers, stream.read(int(headers["content-length"]))


def read_to_end(client: socket.socket) -> bytes:
    """Read until the server is done; a reset is a ConnectionResetError."""
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def asked(script: Script, text: str = "x") -> bytes:
    """Ask once, and return all that comes until the connection ends."""
    with fault_gateway(script) as gateway, connect(gateway) as client:
        client.sendall(request(text))
        return read_to_end(client)


def an_arrival(text: str = "x", attempt: int = 1) -> Arrival:
    return Arrival(0, 0.0, 0, "POST", "/", {}, b"", (text,), 4, attempt)


def test_one_connection_serves_many_requests_and_the_log_has_them_in_order() -> None:
    before = time.monotonic()
    asks = [(0, "a", "output_dimensionality"), (1, "b", "outputDimensionality"), (0, "a", "-")]
    with fault_gateway(good) as gateway, connect(gateway) as first, connect(gateway) as second:
        clients = [(client, client.makefile("rb")) for client in (first, second)]
        for who, text, spelling in asks:
            client, stream = clients[who]
            client.sendall(request(text, 8, spelling))
            status, _, body = read_answer(stream)
            values = json.loads(body)["embedding"]["values"]
            assert status == 200
            assert np.array_equal(np.array(values, dtype=np.float32), vector_of(text, len(values)))
    log = gateway.received
    assert [arrival.number for arrival in log] == [0, 1, 2]
    assert [arrival.text for arrival in log] == gateway.texts == ["a", "b", "a"]
    assert [arrival.attempt for arrival in log] == [1, 1, 2]
    assert [arrival.dimension for arrival in log] == [8, 8, 3072]
    assert log[0].connection == log[2].connection != log[1].connection
    assert gateway.connections == 2
    assert before <= log[0].at <= log[1].at <= log[2].at <= time.monotonic()
    assert (log[0].method, log[0].path) == ("POST", "/v1beta/models/m:embedContent")
    assert log[0].headers["host"] == "here"
    assert request("a", 8).endswith(log[0].body)


@pytest.mark.parametrize("spelling", ["output_dimensionality", "outputDimensionality"])
def test_a_batch_is_answered_in_its_order_and_logged_with_all_its_texts(spelling: str) -> None:
    with fault_gateway(good) as gateway, connect(gateway) as client, client.makefile("rb") as stream:
        client.sendall(request("b", 8))
        read_answer(stream)
        client.sendall(batch_request("a", "b", "a", dimension=8, spelling=spelling))
        status, _, body = read_answer(stream)
    vectors = [embedding["values"] for embedding in json.loads(body)["embeddings"]]
    assert status == 200
    assert np.array_equal(np.array(vectors, dtype=np.float32), [vector_of(text, 8) for text in "aba"])
    one, batch = gateway.received
    assert (one.is_batch, one.text, one.texts) == (False, "b", ("b",))
    assert (batch.is_batch, batch.text, batch.texts, batch.dimension) == (True, None, ("a", "b", "a"), 8)
    assert batch.attempt == 2  # of b; a is here for the first time
    assert gateway.texts == ["b", "a", "b", "a"]
    assert gateway.batches == [("a", "b", "a")]


def test_requests_that_come_in_pieces_or_together_are_read_one_by_one() -> None:
    both = request("first") + request("second")
    with fault_gateway(good) as gateway, connect(gateway) as client, client.makefile("rb") as stream:
        for start in range(0, len(both), 50):
            client.sendall(both[start : start + 50])
        assert [read_answer(stream)[2], read_answer(stream)[2]] == [body_of("first", 4), body_of("second", 4)]
    assert gateway.texts == ["first", "second"]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"embedding'])
def test_a_reset_is_a_reset_and_a_close_is_an_end_at_any_place(sent: bytes) -> None:
    assert asked(always(sent, CLOSE)) == sent
    with fault_gateway(always(sent, RESET)) as gateway, connect(gateway) as client:
        client.sendall(request("x"))
        with pytest.raises(ConnectionResetError):
            read_to_end(client)


def test_a_wait_is_waited_for() -> None:
    began = time.monotonic()
    asked(always(0.2, b"x", CLOSE))
    assert time.monotonic() - began >= 0.2


def test_a_drip_comes_drop_by_drop() -> None:
    read = threading.Semaphore(0)

    def script(_: Arrival) -> Iterator[Step]:
        for step in drip(b"abc", 0.1):
            yield step
            if isinstance(step, bytes):
                assert read.acquire(timeout=60)
        yield CLOSE

    with fault_gateway(script) as gateway, connect(gateway) as client:
        client.sendall(request("x"))
        for drop in (b"a", b"b", b"c", b""):
            assert client.recv(100) == drop
            read.release()
    assert list(drip(b"abc", 0.1)) == [b"a", 0.1, b"b", 0.1, b"c", 0.1]


def test_a_hanging_gateway_says_nothing_until_the_client_leaves() -> None:
    with fault_gateway(always(HANG)) as gateway, connect(gateway) as client:
        client.sendall(request("x"))
        until(lambda: gateway.received)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert gateway.texts == ["x"]


@pytest.mark.parametrize("step", [HANG, 3600.0, None], ids=str)
def test_no_thread_is_left_whatever_its_connection_was_doing(step: Step | None) -> None:
    before = set(threading.enumerate())
    with fault_gateway(lambda _: [] if step is None else [step]) as gateway, connect(gateway) as client:
        client.sendall(request("x"))
        idle = connect(gateway)
        until(lambda: gateway.received)
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) - before == set()  # one of an earlier test may have ended meanwhile
    idle.close()


def test_what_a_script_raises_is_raised_at_the_end_of_the_block() -> None:
    def script(arrival: Arrival) -> Iterator[Step]:
        yield b"x"
        assert arrival.text == "something else"

    with pytest.raises(AssertionError, match="something else"):
        asked(script)


@pytest.mark.parametrize("language", ["English", "Chinese", None])
@pytest.mark.parametrize("name", SITUATIONS)
def test_every_envelope_is_whole_and_says_what_its_row_says(name: str, language: str | None) -> None:
    situation = SITUATIONS[name]
    with fault_gateway(always(envelope(name, language))) as gateway, connect(gateway) as client:
        client.sendall(request("x"))
        status, headers, body = read_answer(client.makefile("rb"))
    assert status == situation.status
    if language is None:
        assert body == b""
    elif situation.is_page:
        assert headers["content-type"].startswith("text/html")
    else:
        error = json.loads(body)["error"]
        assert (error["type"], error["code"]) == (situation.type, situation.code)
        assert (situation.english if language == "English" else situation.chinese) in error["message"]
        assert headers["x-oneapi-request-id"] in error["message"]


def test_packed_answers_are_what_they_are_called() -> None:
    def body(data: bytes) -> bytes:
        assert b"\r\ncontent-encoding: gzip\r\n" in data
        return data.partition(b"\r\n\r\n")[2]

    assert gzip.decompress(body(packed(an_arrival()))) == good(an_arrival()).partition(b"\r\n\r\n")[2]
    with pytest.raises(EOFError):
        gzip.decompress(body(packed(an_arrival(), spoil="truncated")))
    with pytest.raises(Exception, match="invalid"):
        gzip.decompress(body(packed(an_arrival(), spoil="broken")))
    bomb = body(gzip_bomb(10_000_000))
    assert len(bomb) < 20_000
    assert len(gzip.decompress(bomb)) == 10_000_000


def test_heavy_headers_weigh_200_kb_and_a_spoilt_value_is_the_only_one() -> None:
    head, _, body = heavy_headers(an_arrival()).partition(b"\r\n\r\n")
    assert len(head) > 200_000
    assert json.loads(body)["embedding"]["values"] == vector_of("x", 4).tolist()
    spoilt = json.loads(with_value(an_arrival(), "NaN").partition(b"\r\n\r\n")[2])["embedding"]["values"]
    assert np.isnan(spoilt).tolist() == [False, True, False, False]


def test_a_header_can_be_replaced_and_left_out() -> None:
    assert answer(204, b"", {"Content-Length": None, "X-A": "1"}) == b"HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n"
    assert b"content-type: text/plain\r\ncontent-length: 2\r\n\r\nhi" in answer(
        200, b"hi", {"Content-Type": "text/plain"}
    )


def bytes_of(script: Script) -> bytes:
    return b"".join(step for step in steps_of(script, an_arrival()) if isinstance(step, bytes))


@pytest.mark.parametrize("name", sorted(TRANSIENT.keys() - {"drip"}))
def test_a_transient_fault_is_no_right_answer(name: str) -> None:
    assert bytes_of(TRANSIENT[name]) != good(an_arrival())


def test_the_drip_is_right_but_takes_longer_than_a_short_deadline() -> None:
    steps = list(steps_of(TRANSIENT["drip"], an_arrival()))
    assert bytes_of(TRANSIENT["drip"]) == good(an_arrival())
    assert sum(step for step in steps if isinstance(step, float)) > 2


def test_a_draw_of_faults_is_the_same_whatever_the_order_of_the_requests() -> None:
    def drawn(texts: list[str]) -> dict[str, list[Step]]:
        return {text: list(steps_of(spoiling(7, 0.2), an_arrival(text))) for text in texts}

    texts = [f"text {number}" for number in range(1000)]
    assert drawn(texts) == drawn(texts[::-1])
    spoilt = sum(steps != [good(an_arrival(text))] for text, steps in drawn(texts).items())
    assert 150 < spoilt < 250


def test_texts_have_different_unit_vectors() -> None:
    vectors = np.array([vector_of(f"text {number}", 128) for number in range(200)])
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    nearest = vectors @ vectors.T - 2 * np.eye(200)
    assert nearest.max() < 0.6
