"""Keys of cached vectors: equal only for what must be the same vector."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic import keys
from vn_magic.keys import CacheKey, KeyRing
from vn_magic.settings import Recipe

ORIGIN = "https://gateway.example"
RECIPE = Recipe("gemini-embedding-001", 768, "RETRIEVAL_DOCUMENT", "a title")

TEXTS = st.text(max_size=12)
RECIPES = st.builds(
    Recipe,
    model=TEXTS,
    dimension=st.integers(1, 3072),
    task_type=st.none() | TEXTS,
    title=st.none() | TEXTS,
    unit_length=st.booleans(),
)


def key(origin: str = ORIGIN, recipe: Recipe = RECIPE, text: str = "text") -> CacheKey:
    return KeyRing(origin, recipe).key(text)


@pytest.mark.parametrize(
    "other",
    [
        key(origin="https://gateway.example:8443"),
        key(recipe=replace(RECIPE, model="gemini-embedding-2")),
        key(recipe=replace(RECIPE, task_type="RETRIEVAL_QUERY")),
        key(recipe=replace(RECIPE, task_type=None)),
        key(recipe=replace(RECIPE, title="another title")),
        key(recipe=replace(RECIPE, title=None)),
        key(recipe=replace(RECIPE, dimension=769)),
        key(text="text "),
        key(text="Text"),
    ],
    ids=["origin", "model", "task", "no task", "title", "no title", "dimension", "white space", "case"],
)
def test_every_part_of_the_key_changes_it(other: CacheKey) -> None:
    assert other.digest != key().digest


def test_a_field_that_is_missing_is_not_an_empty_one() -> None:
    assert key(recipe=replace(RECIPE, title=None)).digest != key(recipe=replace(RECIPE, title="")).digest


def test_composed_and_decomposed_characters_are_different_texts() -> None:
    assert key(text="\u00e9").digest != key(text="e\u0301").digest


def test_unit_length_is_not_part_of_the_key_for_vectors_are_kept_as_received() -> None:
    assert key(recipe=replace(RECIPE, unit_length=False)) == key()


def test_the_version_of_keys_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key().digest
    monkeypatch.setattr(keys, "KEY_VERSION", keys.KEY_VERSION + 1)
    assert key().digest != before


def test_the_key_of_today_is_the_key_of_tomorrow() -> None:
    # A change of this value makes everybody's cache worthless: raise KEY_VERSION on purpose, or find the mistake.
    assert key().digest.hex() == "5a8867c3f535c2cecfb095c54247548536d61e29"


@given(TEXTS, RECIPES, TEXTS, TEXTS, RECIPES, TEXTS)
def test_keys_are_equal_exactly_when_all_their_parts_are(
    origin: str, recipe: Recipe, text: str, other_origin: str, other_recipe: Recipe, other_text: str
) -> None:
    parts = (origin, replace(recipe, unit_length=True), text)
    others = (other_origin, replace(other_recipe, unit_length=True), other_text)
    assert (key(*parts).digest == key(*others).digest) == (parts == others)
    assert key(*parts).digest == key(*parts).digest


@given(st.lists(TEXTS, min_size=5, max_size=5), st.integers(0, 3), st.integers(1, 12))
def test_fields_cannot_run_together(fields: list[str], at: int, moved: int) -> None:
    """The end of a field moved to the start of the next one makes another key."""

    def key_of(origin: str, model: str, task_type: str, title: str, text: str) -> bytes:
        return key(origin, Recipe(model, 768, task_type, title), text).digest

    end = fields[at][-moved:]
    shifted = [*fields[:at], fields[at][: len(fields[at]) - len(end)], end + fields[at + 1], *fields[at + 2 :]]
    assert (key_of(*shifted) == key_of(*fields)) == (shifted == fields)


@given(TEXTS, st.integers(1, 3072))
def test_keys_of_one_text_in_several_lengths_share_a_family(text: str, dimension: int) -> None:
    longer = key(text=text)
    shorter = key(recipe=replace(RECIPE, dimension=dimension), text=text)
    assert shorter.family == longer.family
    assert longer.of_length(dimension) == shorter


def test_a_broken_character_has_a_key_too() -> None:
    assert key(text="\ud800").digest != key(text="?").digest
