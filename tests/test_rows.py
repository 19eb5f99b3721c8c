"""The body of a cell to rows of text."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import InputError
from vn_magic.rows import Rows, Split, filled_in, split_rows

LITERAL = 'def f(x): return {"a": [1, {x}], "b": "{{x}}"}  # 100 % $HOME {} \\n'
BREAKS = st.sampled_from(["\n", "\r\n", "\r"])
# A line as people type it: no line break inside, and not blank.
LINES = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), min_size=1).filter(str.strip)
PLAIN = st.text(st.characters(blacklist_characters="{}"))
CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)


@given(st.lists(st.tuples(LINES, BREAKS, st.sampled_from(["", " ", "\t\n", "\r\n \n"])), min_size=1))
def test_lines_are_the_non_blank_lines_trimmed_whatever_ends_them(parts: list[tuple[str, str, str]]) -> None:
    body = "".join(line + line_break + blank for line, line_break, blank in parts)
    assert split_rows(body, "lines").values == [line.strip() for line, _, _ in parts]


def test_a_line_goes_on_over_form_feeds_and_unicode_separators() -> None:
    assert split_rows("one\x0cline\u2028still\x85it\ntwo", "lines").values == ["one\x0cline\u2028still\x85it", "two"]


@given(
    st.lists(st.lists(LINES.map(str.strip), min_size=1, max_size=3), min_size=1, max_size=4),
    BREAKS,
    st.integers(1, 3),
    st.sampled_from(["", "  ", "\t"]),
)
def test_paragraphs_are_separated_by_blank_lines_and_by_nothing_else(
    paragraphs: list[list[str]], line_break: str, blank_lines: int, blank: str
) -> None:
    gap = line_break + (blank + line_break) * blank_lines
    texts = [line_break.join(lines) for lines in paragraphs]
    assert split_rows(gap.join(texts) + line_break, "paragraphs").values == texts


def test_the_whole_cell_is_one_row_with_its_indentation() -> None:
    body = "\n    if x:\n\n        pass\n"
    assert split_rows(body, "cell").values == ["    if x:\n\n        pass"]


@pytest.mark.parametrize("split", ["lines", "paragraphs", "cell"])
def test_braces_json_and_code_are_left_alone(split: Split) -> None:
    assert split_rows(LITERAL, split).values == [LITERAL.strip()]


@pytest.mark.parametrize("split", ["lines", "paragraphs", "cell", "csv", "jsonl"])
@pytest.mark.parametrize("body", ["", "\n", " \r\n\t\n"])
def test_an_empty_cell_is_an_error_that_says_so(body: str, split: Split) -> None:
    with pytest.raises(InputError, match="no text below its first line"):
        split_rows(body, split)


@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_csv_gives_back_what_a_csv_writer_wrote(rows: list[tuple[str, str, str]], separator: str, ending: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "text", "note"), *rows])
    read = split_rows(file.getvalue(), "csv", separator=separator)
    assert read.values == [text for _, text, _ in rows]
    assert read.columns == {"id": [row[0] for row in rows], "note": [row[2] for row in rows]}


def test_csv_keeps_line_breaks_quotes_braces_and_leading_zeros() -> None:
    body = 'text,code\r\n"two\r\nlines, ""quoted""",007\r\n{{name}},{}\r\n'
    assert split_rows(body, "csv") == Rows(['two\r\nlines, "quoted"', "{{name}}"], "text", {"code": ["007", "{}"]})


def test_csv_takes_its_texts_from_the_named_column() -> None:
    assert split_rows("review;stars\ngood;5", "csv", column="review", separator=";") == Rows(
        ["good"], "review", {"stars": ["5"]}
    )


