from collections.abc import Callable

import httpx
import pytest

from vn_magic.offline import ENVELOPES

BODY = {"content": {"parts": [{"text": "x"}]}}

# What section 2 of the gateway's notes says: status, error.type, error.code, and whether the gateway's own
# signature ends the message. None: no JSON body.
EXPECTED: dict[str, tuple[int, str | None, object, bool]] = {
    "missing-token": (401, "new_api_error", "", True),
    "wrong-token": (401, "new_api_error", "", True),
    "expired-token": (401, "new_api_error", "", True),
    "token-quota": (401, "new_api_error", "", True),
    "no-balance": (403, "new_api_error", "insufficient_user_quota", True),
    "pre-consume-failed": (403, "new_api_error", "pre_consume_token_quota_failed", True),
    "model-not-allowed": (403, "new_api_error", "", True),
    "group-not-allowed": (403, "new_api_error", "access_denied", True),
    "no-channel": (503, "new_api_error", "model_not_found", True),
    "daily-limit": (429, None, 429, False),
    "invalid-request": (500, "new_api_error", "invalid_request", True),
    "body-too-large": (413, "new_api_error", "read_request_body_failed", True),
    "bad-argument": (400, "upstream_error", 400, False),
    "rate-limit": (429, "new_api_error", "", True),
    "upstream-429": (429, "upstream_error", 429, False),
    "minute-limit": (429, None, 429, False),
    "openai-error": (502, "bad_response_status_code", "bad_response_status_code", False),
    "upstream-503": (503, "upstream_error", 503, False),
    "do-request-failed": (500, "new_api_error", "do_request_failed", True),
    "channel-lost": (500, "new_api_error", "get_channel_failed", True),
    "bad-response": (500, "new_api_error", "bad_response_body", True),
    "overloaded": (503, "new_api_error", "system_cpu_overloaded", False),
}
EMPTY = {"rate-limit-empty": None, "rate-limit-retry-after": "2"}
PAGES = {"bad-gateway-html": 502, "gateway-timeout-html": 504, "cloudflare-524-html": 524}


def ask(client: httpx.Client) -> httpx.Response:
    return client.post("/v1beta/models/gemini-embedding-001:embedContent", json=BODY)


def test_every_envelope_has_its_expectation_here() -> None:
    assert set(ENVELOPES) == {*EXPECTED, *EMPTY, *PAGES}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_json_envelope_arrives_as_the_gateway_sends_it(stand_in: Callable[..., httpx.Client], name: str) -> None:
    response = ask(stand_in(play=name))
    status, kind, code, signed = EXPECTED[name]
    error = response.json()["error"]
    assert response.json().keys() == {"error"}
    assert response.headers["content-type"].startswith("application/json")
    assert (response.status_code, error.get("type"), error["code"]) == (status, kind, code)
    signature = f" (request id: {response.headers['X-Oneapi-Request-Id']})"
    assert error["message"].endswith(signature) == signed
    assert len(error["message"].removesuffix(signature)) > 5


@pytest.mark.parametrize("name", EMPTY)
def test_a_rate_limit_may_come_without_a_body(stand_in: Callable[..., httpx.Client], name: str) -> None:
    response = ask(stand_in(play=name))
    assert (response.status_code, response.content) == (429, b"")
    assert "content-type" not in response.headers
    assert response.headers.get("Retry-After") == EMPTY[name]


@pytest.mark.parametrize("name", PAGES)
def test_a_proxy_answers_with_a_web_page(stand_in: Callable[..., httpx.Client], name: str) -> None:
    response = ask(stand_in(play=name))
    assert response.status_code == PAGES[name]
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<html>")
    assert response.headers.get_list("server") in (["nginx"], ["cloudflare"])


@pytest.mark.parametrize(
    ("name", "period", "delay"), [("daily-limit", "PerDay", "45.837906927s"), ("minute-limit", "PerMinute", "300ms")]
)
def test_googles_quota_error_names_the_period_and_a_delay(
    stand_in: Callable[..., httpx.Client], name: str, period: str, delay: str
) -> None:
    response = ask(stand_in(play=name))
    error = response.json()["error"]
    quota, retry = error["details"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert quota["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
    assert period in quota["violations"][0]["quotaId"]
    assert retry == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    assert error["message"].endswith(f"Please retry in {delay}.")
    assert "retry-after" not in response.headers


def test_an_upstream_429_ends_with_the_wait_in_words(stand_in: Callable[..., httpx.Client]) -> None:
    assert ask(stand_in(play="upstream-429")).json()["error"]["message"].endswith("Please retry in 45.57s.")


def test_an_upstream_failure_without_json_is_literally_openai_error(stand_in: Callable[..., httpx.Client]) -> None:
    assert ask(stand_in(play="openai-error")).json()["error"]["message"] == "openai_error"


def test_refusals_at_the_door_have_no_param_and_those_of_the_relay_have_one(
    stand_in: Callable[..., httpx.Client],
) -> None:
    assert "param" not in ask(stand_in(play="rate-limit")).json()["error"]
    assert ask(stand_in(play="no-balance")).json()["error"]["param"] == ""


def test_messages_may_be_chinese(stand_in: Callable[..., httpx.Client]) -> None:
    response = ask(stand_in(play="rate-limit"))
    assert "请求过于频繁" in response.content.decode()
