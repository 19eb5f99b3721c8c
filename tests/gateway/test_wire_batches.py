"""Several texts in one request: each asks as it would alone, and one bad vector does not cost the others."""

from __future__ import annotations

import json
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vn_magic.exceptions import BadAnswerError, BatchUnavailableError, InputError, UnreadableAnswerError
from vn_magic.gateway.wire import (
    DimensionSpelling,
    batch_body,
    batch_path,
    embed_body,
    largest_body,
    parse_batch,
    parse_embedding,
)
from vn_magic.settings import LARGEST_BATCH, Recipe

RECIPE = Recipe("gemini-embedding-001", 768, "SEMANTIC_SIMILARITY")
RECIPES = (
    RECIPE,
    Recipe("gemini-embedding-001", 256, "RETRIEVAL_DOCUMENT", title="Lyrics"),
    Recipe("gemini-embedding-2", 768, None),
)
spellings = pytest.mark.parametrize("spelling", DimensionSpelling)
values = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8).filter(any)


def answer(*embeddings: str, more: str = "") -> bytes:
    """Return an answer with these characters for its embeddings."""
    return f'{{"embeddings": [{", ".join(embeddings)}]{more}}}'.encode()


def values_of(*numbers: float) -> str:
    return json.dumps({"values": numbers})


GOOD = (values_of(0.5), values_of(0.25, -1))


def kinds(body: bytes, count: int) -> list[Any]:
    """Return what came for each text: its values, or BadAnswerError."""
    read, _ = parse_batch(body, count)
    return [type(one) if isinstance(one, BadAnswerError) else one.tolist() for one in read]


# The request


@spellings
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_each_text_of_a_batch_asks_as_it_would_alone_and_names_the_model(
    recipe: Recipe, spelling: DimensionSpelling
) -> None:
    texts = ["b", "a", "b", '"quotes" 猫']
    pairs = json.loads(batch_body(texts, recipe, spelling), object_pairs_hook=list)
    alone = [json.loads(embed_body(text, recipe, spelling), object_pairs_hook=list) for text in texts]
    assert pairs == [("requests", [[("model", f"models/{recipe.model}"), *one] for one in alone])]


def test_the_path_of_a_batch_is_its_models_and_a_name_cannot_leave_its_place_in_it() -> None:
    assert batch_path("gemini-embedding-001") == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert batch_path("../x?key=1#y") == "/v1beta/models/..%2Fx%3Fkey%3D1%23y:batchEmbedContents"


def test_half_a_surrogate_pair_in_a_batch_is_refused_with_a_cure() -> None:
    with pytest.raises(InputError, match=r"(?s)surrogate.*Next:"):
        batch_body(["fine", "a\ud800"], RECIPE, DimensionSpelling.DOCUMENTED)


# The answer


@given(rows=st.lists(values, min_size=1, max_size=5))
def test_each_text_gets_the_vector_that_it_would_get_alone_in_the_order_of_the_batch(rows: list[list[float]]) -> None:
    read, tokens = parse_batch(answer(*(values_of(*row) for row in rows)), len(rows))
    alone = [parse_embedding(f'{{"embedding": {values_of(*row)}}}'.encode())[0] for row in rows]
    assert [one.tobytes() for one in read if isinstance(one, np.ndarray)] == [vector.tobytes() for vector in alone]
    assert tokens is None


