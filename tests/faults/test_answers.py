"""Answers that look like one and are none, and answers that are right although they look unusual."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any

import numpy as np
import pytest

from faults.answers import (
    HTML,
    JSON,
    PER_DAY,
    PER_MINUTE,
    always,
    answer,
    answer_of,
    good,
    google_error,
    json_answer,
    openai_error,
    retry_info,
    right_body,
    then_good,
    vector_of,
    with_value,
)
from faults.gateway import Arrival, Script, Step, fault_gateway, steps_of
from faults.jobs import DIMENSION, assert_own_vectors, embed, failure, job, talking_to
from vn_magic.exceptions import (
    AccessDeniedError,
    BadAnswerError,
    BalanceError,
    DailyLimitError,
    DimensionError,
    GatewayError,
    RateLimitedError,
    RejectedTextError,
    TokenRefusedError,
    TransientError,
    UnreadableAnswerError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.retry import RetryPolicy

pytestmark = pytest.mark.usefixtures("quick")

TEXTS = [f"text {number}" for number in range(40)]
WORKERS = 4

# Answers that are none, and answers that only look like some


def spoilt_body(spoil: Callable[[dict[str, Any]], Any]) -> Script:
    """Answer with the right JSON after something was done to it."""

    def script(arrival: Arrival) -> bytes:
        value = json.loads(right_body(arrival))
        changed = spoil(value)
        return json_answer(value if changed is None else changed)

    return script


def with_values(values: Any) -> Script:
    return spoilt_body(lambda value: value["embedding"].update(values=values))


def with_one_value(literal: str) -> Script:
    return lambda arrival: with_value(arrival, literal)


LITERALS = (
    *("null", "NaN", "-NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e39"),
    *('"0.1"', '""', "true", "false", "[0.1]", "[]", "{}"),
)
NO_VECTORS: dict[str, Script] = {
    **{f"a value is {literal}": with_one_value(literal) for literal in LITERALS},
    "all zeros": with_values([0.0] * DIMENSION),
    "all minus zeros": with_values([-0.0] * DIMENSION),
    "all below float32": with_values([1e-60] * DIMENSION),
    "no values": with_values([]),
    "values are null": with_values(None),
    "values are a string": with_values("AACAPwAAgD8="),
    "values are nested": with_values([[0.5] * DIMENSION]),
    "values are an object": with_values({str(number): 0.5 for number in range(DIMENSION)}),
    "plural": spoilt_body(lambda value: {"embeddings": [value["embedding"]]}),
    "OpenAI's shape": spoilt_body(lambda value: {"data": [{"embedding": value["embedding"]["values"], "index": 0}]}),
    "a list": spoilt_body(lambda value: [value]),
    "embedding is a list": spoilt_body(lambda value: {"embedding": value["embedding"]["values"]}),
    "embedding is null": spoilt_body(lambda _: {"embedding": None}),
    "an empty object": spoilt_body(lambda _: {}),
    "other capitals": spoilt_body(lambda value: {"Embedding": value["embedding"]}),
    "204": always(answer(204, headers={"content-length": None})),
    "an error without a number inside a 200": always(answer(200, openai_error("odd", "odd", None))),
    "an error of null inside a 200": always(json_answer({"error": None})),
    "an error beside the vector": spoilt_body(lambda value: value.update(error={"message": "but", "code": "odd"})),
    "half an answer, as 206": lambda arrival: answer(206, right_body(arrival)),
}


@pytest.mark.parametrize("name", NO_VECTORS)
def test_what_is_no_vector_is_asked_for_once_and_neither_bound_nor_kept(name: str) -> None:
    texts = ["before", "spoilt", "after"]
    mended = Event()

    def script(arrival: Arrival) -> Iterable[Step]:
        is_right = arrival.text != "spoilt" or mended.is_set()
        return steps_of(good if is_right else NO_VECTORS[name], arrival)

    with talking_to(script) as (session, gateway):
        failure(session, BadAnswerError, "spoilt")
        embeddings = job(session, texts, on_error="keep")
        assert np.isnan(embeddings.matrix[1]).all()
        assert_own_vectors(embeddings.matrix[[0, 2]], ["before", "after"])
        assert "not a usable vector" in embeddings.errors[1]
        assert gateway.texts.count("spoilt") == 2
        mended.set()
        assert_own_vectors(embed(session, texts), texts)
    assert sorted(gateway.texts) == ["after", "before", "spoilt", "spoilt", "spoilt"]


NOT_THE_API: dict[str, Script] = {
    "a web page": always(answer(200, b"<!doctype html><title>Home</title>", {"content-type": HTML})),
    "a web page that says no type": always(answer(200, b"<!doctype html>", {"content-type": None})),
    "text": lambda arrival: answer(200, right_body(arrival), {"content-type": "text/plain"}),
    "a strange path": always(answer(404, openai_error("Invalid URL (POST /v1beta/x)", "invalid_request_error", ""))),
    "a strange server's 404": always(answer(404, b"<h1>404", {"content-type": HTML})),
    "a strange method": always(answer(405)),
}


@pytest.mark.parametrize("name", NOT_THE_API)
def test_an_address_that_is_not_the_gateways_api_ends_the_job_and_is_said_so(name: str) -> None:
    with talking_to(NOT_THE_API[name]) as (session, gateway):
        error = failure(session, WrongAddressError, *TEXTS, concurrency=WORKERS)
        assert "base URL" in str(error)
    assert len(gateway.received) <= WORKERS


@pytest.mark.parametrize("body", [b"", b"  ", b"<!doctype html>", b"upstream error", b"{", b"\xff\xfe"])
def test_a_body_that_calls_itself_json_and_is_none_is_asked_for_again(body: bytes, quick: RetryPolicy) -> None:
    broken = answer(200, body, {"content-type": JSON})
    with talking_to(then_good(always(broken))) as (session, _):
        assert_own_vectors(embed(session, ["x"]), ["x"])
    with talking_to(always(broken)) as (session, gateway):
        failure(session, UnreadableAnswerError)
    assert len(gateway.received) == quick.attempts


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_redirect_to_another_origin_is_not_followed_and_ends_the_job(status: int, scheme: str) -> None:
    with fault_gateway(good) as elsewhere:
        location = elsewhere.base_url.replace("http", scheme) + "/v1beta/models/x:embedContent"
        with talking_to(always(answer(status, b"", {"location": location}))) as (session, gateway):
            error = failure(session, WrongAddressError, *TEXTS, concurrency=WORKERS)
            assert "never sent on to another address" in str(error)
    assert elsewhere.connections == 0
    assert len(gateway.received) <= WORKERS


ENVELOPES_IN_A_200: dict[str, tuple[bytes, type[GatewayError]]] = {
    "401": (openai_error("no", "new_api_error", 401), TokenRefusedError),
    "'401'": (openai_error("无效的令牌", "new_api_error", "401"), TokenRefusedError),
    "403": (openai_error("no", "new_api_error", 403), AccessDeniedError),
    "no balance": (openai_error("no money", "insufficient_user_quota", 403), BalanceError),
    "429": (openai_error("slow down, retry in 10ms", "upstream_error", 429), RateLimitedError),
    "503": (openai_error("busy", "upstream_error", 503), UpstreamError),
    "Google's 429": (google_error(429, "RESOURCE_EXHAUSTED", "x", PER_MINUTE, retry_info("0.01s")), RateLimitedError),
    "Google's 429, daily": (google_error(429, "RESOURCE_EXHAUSTED", "x", PER_DAY), DailyLimitError),
    "Google's 503": (google_error(503, "UNAVAILABLE", "The model is overloaded."), UpstreamError),
    "400": (openai_error("bad text", "upstream_error", 400), RejectedTextError),
}


@pytest.mark.parametrize("name", ENVELOPES_IN_A_200)
def test_an_error_inside_a_200_is_taken_as_the_error_that_it_is(name: str, quick: RetryPolicy) -> None:
    body, kind = ENVELOPES_IN_A_200[name]
    with talking_to(always(answer(200, body))) as (session, gateway):
        failure(session, kind)
    assert len(gateway.received) == (quick.attempts if issubclass(kind, TransientError) else 1)


# Answers that are right, although they look different


UNUSUAL: dict[str, Script] = {
    "unknown fields": spoilt_body(
        lambda value: {"object": None, **value, "x": [{"y": [10**400, True, None]}], "model": "m"}
    ),
    "unknown fields beside the values": spoilt_body(lambda value: value["embedding"].update(statistics={"a": [1]})),
    "another order of keys": spoilt_body(
        lambda value: {
            "usageMetadata": {"promptTokenCount": 3},
            "embedding": {"shape": [DIMENSION], "values": value["embedding"]["values"]},
        }
    ),
    "a count that is none": spoilt_body(lambda value: value.update(usageMetadata={"promptTokenCount": "many"})),
    "usage that is null": spoilt_body(lambda value: value.update(usageMetadata=None)),
    "blanks and lines": lambda arrival: answer(200, json.dumps(json.loads(right_body(arrival)), indent=8).encode()),
    "a type without a charset": lambda arrival: answer(200, right_body(arrival), {"content-type": "application/json"}),
    "a type in capitals": lambda arrival: answer(200, right_body(arrival), {"content-type": "Application/JSON"}),
    "identity as its coding": lambda arrival: answer(200, right_body(arrival), {"content-encoding": "identity"}),
    "an interim answer before": lambda arrival: b"HTTP/1.1 100 Continue\r\n\r\n" + good(arrival),
    "early hints before": lambda arrival: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + good(arrival),
    "a phrase in Chinese": lambda arrival: good(arrival).replace(b"200 OK", "200 好".encode()),
    "no phrase": lambda arrival: good(arrival).replace(b"200 OK", b"200 "),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_answer_that_is_right_is_taken_at_once(name: str) -> None:
    with talking_to(UNUSUAL[name]) as (session, gateway):
        assert_own_vectors(embed(session, TEXTS[:6]), TEXTS[:6])
    assert sorted(gateway.texts) == sorted(TEXTS[:6])


# Length


def prefix(text: str, length: int) -> Any:
    """Return what a longer vector of the gateway's is worth to somebody who asked for `DIMENSION`."""
    cut = vector_of(text, length)[:DIMENSION].astype(np.float64)
    return cut / np.linalg.norm(cut)


