"""Odd texts and odd containers, from the call to the gateway's log and back: every row gets its own vector."""

from __future__ import annotations

import io
import json
import os
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.kernels import Kernel, kernel

from faults.answers import answer, envelope, good, openai_error, vector_of
from faults.gateway import RESET, Arrival, FaultGateway, Script, Step, fault_gateway
from faults.jobs import DIMENSION, TOKEN, assert_own_vectors, embed, talking_to
from vn_magic import Session
from vn_magic.exceptions import InputError, RejectedTextError

THREE = ["first", "second", "third"]


def framed(session: Session, texts: object, **options: Any) -> pd.DataFrame:
    """Embed into a frame."""
    frame = session.embed(texts, **{"dimension": DIMENSION, **options})
    assert isinstance(frame, pd.DataFrame)
    return frame


def assert_rows(frame: pd.DataFrame, texts: Sequence[str | None]) -> None:
    """Check that each row has the vector of its text, or NaN and a reason where it has none."""
    assert len(frame) == len(texts)
    reasons = frame["error"].tolist() if "error" in frame.columns else [None] * len(texts)
    for text, vector, reason in zip(texts, frame["embedding"], reasons, strict=True):
        assert vector.dtype == np.float32
        if text is None:
            assert np.isnan(vector).all()
            assert reason
        else:
            np.testing.assert_allclose(vector, vector_of(text, DIMENSION), rtol=0, atol=1e-6)
            assert reason is None


def refusing(*bad: str) -> Script:
    """Reject these texts and answer all others."""

    def script(arrival: Arrival) -> bytes:
        return (
            answer(400, openai_error("not this text", "upstream_error", 400)) if arrival.text in bad else good(arrival)
        )

    return script


# Duplicates


@pytest.mark.parametrize("distinct", [1, 3])
def test_a_thousand_equal_rows_are_one_request_and_a_thousand_right_vectors(distinct: int) -> None:
    texts = THREE[:distinct] * 1000
    with talking_to(good) as (session, gateway):
        assert_own_vectors(embed(session, texts, concurrency=16), texts)
        assert sorted(gateway.texts) == sorted(THREE[:distinct])
        assert_own_vectors(embed(session, texts, cache=False, concurrency=16), texts)
        assert sorted(gateway.texts) == sorted(THREE[:distinct] * 2)


def test_a_thousand_equal_rows_that_fail_are_one_request_and_a_thousand_reasons() -> None:
    with talking_to(refusing("bad")) as (session, gateway):
        frame = framed(session, ["bad", "good"] * 1000, on_error="keep", concurrency=16)
        assert_rows(frame, [None, "good"] * 1000)
        assert sorted(gateway.texts) == ["bad", "good"]
        assert len(set(frame["error"][::2])) == 1


# Rows that cannot be sent

