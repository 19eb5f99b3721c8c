"""`vn-magic serve` is asked by what is no HTTP, by what is too much of it, and by those who never end: it goes on."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from support.waiting import until

from vn_magic.offline import create_app
from vn_magic.offline.punctual import PunctualProtocol
from vn_magic.offline.serve import listen

TOKEN = "sk-canary-7f3f9a"
ONE = "/v1beta/models/gemini-embedding-001:embedContent"
BATCH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
KEY = {"x-goog-api-key": TOKEN}
BODY = {"content": {"parts": [{"text": "x"}]}, "output_dimensionality": 8}
# The gateway's own words for what it cannot read and for a model that it does not have.
DOCUMENTED_500 = {"invalid_request", "model_not_found"}

# The same examples every time, and as many as a minute allows.
bounded = settings(max_examples=300, derandomize=True, database=None)


class Target:
    """A running `serve`, and how raw bytes are sent to it."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        parts = urlsplit(base_url)
        self.address = (parts.hostname or "", parts.port or 0)

    def answer_to(self, sent: bytes) -> bytes:
        """Send bytes, say that there are no more, and return all that comes back."""
        with socket.create_connection(self.address, timeout=60) as connection:
            with suppress(OSError):  # a refusal may come before all is written
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            received = b""
            with suppress(ConnectionResetError):
                while chunk := connection.recv(65536):
                    received += chunk
            return received

    def is_well(self) -> bool:
        answer = httpx.post(self.base_url + ONE, json=BODY, headers=KEY, trust_env=False, timeout=60)
        return answer.status_code == 200 and len(answer.json()["embedding"]["values"]) == 8


@pytest.fixture(scope="module")
def target(serving_for_module: Callable[..., Any]) -> Iterator[Target]:
    """A process that runs `serve`. At the end it is well, and has written nothing on stderr."""
    server = serving_for_module({"VECTORNODE_API_KEY": TOKEN})
    target = Target(server.exported("VN_MAGIC_BASE_URL"))
    yield target
    assert target.is_well()
    code, _, errors = server.stop(signal.SIGTERM)
    assert (code, errors) == (0, "")


def answers_in(answer: bytes) -> list[tuple[int, str]]:
    """Return status and body of each answer in a stream."""
    pieces = re.split(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", answer)
    assert pieces[0] == b""
    return [
        (int(status), rest.partition(b"\r\n\r\n")[2].decode())
        for status, rest in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def check_civil(status: int, body: str) -> None:
    """Fail unless an answer is a success, a refusal, or an envelope that the gateway is known for."""
    assert status < 500 or json.loads(body)["error"]["code"] in DOCUMENTED_500, (status, body)
    assert "Traceback" not in body


METHODS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"HEAD", b"PUT", b"TRACE", b"CONNECT", b"PRI", b"get", b""])
TARGETS = st.one_of(
    st.sampled_from([ONE.encode(), BATCH.encode(), b"/v1/models", b"/", b"*", b"//", b"/%ff%00", b"http://x/", b""]),
    st.binary(max_size=40),
)
NAMES = st.one_of(
    st.sampled_from(
        [b"Host", b"Content-Length", b"Transfer-Encoding", b"Origin", b"Connection", b"Upgrade", b"Expect"]
    ),
    st.sampled_from([b"x-goog-api-key", b"Authorization", b"Content-Type", b"Content-Encoding", b"Sec-Fetch-Site"]),
    st.binary(max_size=20),
)
VALUES = st.one_of(
    st.sampled_from([b"localhost", b"localhost:[", b"0", b"7", b"-1", b"1e3", b"99999999999999999999", b"chunked"]),
    st.sampled_from([b"gzip, chunked", b"close", b"websocket", b"100-continue", TOKEN.encode(), b"Bearer \xff"]),
    st.binary(max_size=40),
)
LINE_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n\r\n"])
BODIES = st.one_of(
    st.binary(max_size=200),
    st.just(json.dumps(BODY).encode()),
    st.just(b"5\r\nhello\r\n0\r\n\r\n"),
    st.just(b"ffffffffffffffffff\r\nx"),
)


@st.composite
def nearly_http(draw: st.DrawFn) -> bytes:
    """Bytes that begin like a request, which gets further in than noise does."""
    end = draw(LINE_ENDS)
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""]))
    head = draw(METHODS) + b" " + draw(TARGETS) + b" " + version + end
    honest = [(b"Host", b"localhost"), (b"x-goog-api-key", TOKEN.encode())] if draw(st.booleans()) else []
    for name, value in [*honest, *draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))]:
        head += name + b": " + value + end
    return head + end + draw(BODIES)


