"""Answers in bytes: right ones, every envelope of a gateway of this kind, and spoilt ones."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from faults.gateway import CLOSE, HANG, RESET, Arrival, Script, Step, steps_of

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
REQUEST_ID = "20260516-faults"

# What a right answer looks like


def vector_of(text: str, dimension: int) -> NDArray[np.float32]:
    """Return the one vector that belongs to a text: unit length, and another one for every other text."""
    dice = np.random.default_rng(list(blake2b(text.encode()).digest()))
    vector = dice.standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def answer(status: int, body: bytes = b"", headers: Mapping[str, str | None] = MappingProxyType({})) -> bytes:
    """Return an HTTP/1.1 answer; ``headers`` add to JSON and Content-Length or replace them, None leaves one out."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    told: dict[str, str | None] = {"content-type": JSON if body else None, "content-length": str(len(body))}
    told |= {name.lower(): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in told.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str | None] = MappingProxyType({})) -> bytes:
    """Return an answer with a JSON value for a body."""
    return answer(status, json.dumps(value, ensure_ascii=False).encode(), headers)


def body_of(text: str, dimension: int) -> bytes:
    """Return the documented JSON with the vector of a text."""
    return msgspec.json.encode({"embedding": _embedding_of(text, dimension)})


def batch_body_of(texts: Iterable[str], dimension: int) -> bytes:
    """Return the JSON of a batch with the vectors of its texts."""
    return msgspec.json.encode({"embeddings": [_embedding_of(text, dimension) for text in texts]})


def _embedding_of(text: str, dimension: int) -> dict[str, Any]:
    return {"values": vector_of(text, dimension).tolist()}


def answer_of(text: str, dimension: int) -> bytes:
    """Return the documented answer with the vector of a text; the connection stays open for the next request."""
    return answer(200, body_of(text, dimension))


def good(arrival: Arrival) -> bytes:
    """Return the right answer to a request, for one text or a batch."""
    return answer(200, right_body(arrival))


def right_body(arrival: Arrival) -> bytes:
    """Return the body of the right answer to a request, for one text or a batch."""
    if arrival.is_batch:
        return batch_body_of(arrival.texts, arrival.dimension)
    return body_of(arrival.text or "", arrival.dimension)


def with_value(arrival: Arrival, literal: str, position: int = 1) -> bytes:
    """Return the answer that is right but for one value, which is these characters instead."""
    values = vector_of(arrival.text or "", arrival.dimension).tolist()
    written = [repr(value) for value in values]
    written[position] = literal
    return answer(200, f'{{"embedding": {{"values": [{", ".join(written)}]}}}}'.encode())


# Error envelopes


def openai_error(message: str, kind: str = "new_api_error", code: str | int | None = "") -> bytes:
    """Return a new-api gateway's JSON error; without ``code`` where it is None."""
    error = {"message": message, "type": kind, "param": "", **({} if code is None else {"code": code})}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def google_error(code: int, status: str, message: str, *details: Mapping[str, Any]) -> bytes:
    """Return Google's own JSON error, as pass-through gateways hand it on."""
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def retry_info(delay: str) -> dict[str, Any]:
    """Return Google's detail that names a wait, e.g. ``45.837906927s``."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota_failure(quota_id: str) -> dict[str, Any]:
    """Return Google's detail that names the quota that is used up."""
    violation = {"quotaMetric": "generativelanguage.googleapis.com/embed_content_requests", "quotaId": quota_id}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


PER_MINUTE = quota_failure("EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier")
PER_DAY = quota_failure("EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier")


class Situation(NamedTuple):
    """A row of the table in GATEWAY section 2: one trouble, in two languages."""

    status: int
    english: str
    chinese: str
    code: str | int = ""
    type: str = "new_api_error"
    is_page: bool = False


def _page(status: int) -> Situation:
    return Situation(status, "Web server is returning an unknown error", "网关暂时不可用", is_page=True)


