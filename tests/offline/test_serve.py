import inspect
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import vn_magic
from vn_magic.offline.serve import listen, serve

TOKEN = "sk-canary-7f3f9a"
BODY = {"content": {"parts": [{"text": "x"}]}, "output_dimensionality": 8}
ONE = "/v1beta/models/gemini-embedding-001:embedContent"
BATCH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
# httpx's own five seconds are too few for a machine that stalls.
get, post = partial(httpx.get, timeout=60), partial(httpx.post, timeout=60)


def test_a_made_token_is_printed_once_beside_the_address_and_works(serving: Callable[..., Any]) -> None:
    server = serving()
    token, base = server.exported("VECTORNODE_API_KEY"), server.exported("VN_MAGIC_BASE_URL")
    ready = f"vn-magic stand-in on {base} (offline-lexical: lexical likeness, not meaning)"
    assert server.lines[-1] == ready
    assert "\n".join(server.lines).count(token) == 1
    assert token.startswith("sk-offline-")
    answer = post(base + ONE, json=BODY, headers={"Authorization": f"Bearer {token}"})
    assert len(answer.json()["embedding"]["values"]) == 8
    assert post(base + ONE, json=BODY).status_code == 401


def test_every_made_token_is_another_one(serving: Callable[..., Any]) -> None:
    assert serving().exported("VECTORNODE_API_KEY") != serving().exported("VECTORNODE_API_KEY")


def test_a_token_from_the_environment_works_and_is_printed_masked(serving: Callable[..., Any]) -> None:
    server = serving({"VECTORNODE_API_KEY": f" {TOKEN}\n"})
    base = server.exported("VN_MAGIC_BASE_URL")
    assert get(base + "/v1/models", headers={"x-goog-api-key": TOKEN}).status_code == 200
    _, out, err = server.stop(signal.SIGTERM)
    assert TOKEN not in out + err
    assert "sk-…3f9a" in out


def test_a_short_token_from_the_environment_is_not_printed_at_all(serving: Callable[..., Any]) -> None:
    server = serving({"VECTORNODE_API_KEY": "1234"})
    assert "1234" not in "".join(line for line in server.lines if "token" in line)


def test_the_token_is_never_an_argument() -> None:
    assert set(inspect.signature(serve).parameters) == {"port", "drops_dimension", "no_batch", "play", "environ"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's arguments from /proc")
def test_the_token_is_not_among_the_arguments_of_the_process(serving: Callable[..., Any]) -> None:
    server = serving({"VECTORNODE_API_KEY": TOKEN})
    arguments = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    assert b"serve" in arguments
    assert TOKEN.encode() not in arguments


def test_a_token_in_a_url_is_not_logged(serving: Callable[..., Any]) -> None:
    server = serving({"VECTORNODE_API_KEY": TOKEN})
    base = server.exported("VN_MAGIC_BASE_URL")
    assert post(base + ONE, params={"key": TOKEN}, json=BODY).status_code == 200
    assert post(base + "/v1/wrong", params={"key": TOKEN}).status_code == 404
    _, out, err = server.stop(signal.SIGTERM)
    assert TOKEN not in out + err


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(serving: Callable[..., Any], signal_number: int) -> None:
    server = serving()
    code, _, errors = server.stop(signal_number)
    assert (code, errors) == (0, "")


def test_it_ends_although_a_connection_is_kept_open(serving: Callable[..., Any]) -> None:
    server = serving({"VECTORNODE_API_KEY": TOKEN})
    with httpx.Client(
        base_url=server.exported("VN_MAGIC_BASE_URL"), headers={"x-goog-api-key": TOKEN}, timeout=60
    ) as client:
        assert client.post(ONE, json=BODY).status_code == 200
        assert server.stop(signal.SIGINT)[0] == 0


def test_a_caller_who_hangs_up_leaves_no_traceback(serving: Callable[..., Any]) -> None:
    server = serving({"VECTORNODE_API_KEY": TOKEN})
    address = urlsplit(server.exported("VN_MAGIC_BASE_URL"))
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        head = f"POST {ONE} HTTP/1.1\r\nHost: {address.netloc}\r\nx-goog-api-key: {TOKEN}\r\nContent-Length: 99\r\n\r\n"
        connection.sendall(head.encode() + b'{"content')
    assert get(f"{address.geturl()}/v1/models", headers={"x-goog-api-key": TOKEN}).status_code == 200
    assert server.stop(signal.SIGTERM)[2] == ""


def test_modes_and_the_played_error_reach_the_app(serving: Callable[..., Any]) -> None:
    key = {"x-goog-api-key": TOKEN}
    dropping = serving({"VECTORNODE_API_KEY": TOKEN}, drops_dimension=True).exported("VN_MAGIC_BASE_URL")
    single = serving({"VECTORNODE_API_KEY": TOKEN}, no_batch=True).exported("VN_MAGIC_BASE_URL")
    playing = serving({"VECTORNODE_API_KEY": TOKEN}, play="no-balance").exported("VN_MAGIC_BASE_URL")
    assert len(post(dropping + ONE, json=BODY, headers=key).json()["embedding"]["values"]) == 3072
    assert post(single + ONE, json=BODY, headers=key).status_code == 200
    assert post(single + BATCH, json={"requests": [BODY]}, headers=key).status_code == 404
    assert post(playing + ONE, json=BODY, headers=key).status_code == 403


@pytest.mark.skipif(sys.platform != "linux", reason="the whole of 127.0.0.0/8 answers on Linux alone")
def test_it_listens_on_127_0_0_1_and_nowhere_else(serving: Callable[..., Any]) -> None:
    port = urlsplit(serving().exported("VN_MAGIC_BASE_URL")).port or 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port))


def test_small_answers_are_sent_at_once() -> None:
    with listen(0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_a_short_error_with_a_cure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve(port, drops_dimension=False, no_batch=False, play=None, environ={}) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"127.0.0.1:{port}" in err
    assert "--port 0" in err
    assert err.count("\n") == 2


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_a_short_error_too(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(port, drops_dimension=False, no_batch=False, play=None, environ={}) == 1
    err = capsys.readouterr().err
    assert "must be 0-65535" in err
    assert err.count("\n") == 2


def test_an_unknown_error_to_play_is_a_short_error_that_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(0, drops_dimension=False, no_batch=False, play="no-money", environ={}) == 1
    err = capsys.readouterr().err
    assert "'no-money'" in err
    assert "no-balance" in err
    assert err.count("\n") == 2


def test_without_uvicorn_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\nfrom vn_magic.offline.serve import serve\n"
        "raise SystemExit(serve(0, drops_dimension=False, no_batch=False, play=None, environ={}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(vn_magic.__file__).parents[1],
        env=dict(os.environ),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert 'pip install "vn_magic[serve]"' in done.stderr
    assert done.stderr.count("\n") == 2
