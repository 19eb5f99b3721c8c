"""Which values can be embedded, and about how many tokens a text has."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import InputError
from vn_magic.texts import checked_texts, estimated_tokens, problem_of


class Colour(str, Enum):  # noqa: UP042 - StrEnum's str() is its text, and only the older kind is a trap
    RED = "rot"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("text", None),
        (" padded ", None),
        ("\u200b", None),  # no white space to Unicode, and so not blank
        ("😀", None),
        (np.str_("text"), None),
        ("", "blank"),
        (" \t\n", "blank"),
        ("\u00a0\u2003", "blank"),
        (None, "missing"),
        (float("nan"), "missing"),
        (np.float32("nan"), "missing"),
        (np.float64("nan"), "missing"),
        (pd.NA, "missing"),
        (pd.NaT, "missing"),
        (1, "not text but int"),
        (10**400, "not text but int"),
        (2.5, "not text but float"),
        (True, "not text but bool"),
        (b"bytes", "not text but bytes"),
        (["a", "b"], "not text but list"),
        (np.array([1.0, float("nan")]), "not text but ndarray"),
        (Decimal("sNaN"), "not text but Decimal"),
        ("half \ud83d pair", "a broken character (half of a surrogate pair) at position 5"),
    ],
)
def test_says_why_a_value_cannot_be_embedded(value: object, problem: str | None) -> None:
    assert problem_of(value) == problem


@given(st.text())
def test_every_text_that_is_not_blank_is_handed_on_untouched(text: str) -> None:
    if text.strip():
        assert checked_texts([text], "stop") == ([text], {})
    else:
        assert checked_texts([text], "keep") == ([None], {0: "blank"})


def test_subclasses_of_str_count_by_their_text() -> None:
    texts, refused = checked_texts([np.str_("naïve"), Colour.RED], "stop")
    assert texts == ["naïve", "rot"]
    assert [type(text) for text in texts] == [str, str]
    assert refused == {}


def test_keep_marks_unusable_rows_by_position_and_goes_on() -> None:
    texts, refused = checked_texts(["a", None, "b", "", 3], "keep")
    assert texts == ["a", None, "b", None, None]
    assert refused == {1: "missing", 3: "blank", 4: "not text but int"}


def test_stop_names_the_first_unusable_rows_and_counts_the_rest() -> None:
    with pytest.raises(InputError) as caught:
        checked_texts(["a", None, " ", 7, None, None, None, None], "stop")
    message = str(caught.value)
    assert message.startswith(
        "7 of 8 rows cannot be embedded: row 1 (missing), row 2 (blank), row 3 (not text but int), row 4 (missing), "
        "row 5 (missing) and 2 more. Nothing was sent.\nNext: "
    )
    assert len(message.splitlines()) <= 3


def test_no_rows_are_no_problem() -> None:
    assert checked_texts([], "stop") == ([], {})


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("a", 1), ("word" * 100, 100), ("语言模型", 4), ("ภาษาไทย", 7), ("漢字 and words", 2 + 2), ("🙂", 1)],
)
def test_estimates_a_token_for_four_characters_and_one_for_each_of_a_dense_script(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


@given(st.text(), st.text())
def test_an_estimate_is_at_least_one_and_never_sinks_as_a_text_grows(text: str, more: str) -> None:
    assert 1 <= estimated_tokens(text) <= estimated_tokens(text + more)