SITUATIONS: Mapping[str, Situation] = MappingProxyType(
    {
        "token missing": Situation(401, "Token not provided", "未提供令牌"),
        "token wrong": Situation(401, "Invalid token", "无效的令牌"),
        "token expired": Situation(401, "This token has expired", "该令牌已过期"),
        "token disabled": Situation(401, "This token is disabled", "该令牌状态不可用"),
        "token's quota spent": Situation(401, "This token quota is exhausted", "该令牌额度已用尽"),
        "balance empty": Situation(
            403, "User quota is not enough", "用户额度不足, 剩余额度: ＄0.000000", "insufficient_user_quota"
        ),
        "balance too low for the estimate": Situation(
            403, "Token quota is not enough", "令牌额度不足以预扣费", "pre_consume_token_quota_failed"
        ),
        "model not allowed": Situation(403, "This token has no access to the model", "该令牌无权访问模型"),
        "group not permitted": Situation(
            403, "No permission to access this group", "无权访问 vip 分组", "access_denied"
        ),
        "user banned": Situation(403, "User has been banned", "用户已被封禁"),
        "address barred": Situation(403, "Your IP is not in the allow list", "您的 IP 不在令牌允许访问的列表中"),
        "no channel": Situation(
            503, "No available channel for this model", "当前分组下对于该模型无可用渠道", "model_not_found"
        ),
        "malformed request": Situation(500, "json: cannot unmarshal", "无效的请求", "invalid_request"),
        "body too large": Situation(413, "request body too large", "请求体过大", "read_request_body_failed"),
        "user rate limit": Situation(429, "Too many requests", "请求过于频繁：1 分钟内最多 60 次"),
        "upstream rate limit": Situation(429, "Please retry in 10ms.", "上游繁忙", 429, "upstream_error"),
        "upstream not JSON": Situation(
            502, "openai_error", "openai_error", "bad_response_status_code", "bad_response_status_code"
        ),
        "upstream unreachable": Situation(500, "do request failed", "请求上游失败", "do_request_failed"),
        "channel lost": Situation(500, "No channel left for this model", "获取渠道失败", "get_channel_failed"),
        "bad response": Situation(500, "bad response body", "上游响应无效", "bad_response_body"),
        "overloaded": Situation(503, "system cpu overloaded", "系统负载过高", "system_cpu_overloaded"),
        **{f"CDN {status}": _page(status) for status in (502, 504, 520, 521, 522, 523, 524)},
    }
)
"""Every row of GATEWAY section 2's table."""

LANGUAGES = ("English", "Chinese")


def envelope(name: str, language: str | None = "English", headers: Mapping[str, str | None] | None = None) -> bytes:
    """Return the answer of one of the `SITUATIONS`; with an empty body where ``language`` is None."""
    situation = SITUATIONS[name]
    signed = {"x-oneapi-request-id": REQUEST_ID, **(headers or {})}
    if language is None:
        return answer(situation.status, b"", signed)
    words = situation.chinese if language == "Chinese" else situation.english
    if situation.is_page:
        page = f"<!doctype html>\n<html><head><title>{situation.status}</title></head><h1>{words}</h1></html>\n"
        return answer(situation.status, page.encode(), {"content-type": HTML, "server": "cdn"})
    signature = f"（request id: {REQUEST_ID}）" if language == "Chinese" else f" (request id: {REQUEST_ID})"
    return answer(situation.status, openai_error(words + signature, situation.type, situation.code), signed)


# Faults of the way. Each is a script; the connection does not outlive those that break it.


def then_good(fault: Script, times: int = 1) -> Script:
    """Spoil the first answers to every text, and give the right one from then on."""

    def script(arrival: Arrival) -> Iterator[Step]:
        yield from steps_of(fault if arrival.attempt <= times else good, arrival)

    return script


def always(*steps: Step) -> Script:
    """Answer every request by the same steps."""
    return lambda _: steps


