"""What a session has embedded: each text once, by recipe and origin, and no more than it can hold."""

from __future__ import annotations

from vn_magic.history import MOST_CHARACTERS, MOST_TEXTS, History
from vn_magic.lookup import Origin
from vn_magic.settings import Recipe

HERE, THERE = Origin("https://here", "here"), Origin("https://there", "there")
RECIPE = Recipe("m", 768, "CLUSTERING")


def test_each_text_is_remembered_once_in_the_order_it_came_and_whether_it_was_ever_kept() -> None:
    history = History()
    history.add(HERE, RECIPE, ["b", "a", "b", None], kept=False)
    history.add(HERE, RECIPE, ["c", "a"], kept=True)
    history.add(HERE, RECIPE, ["a"], kept=False)
    [(origin, recipe, texts)] = history
    assert (origin, recipe) == (HERE, RECIPE)
    assert list(texts.items()) == [("b", False), ("a", True), ("c", True)]


def test_recipes_and_origins_are_kept_apart() -> None:
    history = History()
    for origin, recipe in ((HERE, RECIPE), (THERE, RECIPE), (HERE, Recipe("m", 256, "CLUSTERING"))):
        history.add(origin, recipe, ["a"], kept=True)
    assert [(origin, recipe.dimension) for origin, recipe, _ in history] == [(HERE, 768), (THERE, 768), (HERE, 256)]


def test_as_many_texts_as_there_may_be_are_remembered_and_with_one_more_none_is() -> None:
    history = History()
    history.add(HERE, RECIPE, [f"{number}" for number in range(MOST_TEXTS - 1)], kept=True)
    history.add(THERE, RECIPE, ["one"], kept=True)
    assert (history.overflowed, sum(len(texts) for *_, texts in history)) == (False, MOST_TEXTS)
    history.add(HERE, RECIPE, ["0", "1"], kept=True)
    history.add(THERE, RECIPE, ["one"], kept=True)
    assert not history.overflowed
    history.add(THERE, RECIPE, ["two"], kept=True)
    assert (history.overflowed, list(history)) == (True, [])
    history.add(HERE, RECIPE, ["three"], kept=True)
    assert list(history) == []


def test_long_texts_are_let_go_of_before_they_weigh_much() -> None:
    history = History()
    half = "x" * (MOST_CHARACTERS // 2)
    history.add(HERE, RECIPE, [half, half, half], kept=True)
    assert not history.overflowed
    history.add(HERE, RECIPE, ["y" + half], kept=True)
    assert (history.overflowed, list(history)) == (True, [])


def test_a_list_that_was_handed_out_does_not_change() -> None:
    history = History()
    history.add(HERE, RECIPE, ["a"], kept=True)
    [(_, _, texts)] = history
    history.add(HERE, RECIPE, ["b"], kept=True)
    assert list(texts) == ["a"]
