"""Bytes to the gateway and back over real HTTP: where the token goes, bodies, proxies, TLS."""

from __future__ import annotations

import gzip
import io
import json
import logging
import pickle
import socket
import ssl
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.clients import (
    ONCE,
    TOKEN,
    Watch,
    accepting,
    embed,
    error_answer,
    probe,
    raw_server,
    refusal,
    streaming,
    vector_answer,
)
from support.gateways import answering, json_answer, served

from vn_magic.exceptions import (
    ConnectionFailedError,
    GatewayError,
    SettingsError,
    TokenRefusedError,
    UnreadableAnswerError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.transport import LARGEST_BODY
from vn_magic.offline import create_app
from vn_magic.settings import Recipe

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
    # A model is a path's last part, whatever is in it: no name leads to another origin, or up the path.
    with served(create_app()) as own, served(create_app()) as other:
        for name in (other.url, f"@{other.url.removeprefix('http://')}/", "../../../x", "x?y=z#"):
            with suppress(GatewayError):
                embed(own.url, "x", recipe=Recipe(name, 768, None), policy=ONCE)
    assert {request.headers["authorization"] for request in own.received} == {f"Bearer {TOKEN}"}
    assert len(own.received) == 4
    assert other.received == []


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
    written = io.BytesIO()
    pickler = pickle.Pickler(written)
    pickler.dispatch_table = {}  # distributed lets pickle take causes along, which do not pass a session's door
    pickler.dump(error)
    return f"{error}{error!r}{vars(error)}{''.join(traceback.format_exception(error))}{written.getvalue()!r}"


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

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            arrived.append(tls.recv(65536))

    with accepting(serve) as port:
        yield f"https://127.0.0.1:{port}", arrived


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