@pytest.mark.parametrize(
    ("body", "separator", "message"),
    [
        ("a,b\n1,2", ",", "no column 'text'; there are a, b.*-c"),
        ("text,a\nx,1\n\ny\nz,3", ",", "Row 2 of the csv has 1 fields, its header has 2.*--sep"),
        ("text\nwell, then", ",", "Row 1 of the csv has 2 fields.*double quotes"),
        ('text\n"open', ",", "cannot be read in line 2"),
        ('text\n"a" b', ",", "cannot be read in line 2"),
        ("text,a,a\nx,1,2", ",", "names a column twice: text, a, a"),
        ("text\nx", "::", "--sep is '::', expected one character"),
        ("text\nx", "\n", "expected one character"),
        ("text\nx", '"', "expected one character"),
        ("text,a", ",", "no text below"),
    ],
)
def test_csv_that_cannot_be_read_says_where_and_what_to_do(body: str, separator: str, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}") as caught:
        split_rows(body, "csv", separator=separator)
    assert len(str(caught.value).splitlines()) <= 3


JSON_VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | CELLS | st.lists(CELLS, max_size=2)


@given(st.lists(st.dictionaries(st.sampled_from(["id", "tags"]), JSON_VALUES), min_size=1, max_size=5), CELLS, BREAKS)
def test_jsonl_gives_back_what_a_json_writer_wrote(records: list[dict[str, Any]], text: str, line_break: str) -> None:
    body = line_break.join(json.dumps({**record, "text": text}) for record in records)
    read = split_rows(body, "jsonl")
    assert read.values == [text] * len(records)
    assert read.columns == {
        name: [record.get(name) for record in records]
        for name in dict.fromkeys(n for record in records for n in record)
    }


def test_jsonl_fills_a_key_that_a_line_lacks_with_none() -> None:
    body = '{"text": "a {{b}}", "n": 1}\n\n{"text": null, "m": [true, {"k": 2}]}\n'
    assert split_rows(body, "jsonl") == Rows(["a {{b}}", None], "text", {"n": [1, None], "m": [None, [True, {"k": 2}]]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"text": "a"}\n\n{"text": }', "Line 3 is not a JSON object"),
        ('["a"]', "Line 1 is not a JSON object"),
        ('{"text": "a"} trailing', "Line 1 is not a JSON object"),
        ('{"text": "\ud800"}', "Line 1 is not a JSON object"),
        ('{"body": "a"}', "no column 'text'; there are body"),
    ],
)
def test_jsonl_that_cannot_be_read_says_where(body: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_rows(body, "jsonl")


def test_variables_are_filled_in_as_their_text() -> None:
    assert filled_in("{{who}} has {{ count }}, {{who}}!", {"who": "Ann", "count": 3}) == "Ann has 3, Ann!"


@pytest.mark.parametrize("value", ["{{other}}", "{{", "\\1 \\g<0>", "a {{name}} b"])
def test_a_value_is_inserted_as_it_is_and_not_looked_at_again(value: str) -> None:
    assert filled_in("<{{name}}>", {"name": value, "other": "never"}) == f"<{value}>"


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(InputError, match=r"no variable 'colour' for \{\{colour\}\}\. Nothing was sent") as caught:
        filled_in("a {{color}} {{colour}}", {"color": "red"})
    assert len(str(caught.value).splitlines()) <= 3


def test_expressions_are_names_that_nobody_has() -> None:
    with pytest.raises(InputError, match=r"no variable 'x\.y'"):
        filled_in("{{x.y}}", {"x": object()})


@given(st.text().filter(lambda text: "{{" not in text))
def test_a_body_without_double_braces_is_left_alone(body: str) -> None:
    assert filled_in(body, {}) == body


@given(PLAIN, PLAIN, st.text(" \t\n\u00a0", max_size=3), st.text())
def test_only_the_braces_of_a_known_name_change(before: str, after: str, padding: str, value: str) -> None:
    assert filled_in(f"{before}{{{{{padding}name{padding}}}}}{after}", {"name": value}) == before + value + after


@pytest.mark.parametrize("word", ["人工智能" * 60, "http://example.com/" + "a" * 200])
def test_of_a_column_whose_name_is_one_long_word_the_beginning_is_quoted(word: str) -> None:
    with pytest.raises(InputError) as caught:
        split_rows(f"{word}\nx", "csv")
    assert f"there are {word[:100]}" in str(caught.value)
    assert f"{word[:159]}…. Nothing" in str(caught.value)