NO_TEXTS = {
    "None": (None, "missing"),
    "NaN": (float("nan"), "missing"),
    "numpy's NaN": (np.float32("nan"), "missing"),
    "pd.NA": (pd.NA, "missing"),
    "pd.NaT": (pd.NaT, "missing"),
    "empty": ("", "blank"),
    "blanks": (" \t\r\n", "blank"),
    "blanks of Unicode": ("\u00a0\u2003\u3000\u2028", "blank"),
    "a number": (7, "not text but int"),
    "a truth value": (True, "not text but bool"),
    "bytes": (b"text", "not text but bytes"),
    "a list": (["a", "b"], "not text but list"),
    "the first half of a surrogate pair": ("a\ud83d", "a broken character .* at position 1"),
    "the second half of a surrogate pair": ("\ude00", "a broken character .* at position 0"),
    "a surrogate pair the wrong way round": ("ok \ude00\ud83d", "a broken character .* at position 3"),
}
CONTAINERS: dict[str, Callable[[list[Any]], tuple[Any, dict[str, Any]]]] = {
    "list": lambda values: (values, {}),
    "Series": lambda values: (pd.Series(values, dtype=object, index=[10, 20, 30]), {}),
    "frame": lambda values: (pd.DataFrame({"n": [1, 2, 3], "t": pd.Series(values, dtype=object)}), {"column": "t"}),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize(("value", "reason"), NO_TEXTS.values(), ids=NO_TEXTS)
def test_what_is_no_text_is_named_by_its_row_before_anything_is_sent_and_marked_under_keep(
    value: object, reason: str, container: Callable[[list[Any]], tuple[Any, dict[str, Any]]]
) -> None:
    with talking_to(good) as (session, gateway):
        data, options = container(["before", value, "after"])
        with pytest.raises(InputError, match=rf"1 of 3 rows cannot be embedded: row 1 \({reason}") as caught:
            framed(session, data, **options)
        assert len(str(caught.value).splitlines()) <= 3
        assert gateway.received == []
        frame = framed(session, data, on_error="keep", **options)
        assert_rows(frame, ["before", None, "after"])
        assert sorted(gateway.texts) == ["after", "before"]


def test_a_column_of_numbers_says_what_they_are_and_goes_as_text() -> None:
    numbers = pd.Series([1, 2.5, "three"], dtype=object)
    with talking_to(good) as (session, gateway):
        with pytest.raises(InputError, match=r"row 0 \(not text but int\), row 1 \(not text but float\)\. Nothing"):
            framed(session, numbers)
        assert gateway.received == []
        assert_rows(framed(session, numbers.astype(str)), ["1", "2.5", "three"])


def test_a_column_where_nothing_can_be_sent_sends_nothing_and_comes_back_under_keep() -> None:
    with talking_to(good) as (session, gateway):
        frame = framed(session, pd.Series([None, "", float("nan")], dtype=object), on_error="keep")
        assert_rows(frame, [None, None, None])
        assert gateway.received == []


# Texts that are odd but fine

ODD_TEXTS = {
    "NUL": "a\0b",
    "nothing but NUL": "\0",
    "control characters": "".join(map(chr, chain(range(1, 9), range(14, 28)))),
    "an escape sequence of terminals": "\x1b[31mred\x1b[0m",
    "a family in one emoji": "👨‍👩‍👧‍👦 family",
    "flags": "🇩🇪🇯🇵🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "skin tone": "👍🏽",
    "Arabic": "مرحبا بالعالم 123",
    "Hebrew": "שלום עולם",
    "marks of direction": "\u202eabc\u202c \u2066x\u2069 \u200f",
    "Devanagari": "नमस्ते दुनिया",
    "Thai": "สวัสดีชาวโลก",
    "composed": unicodedata.normalize("NFC", "café Ångström"),
    "decomposed": unicodedata.normalize("NFD", "café Ångström"),
    "a tower of marks": "Z" + "\u0335\u0321\u0322\u0301" * 50,
    "a ligature": "ﬁne",
    "what the ligature stands for": "fine",
    "beyond the first plane": "𠜎𠜱𡿨 𝕏",
    "the last character": "\U0010ffff\uffff\ufffe",
    "a byte order mark": "\ufefftext",
    "text after a byte order mark": "text",
    "nothing to be seen": "\u200b\u200d",
    "lines of all kinds": "a\nb\r\nc\rd\u2028e\u2029f\x85g\x0bh\x0ci",
    "blanks around": "  \t text \n",
    "a no-break space around": "\u00a0text\u00a0",
    "JSON": '{"text": "x", "parts": [null]}',
    "backslashes and quotes": "\\u0041 \\\\ \" ' ` \\n \\",
    "a null of JSON": "null",
    "NaN in letters": "nan",
    "markup": "<img src=x onerror=alert(1)>&amp;<!--",
    "braces": "{{name}} {x} %s %(x)s $HOME",
    "a path": "../../v1/models?key=x#y",
}


def test_an_odd_text_arrives_byte_for_byte_and_its_own_vector_comes_back() -> None:
    texts = list(ODD_TEXTS.values())
    with talking_to(good) as (session, gateway):
        frame = framed(session, texts, concurrency=4)
        assert_rows(frame, texts)
        assert frame["text"].tolist() == texts
        assert sorted(gateway.texts) == sorted(texts)
        for arrival in gateway.received:
            assert int(arrival.headers["content-length"]) == len(arrival.body)
            assert json.loads(arrival.body.decode())["content"] == {"parts": [{"text": arrival.text}]}
        assert_rows(framed(session, texts[::-1]), texts[::-1])  # and from the cache, each under its own key
        assert len(gateway.received) == len(texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("ﬁ", "fi"),
        ("a", "а"),
        ("text", "text "),
        ("text", "\ufefftext"),
        ("text", "Text"),
        ("a\0b", "a\0c"),
        ("👍", "👍🏽"),
        ("x", "x\u200b"),
        ("a\nb", "a\r\nb"),
    ],
)
def test_texts_that_look_alike_are_two_texts_on_the_wire_and_in_the_cache(one: str, other: str) -> None:
    with talking_to(good) as (session, gateway):
        assert_own_vectors(embed(session, [one]), [one])
        assert_own_vectors(embed(session, [other, one]), [other, one])
        assert gateway.texts == [one, other]