def drip(data: bytes, seconds: float, size: int = 1) -> Iterator[Step]:
    """Send a few bytes at a time, and wait after each."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield seconds


def cut(arrival: Arrival, ending: Step | None, share: float = 0.5, *, of: str = "body") -> Iterator[Step]:
    """Send the right answer up to a share of its head or its body, then end the connection."""
    whole = good(arrival)
    head = whole.index(b"\r\n\r\n") + 4
    end = head * share if of == "head" else head + (len(whole) - head) * share
    yield whole[: int(end)]
    if ending is not None:
        yield ending


def cut_json(arrival: Arrival) -> Iterator[Step]:
    """Send half of the JSON and call that the whole: Content-Length fits."""
    body = right_body(arrival)
    yield answer(200, body[: len(body) // 2])


def cut_json_without_length(arrival: Arrival) -> Iterator[Step]:
    """Send half of the JSON and close: nothing tells that more was to come."""
    body = right_body(arrival)
    yield answer(200, body[: len(body) // 2], {"content-length": None, "connection": "close"})
    yield CLOSE


def cut_chunk(arrival: Arrival) -> Iterator[Step]:
    """Close in the middle of a chunk."""
    body = right_body(arrival)
    yield answer(200, b"", {"content-length": None, "content-type": JSON, "transfer-encoding": "chunked"})
    yield b"%x\r\n" % len(body) + body[: len(body) // 2]
    yield CLOSE


def packed(arrival: Arrival, *, spoil: str = "") -> bytes:
    """Return the right answer as gzip, although identity was asked for; ``spoil`` it by "truncated" or "broken"."""
    data = gzip.compress(right_body(arrival), mtime=0)
    if spoil == "truncated":
        data = data[: len(data) // 2]
    if spoil == "broken":
        data = data[:10] + bytes(byte ^ 0x55 for byte in data[10:])
    return answer(200, data, {"content-encoding": "gzip"})


def gzip_bomb(size: int = 100_000_000) -> bytes:
    """Return some kilobytes that become a hundred million where somebody unpacks them."""
    return answer(200, gzip.compress(b" " * size), {"content-encoding": "gzip"})


def heavy_headers(arrival: Arrival, size: int = 200_000) -> bytes:
    """Return the right answer below 200 kB of headers."""
    line = "x" * 1000
    return answer(200, right_body(arrival), {f"x-ballast-{number}": line for number in range(size // 1000)})


def limit(seconds: float, place: str) -> bytes:
    """Return a 429 that names its wait in the ``header``, in the ``text``, or in Google's ``details``."""
    if place == "header":
        return answer(429, b"", {"retry-after": f"{seconds:.3f}"})
    if place == "text":
        return json_answer({"error": {"message": f"Please retry in {seconds:.3f}s.", "code": 429}}, 429)
    told = google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded", PER_MINUTE, retry_info(f"{seconds:.3f}s"))
    return answer(429, told)


TRANSIENT: Mapping[str, Script] = MappingProxyType(
    {
        "reset before the headers": always(RESET),
        "closed before the headers": always(CLOSE),
        "reset in the headers": lambda arrival: cut(arrival, RESET, of="head"),
        "closed in the headers": lambda arrival: cut(arrival, CLOSE, of="head"),
        "reset in the body": lambda arrival: cut(arrival, RESET),
        "closed in the body": lambda arrival: cut(arrival, CLOSE),
        "half of the JSON": cut_json,
        "half of the JSON, no length": cut_json_without_length,
        "half a chunk": cut_chunk,
        "gzip": packed,
        "truncated gzip": lambda arrival: packed(arrival, spoil="truncated"),
        "broken gzip": lambda arrival: packed(arrival, spoil="broken"),
        "200 kB of headers": lambda arrival: [heavy_headers(arrival), CLOSE],
        "no answer": always(HANG),
        "no end of the body": lambda arrival: cut(arrival, HANG),
        "drip": lambda arrival: drip(good(arrival), 0.02),
        "429, wait in the header": always(limit(0.02, "header")),
        "429, wait in the text": always(limit(0.01, "text")),
        "429, wait in Google's details": always(limit(0.02, "details")),
        "429 in a 200": always(json_answer({"error": {"message": "retry in 10ms", "code": 429}})),
        "503 that names a wait": always(envelope("overloaded", headers={"retry-after": "0.02"})),
        **{
            name: always(envelope(name, "Chinese"))
            for name in ("upstream not JSON", "upstream unreachable", "channel lost", "bad response", "overloaded")
        },
        **{name: always(envelope(name)) for name in ("CDN 502", "CDN 504", "CDN 520", "CDN 524")},
    }
)
"""Faults that pass. "no answer", "no end of the body" and "drip" last as long as the client stays."""


def spoiling(seed: int, share: float, faults: Mapping[str, Script] = TRANSIENT) -> Script:
    """Spoil a share of the answers by a draw that depends on seed, texts and attempt alone, not on their order."""
    scripts = tuple(faults.values())

    def script(arrival: Arrival) -> Iterator[Step]:
        dice = random.Random(f"{seed}/{arrival.attempt}/{'/'.join(arrival.texts)}")
        yield from steps_of(dice.choice(scripts) if dice.random() < share else good, arrival)

    return script
