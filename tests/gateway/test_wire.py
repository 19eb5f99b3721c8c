"""The documented pair key for key, and everything that is no vector refused."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vn_magic.exceptions import BadAnswerError, InputError, UnreadableAnswerError
from vn_magic.gateway.wire import DimensionSpelling, embed_body, embed_path, parse_embedding
from vn_magic.settings import Recipe

GOLDEN = Path(__file__).parent / "golden"
RECIPE = Recipe("gemini-embedding-001", 768, "SEMANTIC_SIMILARITY")
DOCUMENTED = DimensionSpelling.DOCUMENTED

finite_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def sent(recipe: Recipe = RECIPE, text: str = "x", spelling: DimensionSpelling = DOCUMENTED) -> list[tuple[str, Any]]:
    """What `embed_body` writes, as pairs: the order counts, and a key that came twice would be seen."""
    pairs: list[tuple[str, Any]] = json.loads(embed_body(text, recipe, spelling), object_pairs_hook=list)
    return pairs


def answer(values: str) -> bytes:
    return f'{{"embedding": {{"values": {values}}}}}'.encode()


# The request


def test_request_is_the_documented_one_key_for_key_and_in_its_order() -> None:
    golden = json.loads((GOLDEN / "request.json").read_text(), object_pairs_hook=list)
    assert sent(text="What is the meaning of life?") == golden


def test_path_is_the_documented_one() -> None:
    assert embed_path("gemini-embedding-001") == "/v1beta/models/gemini-embedding-001:embedContent"


def test_a_model_name_cannot_leave_its_place_in_the_path() -> None:
    assert embed_path("../x?key=1#y") == "/v1beta/models/..%2Fx%3Fkey%3D1%23y:embedContent"


def test_a_title_is_sent_with_the_document_and_nothing_else_is_added() -> None:
    recipe = Recipe("gemini-embedding-001", 768, "RETRIEVAL_DOCUMENT", title="Lyrics")
    assert sent(recipe)[1:] == [
        ("output_dimensionality", 768),
        ("taskType", "RETRIEVAL_DOCUMENT"),
        ("title", "Lyrics"),
    ]


def test_a_model_without_tasks_is_sent_no_task_type() -> None:
    assert [key for key, _ in sent(Recipe("gemini-embedding-2", 768, None))] == ["content", "output_dimensionality"]


def test_the_other_spelling_replaces_the_documented_one_and_moves_nothing() -> None:
    keys = [key for key, _ in sent(spelling=DimensionSpelling.CAMEL_CASE)]
    assert keys == ["content", "outputDimensionality", "taskType"]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_text_arrives_exactly_as_it_is_in_one_part_of_one_content(text: str) -> None:
    assert json.loads(embed_body(text, RECIPE, DOCUMENTED))["content"] == {"parts": [{"text": text}]}


@pytest.mark.parametrize("text", ["\ud800", "ab\udfffc"])
def test_half_a_surrogate_pair_is_refused_with_its_position_and_a_cure(text: str) -> None:
    with pytest.raises(InputError, match=r"position \d.*surrogate") as caught:
        embed_body(text, RECIPE, DOCUMENTED)
    assert "Next:" in str(caught.value)


def test_the_cure_for_a_broken_character_works() -> None:
    healed = "a\ud83d\ude00b\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.loads(embed_body(healed, RECIPE, DOCUMENTED))["content"] == {"parts": [{"text": "a😀b\ufffd"}]}


# The answer


def test_the_documented_answer_is_read_as_its_float32_values() -> None:
    vector, tokens = parse_embedding((GOLDEN / "response.json").read_bytes())
    assert vector.dtype == np.float32
    assert vector.tolist() == [float(np.float32(value)) for value in (-0.0296398, -0.010636787, 0.012426536)]
    assert tokens is None


@given(values=st.lists(finite_floats, min_size=1, max_size=32).filter(any))
def test_a_float32_written_as_python_or_as_numpy_writes_it_is_read_bit_for_bit(values: list[float]) -> None:
    row = np.array(values, dtype=np.float32)
    as_python, _ = parse_embedding(answer(json.dumps(values)))
    as_numpy, _ = parse_embedding(answer(f"[{', '.join(np.format_float_scientific(x, trim='0') for x in row)}]"))
    assert as_python.tobytes() == as_numpy.tobytes() == row.tobytes()


@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=8).filter(lambda v: np.float32(v).any()))
def test_a_float64_is_rounded_to_the_nearest_float32(values: list[float]) -> None:
    vector, _ = parse_embedding(answer(json.dumps(values)))
    assert vector.tobytes() == np.array(values, dtype=np.float64).astype(np.float32).tobytes()


def test_values_whose_squares_overflow_are_read_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    vector, _ = parse_embedding(answer("[3e38, -3e38]"))
    assert vector.tolist() == [float(np.float32(3e38)), -float(np.float32(3e38))]
    assert list(recwarn) == []


def test_integers_among_the_values_are_numbers_too() -> None:
    vector, _ = parse_embedding(answer("[1, 0, -2]"))
    assert vector.tolist() == [1.0, 0.0, -2.0]


def test_unknown_fields_and_another_order_of_keys_are_fine() -> None:
    body = b"""{"usageMetadata": {"promptTokenCount": 7, "x": [1]}, "model": "m", "object": null,
                "embedding": {"statistics": {"truncated": false}, "values": [0.5], "shape": [1]}, "x": {"y": [{}]}}"""
    vector, tokens = parse_embedding(body)
    assert (vector.tolist(), tokens) == ([0.5], 7)


@pytest.mark.parametrize("usage", ["null", "[]", "3", "{}", '{"promptTokenCount": "3"}', '{"promptTokenCount": true}'])
def test_an_odd_token_count_does_not_cost_the_vector(usage: str) -> None:
    vector, tokens = parse_embedding(f'{{"embedding": {{"values": [0.5]}}, "usageMetadata": {usage}}}'.encode())
    assert (vector.tolist(), tokens) == ([0.5], None)


@pytest.mark.parametrize(
    "value",
    ["null", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e39", '"0.1"', "true", "false", "[0.1]", "{}"],
)
def test_one_value_that_is_no_finite_number_spoils_the_answer(value: str) -> None:
    with pytest.raises(BadAnswerError):
        parse_embedding(answer(f"[0.5, {value}, 0.5]"))


@pytest.mark.parametrize(
    "body",
    [
        answer("[]"),
        answer("[0, 0.0, -0.0]"),
        answer("[1e-60]"),
        answer("null"),
        answer('"0.1, 0.2"'),
        answer("[[0.1, 0.2]]"),
        answer('{"0": 0.1}'),
        b"{}",
        b"[]",
        b"null",
        b'"ok"',
        b"[[0.1]]",
        b'{"embedding": null}',
        b'{"embedding": {}}',
        b'{"embedding": [0.1, 0.2]}',
        b'{"embedding": {"value": [0.1]}}',
        b'{"Embedding": {"values": [0.1]}}',
        b'{"embeddings": [{"values": [0.1]}]}',
        b'{"data": [{"embedding": [0.1], "index": 0}]}',
        b'{"x": ' + b"[" * 100_000,
    ],
    ids=lambda body: body[:40].decode(),
)
def test_json_that_is_no_vector_is_a_bad_answer_and_not_tried_again(body: bytes) -> None:
    with pytest.raises(BadAnswerError, match="Next:"):
        parse_embedding(body)


@pytest.mark.parametrize("body", [b"", b"   ", b"<html>", b"not json", answer("[0.5]") + b"}", b"\xff\xfe{\x00}\x00"])
def test_what_is_not_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError, match="Next:"):
        parse_embedding(body)


@given(cut=st.integers(0, len(answer("[0.25, -0.5, 1e-3]")) - 1))
def test_an_answer_cut_anywhere_is_unreadable(cut: int) -> None:
    with pytest.raises(UnreadableAnswerError):
        parse_embedding(answer("[0.25, -0.5, 1e-3]")[:cut])


@given(value=json_values)
@example(value={"embedding": {"values": [True]}})
@example(value={"embedding": {"values": [0.0, None]}})
def test_whatever_json_comes_it_is_a_finite_vector_or_one_of_our_errors(value: Any) -> None:
    _vector_or_error(json.dumps(value).encode())


@given(value=json_values)
def test_whatever_stands_for_the_values_is_a_finite_vector_or_one_of_our_errors(value: Any) -> None:
    _vector_or_error(answer(json.dumps(value)))


@given(body=st.binary(max_size=64) | st.text(string.printable, max_size=64).map(str.encode))
def test_whatever_bytes_come_it_is_a_finite_vector_or_one_of_our_errors(body: bytes) -> None:
    _vector_or_error(body)


def _vector_or_error(body: bytes) -> None:
    try:
        vector, _ = parse_embedding(body)
    except (BadAnswerError, UnreadableAnswerError):
        return
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert vector.any()
