"""Every string of a JSON text is found, with what leads to it, and what it says is read as json reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.classroom.json_strings import JsonPath, as_written, json_strings

TEXTS = st.text(max_size=6) | st.sampled_from(['"', "\\", "\\u", '{"a": [', "😀", "é\n", "\ud800", "\udc00"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
LAYOUTS = st.fixed_dictionaries({"indent": st.sampled_from([None, 0, 1, "\t"]), "ensure_ascii": st.booleans()})


def _walk(value: Any, path: JsonPath = ()) -> Iterator[tuple[JsonPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _walk(item, (*path, at))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield path, key
            yield from _walk(item, (*path, key))


@given(value=VALUES, layout=LAYOUTS)
def test_the_strings_of_a_json_text_are_those_that_json_reads(value: Any, layout: dict[str, Any]) -> None:
    text = json.dumps(value, **layout)
    found = list(json_strings(text))
    assert [(string.path, string.value) for string in found] == list(_walk(value))
    assert [text[string.start - 1 : string.start + len(string.written) + 1] for string in found] == [
        f'"{string.written}"' for string in found
    ]


@given(value=TEXTS.filter(bool), ascii_alone=st.booleans(), data=st.data())
def test_a_part_of_a_string_is_found_where_it_is_written(value: str, ascii_alone: bool, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(value) - 1))
    end = data.draw(st.integers(start + 1, len(value)))
    [string] = json_strings(json.dumps(value, ensure_ascii=ascii_alone))
    first, last = string.escapes().origin(start, end)
    assert json.loads(f'"{string.written[first:last]}"') == value[start:end]


def test_keys_that_stand_twice_in_an_object_are_both_found() -> None:
    assert [string.value for string in json_strings('{"a": "first", "a": "second"}')] == ["a", "first", "a", "second"]


@pytest.mark.parametrize(("only_ascii", "written"), [(True, r"sk-\u2026\"\\"), (False, r"sk-…\"\\")])
def test_a_string_is_written_in_the_characters_of_its_file(only_ascii: bool, written: str) -> None:
    assert as_written('sk-…"\\', only_ascii=only_ascii) == written