@pytest.mark.parametrize(
    "spoilt",
    [
        *(
            f'{{"values": [0.5, {value}]}}'
            for value in ("null", "NaN", "Infinity", "-Infinity", "1e400", "1e39", '"0.1"', "true", "[0.1]", "{}")
        ),
        '{"values": []}',
        '{"values": [0, 0.0, -0.0]}',
        '{"values": null}',
        '{"values": 1}',
        '{"value": [0.5]}',
        "{}",
        "[0.5]",
        "null",
        '"x"',
        '{"values": [' + "[" * 200 + "]" * 200 + "]}",
    ],
    ids=lambda text: text[:40],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_vector_that_is_none_is_its_own_texts_error_and_the_others_are_kept(spoilt: str, place: int) -> None:
    embeddings, expected = list(GOOD), [[0.5], [0.25, -1.0]]
    embeddings.insert(place, spoilt)
    expected.insert(place, BadAnswerError)  # type: ignore[arg-type]  # what `kinds` tells of an error
    body = answer(*embeddings, more=', "usageMetadata": {"promptTokenCount": 7}')
    assert kinds(body, 3) == expected
    assert parse_batch(body, 3)[1] == 7


def test_the_error_of_a_text_says_what_is_wrong_and_what_to_do() -> None:
    [error, _], _ = parse_batch(answer('{"values": [0.5, NaN]}', GOOD[0]), 2)
    assert isinstance(error, BadAnswerError)
    assert "not a usable vector" in str(error)
    assert "Next:" in str(error)


def test_unknown_fields_beside_the_vectors_and_among_them_are_fine() -> None:
    embedding = '{"statistics": {"truncated": false, "x": "NaN"}, "values": [0.5], "shape": [1]}'
    assert kinds(answer(embedding, more=', "model": "NaN", "object": null, "x": [{"y": [null]}]'), 1) == [[0.5]]


def test_the_word_for_no_number_in_another_field_spoils_nothing_even_where_a_vector_is_spoilt() -> None:
    body = answer('{"values": [NaN]}', GOOD[0], more=', "model": "-NaN", "x": -Infinity')
    assert kinds(body, 2) == [BadAnswerError, [0.5]]


@pytest.mark.parametrize("usage", ["null", "[]", "3", "{}", '{"promptTokenCount": "3"}', '{"promptTokenCount": -1}'])
def test_an_odd_token_count_does_not_cost_the_vectors(usage: str) -> None:
    read, tokens = parse_batch(answer(*GOOD, more=f', "usageMetadata": {usage}'), 2)
    assert ([isinstance(one, np.ndarray) for one in read], tokens) == ([True, True], None)


@pytest.mark.parametrize("embeddings", [[], GOOD[:1], [*GOOD, GOOD[0]], ["null"], ['{"values": [NaN]}'] * 3])
def test_another_number_of_embeddings_than_of_texts_is_an_error_of_its_own(embeddings: list[str]) -> None:
    with pytest.raises(BatchUnavailableError, match=rf"asked for 2 embeddings, got {len(embeddings)}\b") as caught:
        parse_batch(answer(*embeddings), 2)
    assert caught.value.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'"ok"',
        b'{"embeddings": null}',
        b'{"embeddings": {}}',
        b'{"embeddings": {"values": [0.5]}}',
        b'{"embedding": {"values": [0.5]}}',
        b'{"data": [{"embedding": [0.5], "index": 0}]}',
        b'{"x": ' + b"[" * 100_000,
        b'{"embeddings": [' + b"[" * 100_000,
    ],
    ids=lambda body: body[:40].decode(),
)
def test_json_without_a_list_of_embeddings_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswerError, match="Next:"):
        parse_batch(body, 1)


@pytest.mark.parametrize("body", [b"", b"   ", b"<html>", answer(*GOOD) + b"}", b"\xff\xfe{\x00}\x00"])
def test_what_is_not_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError, match="Next:"):
        parse_batch(body, 2)


@pytest.mark.parametrize("embeddings", [GOOD, ('{"values": [null]}', GOOD[0]), ('{"values": [NaN]}', GOOD[0])])
def test_an_answer_cut_anywhere_is_unreadable(embeddings: tuple[str, ...]) -> None:
    body = answer(*embeddings)
    for end in range(len(body)):
        with pytest.raises(UnreadableAnswerError):
            parse_batch(body[:end], 2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(embeddings=st.lists(json_values | st.fixed_dictionaries({"values": json_values}), max_size=4))
@example(embeddings=[{"values": [True]}, {"values": [0.5]}])
def test_whatever_stands_for_the_embeddings_each_is_a_finite_vector_or_an_error(embeddings: list[Any]) -> None:
    read, _ = parse_batch(json.dumps({"embeddings": embeddings}).encode(), len(embeddings))
    assert len(read) == len(embeddings)
    for one in read:
        assert isinstance(one, BadAnswerError) or (one.dtype == np.float32 and np.isfinite(one).all() and one.any())


@given(body=st.binary(max_size=64) | st.text(string.printable, max_size=64).map(str.encode))
def test_whatever_bytes_come_it_is_one_of_our_errors(body: bytes) -> None:
    with pytest.raises((BadAnswerError, UnreadableAnswerError, BatchUnavailableError)):
        parse_batch(body, 3)


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("count", [1, 2, LARGEST_BATCH])
def test_the_largest_right_answer_has_room_and_sixteen_megabytes_have_none(count: int, indent: int | None) -> None:
    # Python writes no double in more characters, and the model has no larger dimension.
    embedding = {"values": [-2.2250738585072014e-308] * 3072}
    assert len(json.dumps({"embeddings": [embedding] * count}, indent=indent)) <= largest_body(count) < 16_000_000