def test_a_length_that_grows_in_the_middle_is_cut_to_what_was_asked_and_nothing_is_sent_twice() -> None:
    def length(number: int) -> int:
        return [DIMENSION, 3072, 256, DIMENSION][number % 4] if number > 10 else DIMENSION

    with talking_to(lambda arrival: answer_of(arrival.text or "", length(arrival.number))) as (session, gateway):
        embeddings = job(session, TEXTS, concurrency=WORKERS)
    lengths = {arrival.text: length(arrival.number) for arrival in gateway.received}
    expected = [prefix(text, lengths[text]) for text in TEXTS]
    assert set(lengths.values()) == {DIMENSION, 256, 3072}
    np.testing.assert_allclose(embeddings.matrix, expected, rtol=0, atol=1e-6)
    assert sorted(gateway.texts) == sorted(TEXTS)
    assert len([notice for notice in embeddings.summary.notices if "output_dimensionality" in notice]) == 1


@pytest.mark.parametrize("length", [1, DIMENSION - 1])
@pytest.mark.parametrize("on_error", ["stop", "keep"])
def test_a_length_that_shrinks_in_the_middle_ends_the_job_and_what_came_before_is_kept(
    length: int, on_error: str
) -> None:
    mended = Event()

    def script(arrival: Arrival) -> bytes:
        is_right = arrival.number < 10 or mended.is_set()
        return answer_of(arrival.text or "", arrival.dimension if is_right else length)

    with talking_to(script) as (session, gateway):
        error = failure(session, DimensionError, *TEXTS, concurrency=WORKERS, on_error=on_error)
        assert f"asked {DIMENSION}, got {length}" in str(error)
        short = gateway.texts[10:]
        assert len(short) <= WORKERS
        mended.set()
        assert_own_vectors(embed(session, TEXTS), TEXTS)
    paid_again = Counter(gateway.texts) - Counter([*TEXTS, *short])
    assert paid_again.total() == 0  # at most those that were on their way when the stop came
