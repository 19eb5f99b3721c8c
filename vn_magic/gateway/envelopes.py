"""Error envelope to typed exception. Pure.

Two shapes are read: the OpenAI-like one of new-api gateways, ``{"error": {"message", "type", "param", "code"}}``,
and Google's own, ``{"error": {"code", "message", "status", "details"}}``, which pass-through gateways hand on.
``code`` may be a string, empty, a number or missing; bodies may be empty or HTML; texts may be Chinese.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from vn_magic.exceptions import (
    AccessDeniedError,
    BadAnswerError,
    BalanceError,
    DailyLimitError,
    GatewayError,
    ModelUnavailableError,
    RateLimitedError,
    RejectedTextError,
    TokenRefusedError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.retry import wait_named_by_server
from vn_magic.gateway.wire import REQUEST_ID_HEADER

BALANCE_CODES = {"insufficient_user_quota", "pre_consume_token_quota_failed"}
# Configuration or a malformed request although the status says "server error": never retried.
FINAL_SERVER_ERRORS: dict[str, type[GatewayError]] = {
    "model_not_found": ModelUnavailableError,
    "invalid_request": RejectedTextError,
}
# No opening bracket in the id and no blanks before it, or a message of a megabyte would take hours to search.
_REQUEST_ID_IN_TEXT = re.compile(r"[\(\uff08]request id: ?([^(\uff08)\uff09]*)[\)\uff09]", re.IGNORECASE)
_FAILED_STATUS = re.compile(r"[45][0-9][0-9]")
_LONGEST_QUOTE = 160


@dataclass(frozen=True, slots=True)
class Envelope:
    """The fields of an error that matter to a client, whatever its shape."""

    message: str = ""
    type: str = ""
    code: str = ""
    details: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, body: bytes) -> Envelope | None:
        """Return the envelope in a body, or None where there is none (empty, HTML, other JSON)."""
        try:
            error = msgspec.json.decode(body)["error"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, KeyError):
            return None
        if isinstance(error, str):
            return cls(message=error)
        if not isinstance(error, dict):
            return None
        details = error.get("details")
        return cls(
            message=str(error.get("message") or ""),
            type=str(error.get("type") or error.get("status") or ""),
            code=str(error.get("code") or ""),
            details=[item for item in details if isinstance(item, dict)] if isinstance(details, list) else [],
        )

    @property
    def names(self) -> set[str]:
        """Code and type together: gateways put the telling word into either."""
        return {self.code, self.type} - {""}

    @property
    def reason(self) -> str:
        """Google's machine-readable reason, ``""`` where there is none."""
        return next((str(detail["reason"]) for detail in self.details if "reason" in detail), "")

    @property
    def is_daily_limit(self) -> bool:
        """Whether a quota that is counted per day is used up; Google sends a retryDelay even then."""
        lists = (detail.get("violations") for detail in self.details)
        violations = (violation for each in lists if isinstance(each, list) for violation in each)
        return any("PerDay" in str(each.get("quotaId")) for each in violations if isinstance(each, dict))


def error_from(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float, scrub: Callable[[str], str] = str
) -> GatewayError:
    """Return the exception that an answer stands for.

    Parameters
    ----------
    status
        The HTTP status; may be 200 where an envelope came inside a success.
    headers
        The answer's headers, looked up without regard to case.
    body
        The raw body.
    now
        Unix time in seconds, against which an HTTP date in ``Retry-After`` is read.
    scrub
        Masks the token in what the gateway says, after JSON's escapes are undone and before it is cut.
    """
    envelope = Envelope.read(body)
    known = envelope or Envelope()
    known = replace(known, message=scrub(known.message), type=scrub(known.type), code=scrub(known.code))
    kind = _kind_of(status, envelope)
    request_id = quote(headers.get(REQUEST_ID_HEADER) or _request_id_in(known.message)) or None
    waits = kind is RateLimitedError or kind is UpstreamError
    return kind(
        _message(kind, status, known, request_id, headers),
        status=status,
        code=known.code or known.type,
        request_id=request_id,
        retry_after=wait_named_by_server(headers, known.details, known.message, now=now) if waits else None,
    )


def _kind_of(status: int, envelope: Envelope | None) -> type[GatewayError]:  # noqa: PLR0911 - GATEWAY's table, top down
    names = envelope.names if envelope else set()
    if 200 <= status < 300:
        # An envelope inside a 200 carries its real status as a number, if it carries one.
        failed = envelope is not None and _FAILED_STATUS.fullmatch(envelope.code)
        return _kind_of(int(failed[0]), envelope) if failed else BadAnswerError
    if names & BALANCE_CODES:
        return BalanceError
    if envelope and envelope.is_daily_limit:
        return DailyLimitError
    if status in (408, 429):
        return RateLimitedError if status == 429 else UpstreamError
    for name in names & FINAL_SERVER_ERRORS.keys():
        return FINAL_SERVER_ERRORS[name]
    if status >= 500:
        return UpstreamError
    if status == 404:
        # Google's 404 is about the model, handed on as it is or as new-api's "upstream_error"; new-api's own is
        # about a path ("Invalid URL"), as is any other server's.
        return ModelUnavailableError if names & {"NOT_FOUND", "upstream_error"} else WrongAddressError
    if envelope and envelope.reason == "API_KEY_INVALID":
        return TokenRefusedError
    by_status: dict[int, type[GatewayError]] = {
        401: TokenRefusedError,
        402: BalanceError,
        403: AccessDeniedError,
        405: WrongAddressError,
    }
    if status in by_status:
        return by_status[status]
    return RejectedTextError if 400 <= status < 500 else WrongAddressError


def _message(
    kind: type[GatewayError], status: int, envelope: Envelope, request_id: str | None, headers: Mapping[str, str]
) -> str:
    said = quote(_REQUEST_ID_IN_TEXT.sub("", envelope.message))
    details = [f"HTTP {status}"]
    if 300 <= status < 400 and headers.get("location"):
        details.append("it redirects, and a token is never sent on to another address")
    if said:
        details.append(f"it says: {said}")
    if request_id:
        details.append(f"request id {request_id}")
    return "\n".join(line for line in (kind.meaning, f"({'; '.join(details)})", kind.cure) if line)


def quote(text: str) -> str:
    """Return foreign words as a message can hold them: on one line, and not long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"


def _request_id_in(message: str) -> str:
    found = _REQUEST_ID_IN_TEXT.search(message)
    return found[1] if found else ""
