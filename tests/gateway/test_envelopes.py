"""Every error that a gateway, the model's own API or a CDN is known to send, and what it means for a client."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import (
    AccessDeniedError,
    BadAnswerError,
    BalanceError,
    DailyLimitError,
    GatewayError,
    ModelUnavailableError,
    RateLimitedError,
    RejectedTextError,
    RowError,
    StopJobError,
    TokenRefusedError,
    TransientError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.envelopes import Envelope, error_from

NOW = 1_780_000_000.0
NGINX = b"<html>\n<head><title>502 Bad Gateway</title></head>\n<body><h1>502 Bad Gateway</h1></body>\n</html>\n"


class Case(NamedTuple):
    """An answer, and what becomes of it."""

    name: str
    status: int
    body: bytes
    kind: type[GatewayError]
    code: str = ""
    request_id: str | None = None
    retry_after: float | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


def openai(message: str, kind: str = "new_api_error", *code: Any) -> bytes:
    """An OpenAI-shaped error; without a code where none is given."""
    error = {"message": message, "type": kind, "param": "", **({"code": code[0]} if code else {})}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def google(code: int, status: str, message: str, *details: Any) -> bytes:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return json.dumps({"error": error}).encode()


def quota(quota_id: str) -> dict[str, Any]:
    violation = {"quotaMetric": "generativelanguage.googleapis.com/embed_content_requests", "quotaId": quota_id}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def retry_info(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


PER_MINUTE = quota("EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier")
PER_DAY = quota("EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier")
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}

ROWS_OF_THE_TABLE = (
    # 401: token missing, wrong, expired, disabled, or its own quota spent
    Case("token missing", 401, openai("Token not provided", "new_api_error", ""), TokenRefusedError, "new_api_error"),
    Case(
        "token wrong",
        401,
        openai("Invalid token (request id: 20260516a1)", "new_api_error", ""),
        TokenRefusedError,
        "new_api_error",
        "20260516a1",
    ),
    Case(
        "token wrong, in Chinese",
        401,
        openai("无效的令牌（request id: 2026cn）", "new_api_error", ""),
        TokenRefusedError,
        "new_api_error",
        "2026cn",
    ),
    Case("token expired, no code", 401, openai("该令牌已过期"), TokenRefusedError, "new_api_error"),
    Case("token's quota", 401, openai("该令牌额度已用尽", "new_api_error", ""), TokenRefusedError, "new_api_error"),
    Case("401 with an empty body", 401, b"", TokenRefusedError),
    # 403: account balance empty
    Case(
        "no balance",
        403,
        openai("用户额度不足, 剩余额度: ＄0.000000", "new_api_error", "insufficient_user_quota"),
        BalanceError,
        "insufficient_user_quota",
    ),
    Case(
        "no balance for the estimate",
        403,
        openai("token quota is not enough", "new_api_error", "pre_consume_token_quota_failed"),
        BalanceError,
        "pre_consume_token_quota_failed",
    ),
    Case(
        "the telling word in the type",
        403,
        openai("x", "insufficient_user_quota"),
        BalanceError,
        "insufficient_user_quota",
    ),
    # 403: model not allowed, group not permitted, banned, IP
    Case(
        "group", 403, openai("无权访问 vip 分组", "new_api_error", "access_denied"), AccessDeniedError, "access_denied"
    ),
    Case(
        "model not allowed", 403, openai("no access to model", "new_api_error", ""), AccessDeniedError, "new_api_error"
    ),
    Case("a firewall's page", 403, b"<html>Sorry, you have been blocked</html>", AccessDeniedError),
    # 503: no channel for the model
    Case(
        "no channel",
        503,
        openai("No available channel for model x under group default", "new_api_error", "model_not_found"),
        ModelUnavailableError,
        "model_not_found",
    ),
    # 500: malformed JSON or a field of the wrong type
    Case(
        "invalid request",
        500,
        openai("json: cannot unmarshal", "new_api_error", "invalid_request"),
        RejectedTextError,
        "invalid_request",
    ),
    # 413: body too large
    Case(
        "body too large",
        413,
        openai("request body too large", "new_api_error", "read_request_body_failed"),
        RejectedTextError,
        "read_request_body_failed",
    ),
    # 429: user rate limit
    Case("rate limit, empty body", 429, b"", RateLimitedError),
    Case("rate limit, header", 429, b"", RateLimitedError, retry_after=7.0, headers={"retry-after": "7"}),
    Case(
        "rate limit, Chinese",
        429,
        openai("请求过于频繁：1 分钟内最多 60 次", "new_api_error", ""),
        RateLimitedError,
        "new_api_error",
    ),
    # 429: upstream's
    Case(
        "upstream 429",
        429,
        openai("Resource has been exhausted. Please retry in 45.57s.", "upstream_error", 429),
        RateLimitedError,
        "429",
        retry_after=45.57,
    ),
    # upstream 5xx that was not JSON
    Case("openai_error", 502, openai("openai_error", "bad_response_status_code", "x"), UpstreamError, "x"),
    Case("openai_error as 500", 500, openai("openai_error", "openai_error", ""), UpstreamError, "openai_error"),
    # 500: upstream unreachable, channel lost
    *(
        Case(name, 500, openai("upstream error", "new_api_error", name), UpstreamError, name)
        for name in ("do_request_failed", "get_channel_failed", "bad_response", "bad_response_body")
    ),
    # 503: overload guard
    Case(
        "overloaded",
        503,
        openai("system cpu overloaded", "new_api_error", "system_cpu_overloaded"),
        UpstreamError,
        "system_cpu_overloaded",
    ),
    Case("upstream 503 names a wait", 503, b"", UpstreamError, retry_after=3.0, headers={"retry-after": "3"}),
    # CDN in front
    *(Case(f"CDN {status}", status, NGINX, UpstreamError) for status in (502, 504, *range(520, 525))),
    # a wrong path under /v1*
    Case(
        "wrong path",
        404,
        openai("Invalid URL (POST /v1beta/x)", "invalid_request_error", ""),
        WrongAddressError,
        "invalid_request_error",
    ),
)

GOOGLE = (
    Case(
        "per minute",
        429,
        google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", PER_MINUTE, retry_info("45.837906927s")),
        RateLimitedError,
        "429",
        retry_after=45.837906927,
    ),
    Case(
        "per minute, in ms",
        429,
        google(429, "RESOURCE_EXHAUSTED", "x", retry_info("300ms")),
        RateLimitedError,
        "429",
        retry_after=0.3,
    ),
    Case(
        "per day, although it names a wait",
        429,
        google(429, "RESOURCE_EXHAUSTED", "Please retry in 45s.", PER_DAY, retry_info("45s")),
        DailyLimitError,
        "429",
    ),
    Case(
        "per day beside per minute",
        429,
        google(429, "RESOURCE_EXHAUSTED", "x", PER_MINUTE, PER_DAY, retry_info("1s")),
        DailyLimitError,
        "429",
    ),
    Case("key invalid", 400, google(400, "INVALID_ARGUMENT", "API key not valid.", BAD_KEY), TokenRefusedError, "400"),
    Case(
        "empty text", 400, google(400, "INVALID_ARGUMENT", "content contains an empty Part."), RejectedTextError, "400"
    ),
    Case("unauthenticated", 401, google(401, "UNAUTHENTICATED", "x"), TokenRefusedError, "401"),
    Case("permission", 403, google(403, "PERMISSION_DENIED", "x"), AccessDeniedError, "403"),
    Case("model gone", 404, google(404, "NOT_FOUND", "models/x is not found"), ModelUnavailableError, "404"),
    Case(
        "model gone, relayed", 404, openai("models/x is not found", "upstream_error", 404), ModelUnavailableError, "404"
    ),
    Case("internal", 500, google(500, "INTERNAL", "An internal error has occurred"), UpstreamError, "500"),
    Case("overloaded", 503, google(503, "UNAVAILABLE", "The model is overloaded."), UpstreamError, "503"),
)

OTHERS = (
    Case("error as a string", 400, b'{"error": "bad text"}', RejectedTextError),
    Case("error as null", 500, b'{"error": null}', UpstreamError),
    Case("no envelope at all", 422, b'{"detail": []}', RejectedTextError),
    Case("request timed out", 408, b"", UpstreamError),
    Case("no money, plainly", 402, b"", BalanceError),
    Case("method not allowed", 405, b"", WrongAddressError),
    Case("another server's 404", 404, NGINX, WrongAddressError),
    Case("redirect", 307, b"", WrongAddressError, headers={"location": "https://elsewhere.example/"}),
    Case("envelope in a 200", 200, openai("slow down", "upstream_error", 429), RateLimitedError, "429"),
    Case("envelope in a 200, daily", 200, google(429, "RESOURCE_EXHAUSTED", "x", PER_DAY), DailyLimitError, "429"),
    Case("envelope in a 200, 401", 200, google(401, "UNAUTHENTICATED", "x"), TokenRefusedError, "401"),
    Case("envelope in a 200, no number", 200, openai("odd", "odd", "²"), BadAnswerError, "²"),
    Case("nothing, with 204", 204, b"", BadAnswerError),
    Case(
        "violations of another kind",
        429,
        google(429, "X", "x", {"violations": 5}, {"violations": {"a": 1}}),
        RateLimitedError,
        "429",
    ),
    Case("nested too deeply", 503, b'{"error": ' + b"[" * 100_000, UpstreamError),
)
EVERY = (*ROWS_OF_THE_TABLE, *GOOGLE, *OTHERS)


def error_of(case: Case) -> GatewayError:
    return error_from(case.status, case.headers, case.body, now=NOW)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: f"{case.status} {case.name}")
def test_an_answer_becomes_the_error_that_it_stands_for(case: Case) -> None:
    error = error_of(case)
    assert type(error) is case.kind
    assert (error.status, error.code) == (case.status, case.code)
    assert (error.request_id, error.retry_after) == (case.request_id, case.retry_after)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: f"{case.status} {case.name}")
def test_a_message_has_three_lines_at_most_and_ends_in_the_next_step(case: Case) -> None:
    lines = str(error_of(case)).splitlines()
    assert len(lines) <= 3
    assert f"HTTP {case.status}" in lines[1]
    assert lines[-1].startswith("Next: ")
    assert all(len(line) < 300 for line in lines)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "invalid_request", RowError),
        (503, "model_not_found", StopJobError),
        (500, "do_request_failed", TransientError),
    ],
)
def test_a_server_error_is_weather_only_where_its_code_does_not_say_otherwise(
    status: int, code: str, kind: type[GatewayError]
) -> None:
    assert isinstance(error_from(status, {}, openai("x", "new_api_error", code), now=NOW), kind)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"code": "a", "type": "b"}, "a"),
        ({"code": "", "type": "b"}, "b"),
        ({"type": "b"}, "b"),
        ({"code": 7}, "7"),
        ({}, ""),
    ],
)
def test_code_is_the_envelopes_code_else_its_type_whatever_the_kind(fields: dict[str, Any], code: str) -> None:
    assert error_from(400, {}, json.dumps({"error": fields}).encode(), now=NOW).code == code


def test_message_quotes_the_gateway_without_the_signature_and_the_request_id_once() -> None:
    body = openai("额度不足\n  请充值 (request id: 2026abc)", "new_api_error", "insufficient_user_quota")
    assert (
        str(error_from(403, {}, body, now=NOW)).splitlines()[1]
        == "(HTTP 403; it says: 额度不足 请充值; request id 2026abc)"
    )


def test_request_id_is_read_from_the_header_before_the_text() -> None:
    body = openai("x (request id: from-text)")
    assert error_from(401, {"x-oneapi-request-id": "from-header"}, body, now=NOW).request_id == "from-header"


def test_a_long_quote_is_cut() -> None:
    line = str(error_from(500, {}, openai("word " * 1000), now=NOW)).splitlines()[1]
    assert line.startswith("(HTTP 500; it says: word word ")
    assert line.endswith("…)")
    assert len(line) < 200


def test_a_redirect_says_that_the_token_is_not_sent_on_and_does_not_name_the_way() -> None:
    said = str(error_from(301, {"location": "https://elsewhere.example/?key=x"}, b"", now=NOW))
    assert "never sent on" in said
    assert "elsewhere" not in said


def test_an_http_date_is_read_against_the_given_time() -> None:
    headers = {"retry-after": "Thu, 28 May 2026 20:27:00 GMT"}
    assert error_from(429, headers, b"", now=NOW).retry_after == 1_780_000_020.0 - NOW


def test_errors_that_are_not_tried_again_carry_no_wait() -> None:
    assert error_from(401, {"retry-after": "5"}, b"", now=NOW).retry_after is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"3", b"{}", b'{"error": null}', b'{"error": 3}', b'{"error": []}']
)
def test_a_body_without_an_error_object_is_no_envelope(body: bytes) -> None:
    assert Envelope.read(body) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "type", "code", "status", "details", "violations", "quotaId", "reason", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=16,
)


@given(
    status=st.integers(200, 599),
    body=json_values.map(lambda value: json.dumps({"error": value}).encode()) | st.binary(max_size=40),
    headers=st.dictionaries(st.sampled_from(["retry-after", "location"]), st.text(max_size=20)),
)
def test_whatever_a_server_answers_it_becomes_one_error_of_three_lines(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    error = error_from(status, headers, body, now=NOW)
    assert isinstance(error, StopJobError | RowError | TransientError)
    assert len(str(error).splitlines()) <= 3
    assert error.retry_after is None or error.retry_after >= 0
