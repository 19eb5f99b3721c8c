"""Which text is spelt most like another, and where the two part."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.likeness import most_alike, shown, told_apart

POEMS = ["roses are red", "violets are blue", "sugar is sweet", "and so are you"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rose are red", 0),
        ("Roses are red!", 0),
        ("vioelts are bleu", 1),
        ("  violets are blue", 1),
        ("SUGAR IS SWEET", 2),
        ("suger", 2),
        ("so are you", 3),
        ("ros", 0),
    ],
)
def test_typing_errors_lead_to_the_text_that_was_meant(typed: str, meant: int) -> None:
    assert most_alike(typed, POEMS) == POEMS[meant]


@pytest.mark.parametrize(("typed", "meant"), [("cta", "cat"), ("qeen", "queen"), ("kign", "king"), ("x", "cat")])
def test_single_words_are_compared_by_their_letters(typed: str, meant: str) -> None:
    assert most_alike(typed, ["cat", "king", "queen", "dog"]) == meant


@pytest.mark.parametrize(
    ("typed", "meant"), [("猫は眠い", "猫が眠い"), ("ö", "öl"), ("🙂🙃", "🙂"), ("кошка", "кошки")]
)
def test_scripts_of_all_kinds_are_compared(typed: str, meant: str) -> None:
    assert most_alike(typed, ["dog", "öl", "猫が眠い", "🙂", "犬が走る", "кошки"]) == meant


@given(st.lists(st.text(), min_size=1), st.data())
def test_a_text_that_is_there_is_the_most_alike_by_its_letters(texts: list[str], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(texts))
    if text:
        assert set(most_alike(text, texts)[:120].casefold()) == set(text[:120].casefold())


@given(st.text(min_size=1), st.lists(st.text(), min_size=1))
def test_there_is_always_one_even_where_nothing_is_alike(text: str, others: list[str]) -> None:
    assert most_alike(text, others) in others


def test_long_texts_are_compared_by_their_beginnings() -> None:
    beginning = "a cat sat on the mat " * 10
    assert most_alike(beginning + "y" * 100_000, ["x" * 100_000, beginning + "z" * 100_000]).startswith(beginning)


def test_of_very_many_texts_those_about_as_long_are_compared() -> None:
    others = [f"text number {number}, of another length than it" for number in range(20_000)]
    assert most_alike("the cat sat on the mat.", [*others, "the cat sat on the mat"]) == "the cat sat on the mat"


def test_texts_of_a_hundred_kilobytes_take_no_longer_than_short_ones() -> None:
    short = [f"{number} lorem ipsum dolor sit amet" for number in range(500)]
    long = [text + " lorem ipsum" * 10_000 for text in short]
    most_alike("lorem", short)

    def seconds(texts: list[str]) -> float:
        began = time.process_time()
        for _ in range(5):
            most_alike(texts[7] + "!", texts)
        return time.process_time() - began

    # A hundred and twenty letters of each are looked at, four times as many as the short ones have.
    assert seconds(long) < 100 * seconds(short) + 1


def test_texts_that_look_different_are_told_apart_by_the_other_one() -> None:
    assert told_apart("violets are bleu", "violets are blue") == "is 'violets are blue'"
    assert told_apart("x", "roses " * 40) == f"is {('roses ' * 40)[:59] + '…'!r}"


def test_texts_that_begin_alike_are_told_apart_where_they_part() -> None:
    begin = "It was a dark and stormy night, and " * 4
    assert told_apart(begin + "the rain fell", begin + "no rain fell") == (
        f"begins alike, but from character {len(begin) + 1} on it is 'no rain fell'"
    )
    assert told_apart(begin, begin + "it rained") == (
        f"begins alike, but from character {len(begin) + 1} on it is 'it rained'"
    )
    assert told_apart(begin + "x", begin) == f"begins alike, but from character {len(begin) + 1} on it is ''"


@pytest.mark.parametrize(
    ("typed", "recorded", "rest"),
    [
        ("cafe\u0301", "caf\u00e9", r"from character 4 on it is '\xe9'"),
        ("\ufb01sh", "fish", "from character 1 on it is 'fish'"),
        ("two\u00a0words", "two words", "from character 4 on it is ' words'"),
    ],
)
def test_texts_that_look_the_same_are_told_apart_by_their_characters(typed: str, recorded: str, rest: str) -> None:
    assert told_apart(typed, recorded) == f"looks the same, but {rest}"


@given(st.text(), st.text())
def test_what_tells_apart_is_one_line_that_can_be_printed(text: str, other: str) -> None:
    told = told_apart(text, other)
    assert "\n" not in told
    assert told.isprintable()
    assert len(told) < 800


def test_what_is_shown_is_at_most_sixty_characters() -> None:
    assert shown("a" * 60) == "a" * 60
    assert shown("a" * 61) == "a" * 59 + "…"
