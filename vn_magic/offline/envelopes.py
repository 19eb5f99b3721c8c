"""Error answers of the gateway, of the model behind it and of the CDN before it, byte for byte as a server sends them.

The shapes are those of the open-source gateway QuantumNous/new-api (its `types/error.go` and `middleware/utils.go`),
of Google's `google.rpc.Status`, and of nginx and Cloudflare pages. The wording is our own where the gateway's is in
its operator's hands. Nothing here is shared with the client: a server that used the client's codec would agree with
its mistakes.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID_HEADER = "X-Oneapi-Request-Id"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One error answer.

    Parameters
    ----------
    status
        HTTP status.
    content
        The JSON body, the text of an HTML page, or None for an empty body.
    signed
        Whether ``error.message`` ends in the request id, as the messages do that the gateway makes itself.
    headers
        Headers beyond the content type.
    """

    status: int
    content: Mapping[str, Mapping[str, object]] | str | None
    signed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str | None:
        """Content type of the body, None when there is no body."""
        if self.content is None:
            return None
        return "text/html; charset=utf-8" if isinstance(self.content, str) else "application/json; charset=utf-8"

    def body(self, request_id: str) -> bytes:
        """Return the bytes of the answer to the request with this id."""
        if self.content is None:
            return b""
        if isinstance(self.content, str):
            return self.content.encode()
        error = dict(self.content["error"])
        if self.signed:
            error["message"] = f"{error['message']} (request id: {request_id})"
        return json.dumps({"error": error}, ensure_ascii=False).encode()


class RefusedError(Exception):
    """The request gets this envelope for an answer."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope.status)
        self.envelope = envelope


async def refused(request: Request, error: Exception) -> Response:
    """Answer a request with the envelope of its `RefusedError`."""
    envelope = cast("RefusedError", error).envelope
    body = envelope.body(request.state.request_id)
    return Response(body, envelope.status, envelope.headers, envelope.media_type)


class RequestIdMiddleware:
    """Give every answer, whoever makes it, a fresh request id in `REQUEST_ID_HEADER`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with the id in its state, and put the id on the answer's headers."""
        request_id = secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def door(status: int, message: str, code: str = "") -> Envelope:
    """Return a refusal made before the request is read: token, model, rate. It has no ``param``."""
    return Envelope(status, {"error": {"message": message, "type": "new_api_error", "code": code}}, signed=True)


def relay(
    status: int, message: str, code: str, *, signed: bool = True, headers: Mapping[str, str] = MappingProxyType({})
) -> Envelope:
    """Return an error that the gateway makes while it handles a request."""
    error = {"message": message, "type": "new_api_error", "param": "", "code": code}
    return Envelope(status, {"error": error}, signed=signed, headers=headers)


def upstream(status: int, message: str) -> Envelope:
    """Return an error of the model's own API, translated by the gateway: upstream's words, a number as code."""
    error = {"message": message, "type": "upstream_error", "param": "", "code": status}
    return Envelope(status, {"error": error})


def no_channel(model: str) -> Envelope:
    """Return the refusal of a model that nobody serves."""
    return door(503, f"No available channel for model {model} under group default (distributor)", "model_not_found")


def _google_quota(quota_id: str, delay: str) -> Envelope:
    """Return Google's own 429, as gateways pass it through that do not translate."""
    message = (
        "You exceeded your current quota, please check your plan and billing details.\n"
        "* Quota exceeded for metric: generativelanguage.googleapis.com/embed_content_requests, limit: 1000\n"
        f"Please retry in {delay}."
    )
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {
                    "quotaMetric": "generativelanguage.googleapis.com/embed_content_requests",
                    "quotaId": quota_id,
                    "quotaDimensions": {"location": "global", "model": "gemini-embedding-001"},
                    "quotaValue": "1000",
                }
            ],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    return Envelope(429, {"error": error})


def _page(status: int, title: str, server: str) -> Envelope:
    """Return the HTML page of a proxy in front of the gateway."""
    page = f"<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1><hr>{server}</body>\n</html>\n"
    return Envelope(status, page, headers={"Server": server})


MISSING_TOKEN = door(401, "Token not provided")
WRONG_TOKEN = door(401, "Invalid token")
# The rest of the body may still be on its way; nobody will read it.
_CLOSE = MappingProxyType({"Connection": "close"})
BODY_TOO_LARGE = relay(413, "request body too large", "read_request_body_failed", headers=_CLOSE)
# Refusals of the stand-in's own: the gateway answers the whole world.
HEAD_TOO_LARGE = relay(431, "request headers too large", "request_headers_too_large", headers=_CLOSE)
NO_PROXY = relay(405, "this server is no proxy", "method_not_allowed", headers=_CLOSE)
FOREIGN_HOST = relay(400, "this server answers only under a name of this machine", "foreign_host", headers=_CLOSE)
FOREIGN_ORIGIN = relay(403, "this server answers no web page", "foreign_origin", headers=_CLOSE)

_RATE_LIMIT = "请求过于频繁：1 分钟内最多 60 次"
_OPENAI_ERROR = {
    "message": "openai_error",
    "type": "bad_response_status_code",
    "param": "",
    "code": "bad_response_status_code",
}

ENVELOPES: Mapping[str, Envelope] = MappingProxyType(
    {
        # The whole job has to stop.
        "missing-token": MISSING_TOKEN,
        "wrong-token": WRONG_TOKEN,
        "expired-token": door(401, "This token has expired"),
        "token-quota": door(401, "This token quota is exhausted"),
        "no-balance": relay(
            403, "User quota is not enough: $0.000000 left, $0.000150 needed", "insufficient_user_quota"
        ),
        "pre-consume-failed": relay(403, "Token quota is not enough", "pre_consume_token_quota_failed"),
        "model-not-allowed": door(403, "This token has no access to model gemini-embedding-001"),
        "group-not-allowed": door(403, "No permission to access this group", "access_denied"),
        "no-channel": no_channel("gemini-embedding-001"),
        "daily-limit": _google_quota("EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier", "45.837906927s"),
        # The request itself is at fault.
        "invalid-request": relay(500, "invalid character 'x' looking for beginning of value", "invalid_request"),
        "body-too-large": BODY_TOO_LARGE,
        "bad-argument": upstream(400, "* EmbedContentRequest.content contains an empty Part."),
        # Wait, all workers together.
        "rate-limit": door(429, _RATE_LIMIT),
        "rate-limit-empty": Envelope(429, None),
        "rate-limit-retry-after": Envelope(429, None, headers={"Retry-After": "2"}),
        "upstream-429": upstream(429, "Resource has been exhausted (e.g. check quota). Please retry in 45.57s."),
        "minute-limit": _google_quota("EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier", "300ms"),
        # Weather: it passes.
        "openai-error": Envelope(502, {"error": _OPENAI_ERROR}),
        "upstream-503": upstream(503, "The model is overloaded. Please try again later."),
        "do-request-failed": relay(500, "upstream error: do request failed", "do_request_failed"),
        "channel-lost": relay(500, "No channel left for this model in group default (retry)", "get_channel_failed"),
        "bad-response": relay(500, "bad response body", "bad_response_body"),
        "overloaded": relay(503, "system cpu overloaded", "system_cpu_overloaded", signed=False),
        "bad-gateway-html": _page(502, "502 Bad Gateway", "nginx"),
        "gateway-timeout-html": _page(504, "504 Gateway Time-out", "nginx"),
        "cloudflare-524-html": _page(524, "524: A timeout occurred", "cloudflare"),
    }
)
"""Every error answer that can be played, by name."""