def test_a_megabyte_of_text_arrives_whole_and_an_error_about_it_is_short() -> None:
    long = "word 语言 " * 100_000
    with talking_to(refusing(long + "!")) as (session, gateway):
        assert_own_vectors(embed(session, [long, "short"]), [long, "short"])
        assert {len(text.encode()) for text in gateway.texts} == {1_200_000, 5}
        with pytest.raises(RejectedTextError, match=r"^Row 1 \('word ") as caught:
            embed(session, ["short", long + "!"])
        assert len(str(caught.value)) < 500


# No rows, one row

NOTHING: dict[str, Any] = {
    "list": [],
    "tuple": (),
    "Series": pd.Series([], dtype=object),
    "Arrow strings": pd.Series([], dtype=pd.ArrowDtype(pa.string())),
    "Index": pd.Index([]),
    "array": np.array([], dtype=str),
}


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
def test_no_rows_give_an_empty_result_and_send_nothing(nothing: object) -> None:
    with talking_to(good) as (session, gateway):
        assert embed(session, nothing).shape == (0, DIMENSION)  # type: ignore[arg-type]
        frame = framed(session, nothing)
        assert (len(frame), list(frame.columns)) == (0, ["text", "embedding"])
        assert frame.vec.matrix.shape == (0, DIMENSION)
        assert gateway.received == []


def test_a_frame_without_rows_keeps_its_columns_index_and_dtypes() -> None:
    frame = pd.DataFrame({"t": ["a"], "n": np.array([1], dtype=np.int8)}, index=pd.Index(["k"], name="key"))
    with talking_to(good) as (session, gateway):
        empty = framed(session, frame[frame["n"] > 1], column="t")
        pd.testing.assert_frame_equal(empty.drop(columns="embedding"), frame.iloc[:0])
        assert gateway.received == []


ONE_ROW: dict[str, Any] = {
    "text": "first",
    "list": ["first"],
    "Series": pd.Series(["first"], index=["k"]),
    "array": np.array(["first"]),
    "Index": pd.Index(["first"]),
}


@pytest.mark.parametrize("one", ONE_ROW.values(), ids=ONE_ROW)
def test_one_row_is_one_request_and_one_row(one: object) -> None:
    with talking_to(good) as (session, gateway):
        assert_rows(framed(session, one), ["first"])
        assert gateway.texts == ["first"]


# Indexes

