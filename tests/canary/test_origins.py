"""A token goes to the address that it was given for, and to no other: not by a redirect, a setting or a mistake."""

from __future__ import annotations

import os
from typing import Any

import pytest
from support.gateways import answering, json_answer, served
from support.hunt import CANARY, Hunt

from vn_magic import Session
from vn_magic.credentials import Token
from vn_magic.exceptions import SettingsError, TokenError, VnMagicError, WrongAddressError
from vn_magic.gateway.transport import Transport
from vn_magic.gateway.wire import batch_path, embed_path
from vn_magic.offline import create_app
from vn_magic.settings import normalized_base_url


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("other_path", ["/v1beta/models/gemini-embedding-001:embedContent", "/"])
def test_a_redirect_is_not_followed_and_the_other_origin_hears_nothing(status: int, other_path: str) -> None:
    with served(create_app()) as other:
        moved = json_answer({}, status, location=other.url + other_path)
        with served(answering(moved)) as server, Session(base_url=server.url, token=CANARY) as session:
            with pytest.raises(WrongAddressError):
                session.embed(["a"])
            with pytest.raises(VnMagicError):
                session.run(session.probe())
        assert {request.headers["authorization"] for request in server.received} == {f"Bearer {CANARY}"}
        assert other.received == []


def test_the_sessions_token_goes_to_the_origin_that_it_was_given_for_or_nowhere() -> None:
    with served(create_app()) as other, served(create_app(token=CANARY)) as server:
        with Session(base_url=server.url, token=CANARY) as session:
            session.embed(["a"])
            port = server.url.rpartition(":")[2]
            for base_url in (other.url, f"http://localhost:{port}", f"https://127.0.0.1:{port}"):
                session.configure("base_url", base_url, "a test")
                with pytest.raises(TokenError, match=r"belongs to 127\.0\.0\.1"):
                    session.embed(["b"])
            session.configure("base_url", f"{server.url}/some/prefix", "a test")
            assert session.find_token() is not None
        assert other.received == []


def test_while_a_token_is_being_checked_its_address_stays_the_one_that_it_was_given_for() -> None:
    with served(create_app()) as other, served(create_app(token=CANARY)) as server, Session() as session:
        session.configure("base_url", server.url, "a test")
        asked_under = session.settings
        session.configure("base_url", other.url, "a test")
        session.run(session.probe(Token(CANARY), settings=asked_under))
        assert [request.headers["authorization"] for request in server.received] == [f"Bearer {CANARY}"]
        assert other.received == []


MODELS = [
    "@evil.example/",
    "//evil.example/",
    "https://evil.example",
    "../../../../evil",
    ":8443",
    "x?key=y#z",
    "\\evil.example",
    "home.exampl\u0435",
    "x\r\nHost: evil.example",
]


@pytest.mark.parametrize("model", MODELS)
def test_no_name_of_a_model_leads_a_request_with_the_token_to_another_origin(model: str) -> None:
    transport = Transport("https://home.example", Token(CANARY), timeout=1.0, app=create_app())
    for path in (embed_path(model), batch_path(model)):
        request = transport._request("POST", path, b"{}")
        assert (request.url.scheme, request.url.host, request.url.port) == ("https", "home.example", None)
        assert request.url.userinfo == b""
        assert request.headers["Authorization"] == f"Bearer {CANARY}"
        assert request.headers["Host"] == "home.example"


def test_plain_http_to_another_machine_is_refused_before_anybody_is_asked_for_a_name() -> None:
    with Session(base_url="http://gateway.invalid", token=CANARY) as session:
        with pytest.raises(SettingsError, match="plain http"):
            session.embed(["a"])
        with pytest.raises(SettingsError, match="plain http"):
            session.run(session.probe())


def test_a_proxys_password_is_in_no_error(monkeypatch: pytest.MonkeyPatch, hunt: Hunt) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{CANARY}@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with Session(base_url="https://gateway.invalid", token="sk-0123456789") as session:
        session.configure("row_timeout", 0.5, "a test")
        session.debug = True
        with pytest.raises(VnMagicError) as caught:
            session.embed(["a"])
    assert "gateway.invalid" in str(caught.value)
    assert not hunt.finds("\n".join([str(caught.value), *caught.value._render_traceback_()]))


REFUSED = [
    f"https://user:{CANARY}@gateway.example",
    f"https://{CANARY}@gateway.example/v1",
    f"https://gateway.example/v1?key={CANARY}",
    f"https://gateway.example/v1#{CANARY}",
    CANARY,
    f"//{CANARY}@gateway.example",
    f"ftp://{CANARY}@gateway.example",
    # Python's own words about what it cannot read quote it.
    f"https://gateway.example:{CANARY}",
    f"https://user:{CANARY}/x@gateway.example",
    f"https://[{CANARY}]/",
    f"https://user:{CANARY}@gatew\u2100y.example",
]


@pytest.mark.parametrize("base_url", REFUSED)
def test_a_base_url_with_a_secret_in_it_is_refused_without_being_echoed(base_url: str, hunt: Hunt) -> None:
    with pytest.raises(SettingsError, match="Next:") as caught:
        normalized_base_url(base_url)
    assert not hunt.finds(str(caught.value))


@pytest.mark.parametrize("base_url", [REFUSED[0], REFUSED[7]])
def test_in_a_notebook_a_base_url_with_a_secret_is_refused_without_being_echoed(
    logged_in: Any, hunt: Hunt, base_url: str
) -> None:
    # The cell itself is all that would show it, so it is put together from two halves.
    half = base_url.index(CANARY) + len(CANARY) - 5
    cell = f"import os\nos.environ['VN_MAGIC_BASE_URL'] = {base_url[:half]!r} + {base_url[half:]!r}\nvn_magic.Session()"
    refused = logged_in.kernel.run(cell)
    logged_in.kernel.run(f"os.environ['VN_MAGIC_BASE_URL'] = {logged_in.gateway.url!r}")
    assert refused.error[0].startswith("SettingsError: The base URL")
    assert not hunt.finds(str(refused.messages))
    assert os.environ.get("VN_MAGIC_BASE_URL") is None
