"""What one gateway is asked, and what its answers mean, without a network."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import (
    BadAnswerError,
    BatchUnavailableError,
    DimensionError,
    GatewayError,
    LongWaitError,
    RateLimitedError,
    RejectedTextError,
    WrongAddressError,
)
from vn_magic.gateway.dialect import TEXTS_OF_FIRST_BATCH, Dialect
from vn_magic.gateway.transport import Reply
from vn_magic.gateway.wire import Answer
from vn_magic.settings import Recipe

RECIPE = Recipe("gemini-embedding-001", 2, None)
JSON = {"content-type": "application/json"}


def dialect() -> Dialect:
    return Dialect("gateway.example", str, longest_wait=300.0)


def reply(body: Any, status: int = 200, headers: dict[str, str] = JSON) -> Reply:
    return Reply(status, headers, json.dumps(body).encode(), is_json=True)


def batch(*vectors: list[float], tokens: int | None = None) -> Reply:
    usage = {} if tokens is None else {"usageMetadata": {"promptTokenCount": tokens}}
    return reply({"embeddings": [{"values": vector} for vector in vectors], **usage})


def test_a_first_batch_is_small_and_what_it_meets_decides_about_the_others() -> None:
    known = dialect()
    assert known.batch_size(100) == TEXTS_OF_FIRST_BATCH
    known.outcomes(known.question(["a", "b"], RECIPE), batch([1.0, 0.0], [0.0, 1.0]))
    assert known.batch_size(100) == 100
    assert known.batch_size(1) == 1
    known.do_without_batches(BatchUnavailableError.because("HTTP 404"))
    assert known.batch_size(100) == 1


VECTORS: dict[int, dict[str, Any]] = {
    1: {"embedding": {"values": [3.0, 4.0]}},
    2: {"embeddings": [{"values": [3.0, 4.0]}] * 2},
}
LIMITED = {"message": "slow down", "code": 429}


@pytest.mark.parametrize("beside", [{}, VECTORS[1], VECTORS[2]], ids=["alone", "beside a vector", "beside two"])
@pytest.mark.parametrize("texts", [1, 2])
def test_an_error_in_an_answer_of_200_is_told_whatever_stands_beside_it(texts: int, beside: dict[str, Any]) -> None:
    known = dialect()
    for body in (beside | {"error": LIMITED}, {"error": LIMITED} | beside):
        with pytest.raises(RateLimitedError):
            known.outcomes(known.question(["a"] * texts, RECIPE), reply(body))
    with pytest.raises(GatewayError, match="slow down"):
        known.outcomes(known.question(["a"] * texts, RECIPE), reply(beside | {"error": "slow down"}))


@pytest.mark.parametrize("nothing", [None, False, 0, []])
@pytest.mark.parametrize("texts", [1, 2])
def test_an_error_that_says_nothing_costs_no_vector(texts: int, nothing: object) -> None:
    known = dialect()
    answers = known.outcomes(known.question(["a"] * texts, RECIPE), reply(VECTORS[texts] | {"error": nothing}))
    assert [answer.vector.tolist() for answer in answers if isinstance(answer, Answer)] == [[3.0, 4.0]] * texts


def test_one_text_is_asked_for_alone_and_tells_nothing_about_batches() -> None:
    known = dialect()
    question = known.question(["a"], RECIPE)
    assert question.path.endswith(":embedContent")
    [answer] = known.outcomes(question, reply({"embedding": {"values": [3.0, 4.0]}}))
    assert isinstance(answer, Answer)
    assert answer.vector.tolist() == [3.0, 4.0]
    assert known.has_batches is None


def test_a_batch_that_was_on_its_way_when_another_was_refused_brings_them_not_back() -> None:
    known = dialect()
    question = known.question(["a", "b"], RECIPE)
    known.do_without_batches(BatchUnavailableError.because("HTTP 404"))
    known.outcomes(question, batch([1.0, 0.0], [0.0, 1.0]))
    assert known.batch_size(100) == 1


def test_that_there_are_no_batches_is_said_once() -> None:
    known = dialect()
    for _ in range(3):
        known.do_without_batches(BatchUnavailableError.because("HTTP 404"))
    [notice] = known.notices
    assert "HTTP 404" in notice
    assert "alone" in notice


@pytest.mark.parametrize(
    "answer",
    [
        reply({"error": {"message": "x", "code": 404, "status": "NOT_FOUND"}}, 404),
        reply({}, 405),
        Reply(200, {"content-type": "text/html"}, b"<p>front page", is_json=False),
        batch([1.0, 0.0]),
        batch([1.0, 0.0], [1.0, 0.0], [1.0, 0.0]),
    ],
    ids=["404", "405", "page", "too few", "too many"],
)
def test_a_gateway_without_batches_is_known_by_its_answer(answer: Reply) -> None:
    known = dialect()
    with pytest.raises(BatchUnavailableError):
        known.outcomes(known.question(["a", "b"], RECIPE), answer)


def test_a_page_in_the_place_of_one_vector_is_a_wrong_address() -> None:
    known = dialect()
    with pytest.raises(WrongAddressError):
        known.outcomes(known.question(["a"], RECIPE), Reply(200, {"content-type": "text/html"}, b"<p>", is_json=False))


def test_a_rejected_batch_is_no_reason_to_do_without_batches() -> None:
    known = dialect()
    with pytest.raises(RejectedTextError):
        known.outcomes(known.question(["a", "b"], RECIPE), reply({"error": {"message": "x"}}, 400))
    assert known.has_batches is None


def test_in_a_batch_each_text_has_its_vector_or_its_own_error() -> None:
    known = dialect()
    body = {"embeddings": [{"values": [1.0, 0.0]}, {"values": [None, 1.0]}, {"values": [5.0]}, {"values": [0.0, 2.0]}]}
    first, null, short, last = known.outcomes(known.question(list("abcd"), RECIPE), reply(body))
    assert isinstance(first, Answer)
    assert isinstance(last, Answer)
    assert (first.vector.tolist(), last.vector.tolist()) == ([1.0, 0.0], [0.0, 2.0])
    assert isinstance(null, BadAnswerError)
    assert isinstance(short, DimensionError)


def test_a_batch_that_ignores_the_dimension_is_understood_and_said_once() -> None:
    known = dialect()
    answers = known.outcomes(known.question(list("ab"), RECIPE), batch([1.0, 0.0, 2.0], [0.0, 1.0, 2.0]))
    assert all(isinstance(answer, Answer) and len(answer.vector) == 3 for answer in answers)
    assert len(known.notices) == 1
    assert b"outputDimensionality" in known.question(list("ab"), RECIPE).body


@given(tokens=st.integers(0, 10_000), count=st.integers(2, 100))
def test_the_tokens_of_a_batch_are_shared_out_and_none_is_lost(tokens: int, count: int) -> None:
    known = dialect()
    answers = known.outcomes(known.question(["x"] * count, RECIPE), batch(*[[1.0, 0.0]] * count, tokens=tokens))
    shares = [answer.tokens for answer in answers if isinstance(answer, Answer) and answer.tokens is not None]
    assert len(shares) == count
    assert sum(shares) == tokens
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(("wait", "ends"), [(299, False), (300, True)])
def test_a_named_wait_that_is_as_long_as_a_row_may_take_ends_the_job(wait: int, ends: bool) -> None:
    error = dialect().error(reply({}, 429, {"retry-after": str(wait)}))
    assert isinstance(error, LongWaitError) is ends
    assert error.retry_after == wait