INDEXES = {
    "unsorted": pd.Index([9, -1, 5, 0]),
    "duplicates": pd.Index([1, 1, 0, 1]),
    "nothing but duplicates": pd.Index(["k"] * 4, name="key"),
    "missing labels": pd.Index([1.0, np.nan, np.nan, 0.0]),
    "levels": pd.MultiIndex.from_tuples([("b", 2), ("a", 1), ("b", 1), ("a", 2)], names=["letter", "number"]),
    "levels with duplicates and gaps": pd.MultiIndex.from_tuples([("b", 2), ("b", 2), (None, 1), ("b", 2)]),
    "dates with a zone": pd.date_range("2024-03-31 00:00", periods=4, freq="h", tz="Europe/Berlin"),
    "categories": pd.CategoricalIndex(["x", "y", "x", "y"], categories=["y", "x"]),
    "intervals": pd.interval_range(0, 4),
    "texts that are rows' numbers": pd.Index(["3", "2", "1", "0"]),
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_whatever_the_index_each_row_keeps_its_label_its_columns_and_its_own_vector(index: pd.Index[Any]) -> None:
    texts = ["first", "bad", "second", "first"]
    frame = pd.DataFrame({"n": range(4), "text": texts}, index=index)
    before = frame.copy(deep=True)
    with talking_to(refusing("bad")) as (session, gateway):
        result = framed(session, frame, column="text", on_error="keep")
        assert_rows(result, ["first", None, "second", "first"])
        pd.testing.assert_frame_equal(result.drop(columns=["embedding", "error"]), before)
        pd.testing.assert_frame_equal(frame, before)
        series = framed(session, frame["text"], on_error="keep")
        pd.testing.assert_index_equal(series.index, index)
        assert_rows(series, ["first", None, "second", "first"])
        assert Counter(gateway.texts) == {"first": 1, "second": 1, "bad": 2}  # failures are not cached


def test_columns_of_several_levels_are_refused_with_a_cure_that_works() -> None:
    frame = pd.DataFrame({("review", "text"): THREE, ("review", "stars"): [1, 2, 3]})
    with talking_to(good) as (session, gateway):
        for column in ("review", ("review", "text")):
            with pytest.raises(InputError, match=r"columns have 2 levels;.*\nNext: embed one column"):
                framed(session, frame, column=column)
        assert gateway.received == []
        result = framed(session, frame["review", "text"])
        assert_rows(result, THREE)
        assert list(result.columns) == ["text", "embedding"]


# Types of columns

ARROW = pd.ArrowDtype(pa.string())
CHUNKED = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([["first"], [], ["second", None, "first"]])))
COLUMNS: dict[str, pd.Series[Any]] = {
    "object": pd.Series(["first", "second", None, "first"], dtype=object),
    "str": pd.Series(["first", "second", None, "first"], dtype="str"),
    "string in Python": pd.Series(["first", "second", None, "first"], dtype="string[python]"),
    "string in Arrow": pd.Series(["first", "second", None, "first"], dtype="string[pyarrow]"),
    "Arrow's own string": pd.Series(["first", "second", None, "first"], dtype=ARROW),
    "Arrow's large string": pd.Series(["first", "second", None, "first"], dtype=pd.ArrowDtype(pa.large_string())),
    "Arrow's dictionary": pd.Series(
        ["first", "second", None, "first"], dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    ),
    "Arrow in chunks": CHUNKED,
    "category": pd.Series(
        pd.Categorical(["first", "second", None, "first"], categories=["unused", "second", "first"], ordered=True)
    ),
    "category over Arrow": pd.Series(["first", "second", None, "first"], dtype=ARROW).astype("category"),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_every_type_of_text_column_is_read_in_order_and_keeps_its_type(column: pd.Series[Any]) -> None:
    with talking_to(good) as (session, gateway):
        frame = framed(session, column, on_error="keep")
        assert_rows(frame, ["first", "second", None, "first"])
        assert frame["text"].dtype == column.dtype
        assert sorted(gateway.texts) == ["first", "second"]
        with pytest.raises(InputError, match=r"row 2 \(missing\)"):
            framed(session, column)


@pytest.mark.parametrize("dtype", ["object", "str", "string", ARROW, "category"], ids=str)
def test_the_distinct_values_of_a_column_can_be_embedded_as_pandas_gives_them(dtype: Any) -> None:
    with talking_to(good) as (session, gateway):
        frame = framed(session, pd.Series(["first", "second", "first"], dtype=dtype).unique())
        assert_rows(frame, ["first", "second"])
        assert frame["text"].tolist() == ["first", "second"]
        assert sorted(gateway.texts) == ["first", "second"]


# Rows that were moved

MOVED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "filtered": lambda frame: frame[frame["n"] % 3 == 1],
    "reversed": lambda frame: frame.iloc[::-1],
    "every second": lambda frame: frame.iloc[1::2],
    "shuffled": lambda frame: frame.sample(frac=1, random_state=3),
    "sorted by text": lambda frame: frame.sort_values("text", ascending=False),
    "drawn again and again": lambda frame: frame.sample(20, replace=True, random_state=1),
    "two heads": lambda frame: pd.concat([frame.head(3), frame.head(3)]),
    "the heads of groups": lambda frame: frame.groupby(frame["n"] % 4).head(2),
    "melted": lambda frame: (
        frame.assign(other=frame["text"] + "!").melt("n", value_name="t").set_axis(["n", "of", "text"], axis=1)
    ),
    "exploded": lambda frame: frame.assign(text=[[text, text + "?"] for text in frame["text"]]).explode("text"),
    "turned over twice": lambda frame: frame.T.T,
}