_LENGTH = len(json.dumps(BODY))
WHOLE = [
    f"{line} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: {_LENGTH}\r\n\r\n{json.dumps(BODY)}".encode()
    for line in (f"POST {ONE}", f"POST {BATCH}", "GET /v1/models", "OPTIONS /v1/models")
    for key in (f"x-goog-api-key: {TOKEN}\r\n", f"Origin: http://evil.example\r\nAuthorization: Bearer {TOKEN}\r\n")
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Bytes that are a request but for a place or two, which gets furthest in."""
    whole = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(whole)))
        whole = whole[:start] + draw(st.binary(max_size=4)) + whole[start + draw(st.integers(0, 4)) :]
    return whole


ANYTHING = st.one_of(
    st.binary(max_size=300), nearly_http(), damaged(), st.lists(damaged() | nearly_http(), max_size=3).map(b"".join)
)


def test_no_bytes_bring_a_failure_of_its_own(target: Target) -> None:
    statuses = set()

    @bounded
    @given(sent=ANYTHING)
    def send(sent: bytes) -> None:
        for status, body in answers_in(target.answer_to(sent)):
            check_civil(status, body)
            statuses.add(status)

    send()
    assert statuses >= {200, 400, 403, 404}  # it is worth something where it gets past the front door


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(exclude_categories=[]), max_size=30),
        st.sampled_from(["gemini-embedding-001", "models/gemini-embedding-001", "CLUSTERING", 768, 10**40, -1]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                (
                    *("content", "parts", "text", "role", "model", "taskType", "task_type", "title", "requests"),
                    *("outputDimensionality", "output_dimensionality", "\ud800", "\x00"),
                )
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
CONTENTS = st.fixed_dictionaries(
    {
        "content": st.fixed_dictionaries(
            {"parts": st.lists(st.fixed_dictionaries({"text": TEXTS | TEXTS | JSON}), max_size=3)}
        )
    },
    # Each with a value that is right among them, or nothing would get further than this.
    optional={
        "outputDimensionality": st.integers(1, 3072) | JSON,
        "taskType": st.just("CLUSTERING") | JSON,
        "title": st.none() | JSON,
        "model": st.just("models/gemini-embedding-001") | JSON,
    },
)


PATHS = st.sampled_from([ONE, BATCH, "/v1/models/offline-lexical:embedContent", "/v1/models/\u0080:embedContent"])
JSON_BODIES = st.one_of(JSON, CONTENTS, CONTENTS, st.fixed_dictionaries({"requests": st.lists(CONTENTS, max_size=3)}))


@pytest.mark.parametrize("drops_dimension", [False, True])
def test_no_json_brings_a_failure_of_its_own(stand_in: Callable[..., httpx.Client], drops_dimension: bool) -> None:
    client = stand_in(drops_dimension=drops_dimension)
    statuses = set()

    @bounded
    @given(path=PATHS, body=JSON_BODIES)
    def post(path: str, body: object) -> None:
        answer = client.post(path, content=json.dumps(body))
        check_civil(answer.status_code, answer.text)
        statuses.add(answer.status_code)

    post()
    assert statuses >= {200, 400, 500, 503}


def test_what_is_no_http_is_answered_with_400_and_a_closed_connection(target: Target) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"):
        assert [status for status, _ in answers_in(target.answer_to(sent))] == [400]


def test_it_is_no_proxy(target: Target) -> None:
    for path in (b"/", b"/v1/models", b"127.0.0.1:443"):
        answer = target.answer_to(b"CONNECT " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 405 ")


def test_a_head_without_end_is_cut_off(target: Target) -> None:
    sent = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X-Filler: " + b"x" * 1_000_000
    assert [status for status, _ in answers_in(target.answer_to(sent))] in ([400], [])


def test_a_body_without_end_is_answered_with_413_and_cut_off(target: Target) -> None:
    head = f"POST {ONE} HTTP/1.1\r\nHost: localhost\r\nx-goog-api-key: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    sent = 0
    with socket.create_connection(target.address, timeout=60) as connection:
        connection.sendall(head.encode())
        with suppress(ConnectionError):
            while sent < 256:
                connection.sendall(chunk)
                sent += 1
    assert 4 < sent < 64  # megabytes: more than it keeps, and far from all


def test_an_announced_body_that_is_too_large_gets_its_answer_while_it_is_still_written(target: Target) -> None:
    answer = httpx.post(target.base_url + ONE, content=b"x" * 8_000_000, headers=KEY, trust_env=False, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "read_request_body_failed")
    assert answer.headers["connection"] == "close"


class HastyProtocol(PunctualProtocol):
    """The protocol of `serve` with a time that a test can wait for."""

    seconds = 0.3


class NarrowProtocol(PunctualProtocol):
    """The protocol of `serve` with few connections, so that a test need not open hundreds."""

    most_connections = 16


@contextmanager
def _running(protocol: type[PunctualProtocol], *, send_buffer: int | None = None) -> Iterator[Target]:
    listener = listen(0)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)  # connections inherit it
    config = uvicorn.Config(create_app(token=TOKEN), http=protocol, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Target(f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def hasty() -> Iterator[Target]:
    with _running(HastyProtocol) as target:
        yield target


HEAD = f"POST {ONE} HTTP/1.1\r\nHost: localhost\r\nx-goog-api-key: {TOKEN}\r\nContent-Length: 99\r\n\r\n".encode()
GOOD = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx-goog-api-key: " + TOKEN.encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    "begun",
    [b"", b"G", HEAD[:-2], HEAD, HEAD + b'{"content', GOOD + HEAD, GOOD + b"G"],
    ids=["silence", "a letter", "half a head", "no body", "half a body", "a second without body", "half a second one"],
)
def test_whoever_does_not_end_a_request_is_cut_off(hasty: Target, begun: bytes) -> None:
    # A reset is an end, too, and may come before all is written.
    with suppress(ConnectionError), socket.create_connection(hasty.address, timeout=20) as connection:
        connection.sendall(begun)
        while connection.recv(65536):
            pass  # a complete first request has its answer; then comes the end, or `timeout` is raised
    wait_until_well(hasty)  # its time is so short that whoever stalls is cut off, too


def test_whoever_drips_is_cut_off_as_well(hasty: Target) -> None:
    with socket.create_connection(hasty.address, timeout=20) as connection, pytest.raises(ConnectionError):
        _drip(connection)


def _drip(connection: socket.socket) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 20:
        connection.sendall(b"x")
        time.sleep(0.02)  # slower than a client, and faster than the time that it has


def test_whoever_asks_and_takes_no_answers_is_cut_off(hasty: Target) -> None:
    """Requests arrive whole, one upon the other, and their answers fill all that lies between."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(hasty.address)
        with pytest.raises(ConnectionError):
            _ask_for_ever(connection)
    wait_until_well(hasty)  # its time is so short that whoever stalls is cut off, too


def _ask_for_ever(connection: socket.socket) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 60:
        connection.sendall(GOOD * 100)  # times out where nobody ends it


def test_whoever_does_not_take_the_little_that_is_left_of_an_answer_is_cut_off_as_well() -> None:
    lost = threading.Event()

    class WatchedProtocol(HastyProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    # Some 40 KiB come back, which asyncio's own 64 KiB would hold without another word.
    body = json.dumps(BODY | {"output_dimensionality": 2000}).encode()
    with _running(WatchedProtocol, send_buffer=4096) as target, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(target.address)
        head = HEAD.replace(b"Content-Length: 99", f"Connection: close\r\nContent-Length: {len(body)}".encode())
        connection.sendall(head + body)
        assert lost.wait(20)


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of open files")
def test_connections_beyond_the_files_that_it_may_open_are_turned_away_without_a_word(
    serving: Callable[..., Any],
) -> None:
    server = serving({"VECTORNODE_API_KEY": TOKEN}, files=128)
    target = Target(server.exported("VN_MAGIC_BASE_URL"))
    with ExitStack() as stack:
        *_, last = [stack.enter_context(socket.create_connection(target.address, timeout=60)) for _ in range(150)]
        with suppress(ConnectionError):
            assert last.recv(1) == b""
    wait_until_well(target)
    code, _, errors = server.stop(signal.SIGTERM)
    assert (code, errors) == (0, "")


def test_a_connection_too_many_is_closed_and_others_go_on_when_there_is_room_again() -> None:
    with _running(NarrowProtocol) as target:
        with ExitStack() as stack:
            first, *_, last = [
                stack.enter_context(socket.create_connection(target.address, timeout=60))
                for _ in range(NarrowProtocol.most_connections + 1)
            ]
            with suppress(ConnectionResetError):
                assert last.recv(1) == b""
            first.sendall(GOOD)
            assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        wait_until_well(target)


def wait_until_well(target: Target) -> None:
    until(lambda: _is_well_by_now(target), "health")


def _is_well_by_now(target: Target) -> bool:
    with suppress(httpx.TransportError):
        return target.is_well()
    return False
