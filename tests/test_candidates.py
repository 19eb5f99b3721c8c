"""Which variables are offered to somebody who wants to embed texts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic import Session
from vn_magic.candidates import holds_texts, kind_of, text_columns, text_variables

TEXTS = ["roses are red", "violets are blue"]


@pytest.mark.parametrize(
    "value",
    [
        TEXTS,
        tuple(TEXTS),
        pd.Series(TEXTS),
        pd.Series(TEXTS, dtype="string"),
        pd.Series(TEXTS, dtype="category"),
        pd.Series(TEXTS, dtype="string[pyarrow]"),
        pd.Series(TEXTS, index=["a", "b"]),
        pd.Index(TEXTS),
        pd.CategoricalIndex(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        [None, float("nan"), "a text"],
        pd.Series([None, np.nan, pd.NA, "a text"], dtype=object),
        pd.Series([pd.NA, "a text"], dtype="string"),
        np.array([None, "a text"], dtype=object),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_what_can_be_embedded_is_offered(value: object) -> None:
    assert holds_texts(value)
    assert dict(text_variables({"mine": value})) == {"mine": None}


@pytest.mark.parametrize("value", [TEXTS, pd.Series(TEXTS, dtype="category"), pd.Index(TEXTS), np.array(TEXTS)])
def test_what_is_offered_is_taken(offline: Session, value: object) -> None:
    assert holds_texts(value)
    assert offline.embed(value, dimension=128, result="numpy").shape == (2, 128)


@pytest.mark.parametrize(
    "value",
    [
        "one text",
        [],
        (),
        [None],
        [1, 2],
        ["a", 1],
        {"a": "b"},
        {"a", "b"},
        [["a"]],
        [b"bytes"],
        3.5,
        None,
        pd.Series([1, 2]),
        pd.Series([1.5, None]),
        pd.Series([True, False]),
        pd.Series(pd.to_datetime(["2026-01-01"])),
        pd.Series([], dtype=object),
        pd.Series([None, None], dtype=object),
        pd.Series([np.zeros(3, dtype=np.float32)]),
        pd.Series([1, 2], dtype="category"),
        pd.Index([1, 2]),
        pd.MultiIndex.from_tuples([("a", "b")]),
        np.zeros((2, 3), dtype=np.float32),
        np.array([TEXTS]),
        np.array([], dtype=object),
        np.array("a text"),
    ],
    ids=repr,
)
def test_what_cannot_be_embedded_is_not_offered(value: object) -> None:
    assert not holds_texts(value)
    assert dict(text_variables({"mine": value})) == {}


def test_a_frame_is_offered_with_its_columns_of_texts() -> None:
    frame = pd.DataFrame({"stars": [5, 1], "review": TEXTS, "embedding": [np.zeros(2, np.float32)] * 2})
    assert dict(text_variables({"df": frame})) == {"df": ["review"]}


def test_a_frame_without_texts_is_not_offered() -> None:
    assert dict(text_variables({"df": pd.DataFrame({"stars": [5, 1]}), "empty": pd.DataFrame()})) == {}


def test_the_column_with_the_longest_texts_comes_first_and_ties_keep_their_order() -> None:
    frame = pd.DataFrame({"shop": ["A", "B"], "review": TEXTS, "town": ["C", "D"]})
    assert text_columns(frame) == ["review", "shop", "town"]


def test_columns_of_every_kind_of_string_are_found() -> None:
    frame = pd.DataFrame(
        {kind: pd.Series(TEXTS, dtype=kind) for kind in ("object", "string", "category", "string[pyarrow]")}
    )
    assert sorted(text_columns(frame)) == ["category", "object", "string", "string[pyarrow]"]


def test_columns_that_a_line_cannot_name_are_not_offered(offline: Session) -> None:
    frame = pd.DataFrame([["a", "b", "c", "d"]], columns=["twice", "twice", "a\nb", 7])
    assert text_columns(frame) == ["7"]
    assert len(offline.embed(frame, column="7", result="numpy")) == 1


def test_columns_whose_names_are_only_spelled_alike_are_not_offered() -> None:
    assert text_columns(pd.DataFrame([["a", "b"]], columns=[0, "0"])) == []


@pytest.mark.parametrize(
    "name", ["_", "__", "_3", "_private", "In", "Out", "not a name", "class", "", 3, "\N{MICRO SIGN}"]
)
def test_names_that_are_not_a_persons_own_are_not_offered(name: Any) -> None:
    assert dict(text_variables({name: TEXTS})) == {}


def test_texts_behind_many_missing_values_are_not_searched_for() -> None:
    assert holds_texts([None] * 49 + ["a text"])
    assert not holds_texts([None] * 50 + ["a text"])


def test_a_namespace_may_change_while_it_is_looked_at() -> None:
    class Changing(dict[str, Any]):
        def items(self) -> Any:
            return dict.items(self)

    namespace = Changing(first=TEXTS, second=TEXTS)
    offered = text_variables(namespace)
    next(offered)
    namespace["third"] = TEXTS
    assert [name for name, _ in offered] == ["second"]


def test_a_namespace_that_a_thread_fills_is_looked_at_without_an_error() -> None:
    namespace: dict[str, Any] = {}
    enough = threading.Event()

    def bind() -> None:
        number = 0
        while not enough.is_set():
            namespace[f"x{number % 1000}"] = TEXTS
            namespace.pop(f"x{(number * 7) % 1000}", None)
            number += 1

    thread = threading.Thread(target=bind)
    thread.start()
    try:
        for _ in range(50):
            assert set(dict(text_variables(namespace)).values()) <= {None}
    finally:
        enough.set()
        thread.join()


@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.integers() | st.text() | st.lists(st.text() | st.none()), max_size=5
    )
)
def test_every_name_that_is_offered_can_be_evaluated_to_its_value(namespace: Mapping[str, Any]) -> None:
    for name, columns in text_variables(namespace):
        assert eval(name, dict(namespace)) is namespace[name]
        assert columns is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (pd.DataFrame({"a": range(1200)}), "DataFrame, 1,200 rows"),
        (pd.Series(TEXTS), "Series, 2 rows"),
        (3, "int"),
        ("text", "str"),
    ],
)
def test_what_would_be_replaced_is_said_in_two_words(value: object, said: str) -> None:
    assert kind_of(value) == said