@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED)
def test_rows_that_were_filtered_sorted_or_repeated_get_their_own_vectors(
    moved: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    frame = moved(pd.DataFrame({"n": range(12), "text": [f"text {n * 7 % 12}" for n in range(12)]}))
    texts = frame["text"].tolist()
    with talking_to(good) as (session, gateway):
        result = framed(session, frame, column="text", concurrency=3)
        assert_rows(result, texts)
        pd.testing.assert_frame_equal(result.drop(columns="embedding"), frame)
        assert sorted(gateway.texts) == sorted(set(texts))


@pytest.mark.parametrize("part", [np.s_[::-1], np.s_[::3], np.s_[5:1:-2], np.s_[4:4]], ids=str)
def test_views_into_an_array_are_read_as_they_stand(part: slice) -> None:
    words = np.array([f"text {n}" for n in range(12)])
    table = np.array([words, words]).T  # a column of it is not contiguous
    with talking_to(good) as (session, _):
        assert_rows(framed(session, words[part]), words[part].tolist())
        assert_rows(framed(session, table[part, 1]), words[part].tolist())


# Containers that are none


@pytest.mark.parametrize(
    "data",
    [
        (text for text in THREE),
        map(str, THREE),
        iter(THREE),
        dict.fromkeys(THREE).keys(),
        set(THREE),
        {"text": THREE},
        range(3),
        io.StringIO("first\nsecond"),
        zip(THREE, THREE, strict=True),
    ],
    ids=lambda data: type(data).__name__,
)
def test_what_can_be_read_only_once_or_has_no_order_is_refused_unread_and_goes_as_a_list(data: Any) -> None:
    with talking_to(good) as (session, gateway):
        with pytest.raises(
            InputError, match=rf"A {type(data).__name__} cannot be embedded\.\nNext: give a str, a list"
        ):
            framed(session, data)
        assert gateway.received == []
        texts = [str(text) for text in data]  # nothing of it was used up
        assert len(texts) == len(list(THREE)[: len(texts)])
        assert_rows(framed(session, texts), texts)


# Order


def in_random_order(seed: int, bad: str = "bad") -> Script:
    """Answer after a drawn time; reject some texts; be in trouble at the first attempt of others."""

    def script(arrival: Arrival) -> Iterator[Step]:
        text = arrival.text or ""
        dice = random.Random(f"{seed}/{text}")
        yield dice.random() / 25
        trouble = dice.random()
        if text.startswith(bad):
            yield answer(400, openai_error("not this text", "upstream_error", 400))
        elif arrival.attempt == 1 and trouble < 0.2:
            yield RESET if trouble < 0.1 else envelope("overloaded")
        else:
            yield good(arrival)

    return script


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("quick")
def test_order_and_duplicates_survive_answers_in_any_order_with_failing_rows_in_between(seed: int) -> None:
    dice = random.Random(seed)
    distinct = [f"text {n}" for n in range(60)] + [f"bad {n}" for n in range(8)]
    values: list[Any] = [*distinct, *dice.choices(distinct, k=60), None, " ", "\ud83d", float("nan")]
    dice.shuffle(values)
    with talking_to(in_random_order(seed)) as (session, gateway):
        frame = framed(session, values, on_error="keep", concurrency=16)
        assert_rows(frame, [value if str(value).startswith("text") else None for value in values])
        assert set(gateway.texts) == set(distinct)
        firsts = [arrival.text for arrival in gateway.received if arrival.attempt == 1]
        assert len(firsts) == len(distinct)  # a duplicate is never a request of its own
        assert firsts != gateway.texts  # there were retries, and later rows overtook them
        for value, reason in zip(values, frame["error"], strict=True):
            if str(value).startswith("bad"):
                first_row = values.index(value)
                assert reason.startswith(f"Row {first_row} ({value!r}): The gateway rejected this text.")


def test_stop_names_the_row_in_the_order_of_the_input_although_others_were_answered_first() -> None:
    texts = [f"text {n}" for n in range(10)]
    texts[6] = "bad"
    with talking_to(in_random_order(0)) as (session, gateway):
        with pytest.raises(RejectedTextError, match=r"^Row 6 \('bad'\): "):
            framed(session, pd.Series(texts, index=range(100, 110)), concurrency=10)
        already = set(gateway.texts) - {"bad"}
        texts[6] = "better"
        assert_rows(framed(session, texts), texts)
        again = Counter(text for text in gateway.texts if text in already)
        assert set(again.values()) <= {1, 2}  # two where the first attempt met trouble, and never a third


# The same through a cell


@pytest.fixture(scope="module")
def loopback() -> Iterator[FaultGateway]:
    with fault_gateway(refusing("bad")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def notebook(loopback: FaultGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel whose session talks to `loopback`."""
    folder = tmp_path_factory.mktemp("kernel")
    environ = {
        **os.environ,
        "VN_MAGIC_BASE_URL": loopback.base_url,
        "VECTORNODE_API_KEY": TOKEN,
        "VN_MAGIC_CACHE": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    with kernel(environ=environ) as started:
        assert started.run(f"%load_ext vn_magic\n%config VnMagic.dimension = {DIMENSION}").status == "ok"
        yield started


def bound(notebook: Kernel, name: str, folder: Path) -> pd.DataFrame:
    """The frame under a name in the kernel, brought here by pickle."""
    path = folder / "bound.pickle"
    reply = notebook.run(f"{name}.to_pickle({str(path)!r})")
    assert reply.status == "ok", reply.error
    return pd.read_pickle(path)


def test_a_cell_of_odd_lines_is_sent_and_bound_as_it_was_typed(
    notebook: Kernel, loopback: FaultGateway, tmp_path: Path
) -> None:
    # A line cannot hold a line's end, and is trimmed; anything else is the text's own.
    lines = [text for text in ODD_TEXTS.values() if text == text.strip() and not {"\n", "\r"} & set(text)]
    assert len(lines) > 20
    reply = notebook.run("%%embed odd\n" + "\n".join(lines) + "\n")
    assert (reply.status, reply.stderr, reply.error) == ("ok", "", [])
    frame = bound(notebook, "odd", tmp_path)
    assert frame["text"].tolist() == lines
    assert_rows(frame, lines)
    assert set(lines) <= set(loopback.texts)
    assert "<img src=x" not in reply.displays[-1]["text/html"]


def test_a_cell_under_keep_shows_its_card_whatever_the_rows_that_failed_are(
    notebook: Kernel, loopback: FaultGateway, tmp_path: Path
) -> None:
    before = len(loopback.received)
    code = "%embed --on-error keep -o kept ['one', None, chr(0xd83d), 'bad', '', 7, 'two', chr(0xd83d)]"
    reply = notebook.run(code)
    assert (reply.status, reply.stderr) == ("ok", "")
    assert "6 failed, see the column `error`" in reply.card
    frame = bound(notebook, "kept", tmp_path)
    assert_rows(frame, ["one", None, None, None, None, None, "two", None])
    assert Counter(loopback.texts[before:]) == {"one": 1, "two": 1, "bad": 1}


@pytest.mark.parametrize("code", ["%%embed older\nbad\n", "%embed -o older ['fine', None]", "%%embed older\n \n"])
def test_a_job_that_fails_leaves_an_older_value_alone(notebook: Kernel, code: str) -> None:
    assert notebook.run("older = 'the older value'").status == "ok"
    reply = notebook.run(code)
    assert reply.status == "error"
    assert 1 <= len(reply.error) <= 3
    result = notebook.run("older").result
    assert result is not None
    assert result["text/plain"] == "'the older value'"


def test_a_missing_text_in_a_frame_s_column_is_named_by_its_row_and_nothing_is_sent(
    notebook: Kernel, loopback: FaultGateway
) -> None:
    before = len(loopback.received)
    notebook.run("import pandas as pd; df = pd.DataFrame({'t': ['x', None, 'y']}, index=[7, 7, 8])")
    reply = notebook.run("%embed df -c t")
    assert reply.error[0].startswith("InputError: 1 of 3 rows cannot be embedded: row 1 (missing). Nothing was sent.")
    assert len(loopback.received) == before
