"""Properties that hold whatever comes: of answers, of errors, of waits, of cells, and of the order of rows."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from faults.answers import answer, good, google_error, openai_error, retry_info, vector_of
from faults.gateway import Arrival, FaultGateway, Step, fault_gateway
from vn_magic import Session
from vn_magic.credentials import Token
from vn_magic.exceptions import (
    BadAnswerError,
    ConnectionFailedError,
    DeadlineError,
    GatewayError,
    InputError,
    RateLimitedError,
    RowError,
    StopJobError,
    TransientError,
    UnreadableAnswerError,
    UpstreamError,
)
from vn_magic.frames import source_of
from vn_magic.gateway.envelopes import error_from
from vn_magic.gateway.retry import RetryPolicy, Trial, unix_time, wait_named_by_server
from vn_magic.gateway.wire import parse_embedding
from vn_magic.rows import Split, filled_in, split_rows

NOW = 1_780_000_000.0
TOKEN = Token("sk-canary-7d1e5b0c93")
SECRET = TOKEN.reveal()

names = st.text(st.characters(codec="ascii", categories=["Lu", "Ll"]), min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
# Python writes NaN and Infinity where JSON has no word for them.
proper_json = json_values.filter(lambda value: not re.search("NaN|Infinity", json.dumps(value)))
numbers = (
    st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([10**400, 10**39, -(10**39), 1e-45, 1e-46, 5e-324])
)
number_lists = st.lists(numbers, max_size=12)


# Answers


def expected_vector(values: object) -> NDArray[np.float32] | None:
    """What a JSON value in the place of ``values`` is worth; None where it is no vector."""
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        return None
    try:
        wide = np.array([float(value) for value in values], dtype=np.float64)
    except OverflowError:  # an integer beyond all floats
        return None
    with np.errstate(over="ignore"):
        vector = wide.astype(np.float32)
    return vector if np.isfinite(vector).all() and vector.any() else None


def assert_read_as(body: bytes, expected: NDArray[np.float32] | None) -> None:
    if expected is None:
        with pytest.raises((BadAnswerError, UnreadableAnswerError), match="Next:"):
            parse_embedding(body)
        return
    vector, _ = parse_embedding(body)
    assert (vector.dtype, vector.tobytes()) == (np.float32, expected.tobytes())


@given(values=number_lists | st.lists(numbers | json_values, max_size=4) | json_values)
@example(values=[10**400, 1.0])
@example(values=[1e-46])
@example(values=[True, 1.0])
def test_whatever_stands_for_the_values_is_the_vector_of_its_numbers_or_an_error(values: object) -> None:
    assert_read_as(json.dumps({"embedding": {"values": values}}).encode(), expected_vector(values))


@given(embedding=json_values | st.dictionaries(st.sampled_from(["values", "Values", "value"]), number_lists))
def test_whatever_stands_for_the_embedding_is_the_vector_of_its_values_or_an_error(embedding: object) -> None:
    values = embedding.get("values") if isinstance(embedding, dict) else None
    assert_read_as(json.dumps({"embedding": embedding}).encode(), expected_vector(values))


@given(literal=st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@example(literal="1.00000005960464477539062500")  # halfway between two float32
@example(literal="16777217")
@example(literal="3.4028235677973366e38")  # rounds beyond the largest float32
def test_a_number_of_any_length_is_its_nearest_double_and_that_one_s_nearest_float32(literal: str) -> None:
    assert_read_as(f'{{"embedding": {{"values": [{literal}]}}}}'.encode(), expected_vector([float(literal)]))


def in_any_order(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A JSON object with these fields, among others and in any order."""
    others = st.dictionaries(names.filter(lambda name: name not in fields), proper_json, max_size=3)
    return others.flatmap(lambda more: st.permutations(list({**fields, **more}.items()))).map(dict)


@given(data=st.data(), values=number_lists, tokens=st.integers(0, 2**31 - 1))
def test_other_fields_and_the_order_of_keys_change_neither_vector_nor_token_count(
    data: st.DataObject, values: list[float], tokens: int
) -> None:
    expected = expected_vector(values)
    assume(expected is not None)
    embedding = data.draw(in_any_order({"values": values}))
    usage = data.draw(in_any_order({"promptTokenCount": tokens}))
    body = json.dumps(data.draw(in_any_order({"embedding": embedding, "usageMetadata": usage}))).encode()
    assert_read_as(body, expected)
    assert parse_embedding(body)[1] == tokens


@given(usage=proper_json | st.dictionaries(st.just("promptTokenCount"), proper_json | st.integers()))
@example(usage={"promptTokenCount": -7})
@example(usage={"promptTokenCount": 10**30})
def test_whatever_stands_for_the_token_count_it_is_a_plausible_one_or_none_and_the_vector_is_kept(
    usage: object,
) -> None:
    vector, tokens = parse_embedding(json.dumps({"embedding": {"values": [0.5]}, "usageMetadata": usage}).encode())
    assert vector.tolist() == [0.5]
    assert tokens is None or 0 <= tokens < 2**31


def test_a_token_count_of_five_thousand_digits_does_not_cost_the_vector() -> None:
    body = b'{"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": ' + b"9" * 5000 + b"}}"
    assert parse_embedding(body)[1] is None


RIGHT = b'{"embedding": {"values": [0.25, -0.5, 1e-3]}, "usageMetadata": {"promptTokenCount": 3}, "x": "\xc3\xa9"}'


@given(
    at=st.integers(0, len(RIGHT)),
    gone=st.integers(0, 12),
    new=st.binary(max_size=6) | st.text(max_size=4).map(str.encode),
)
def test_an_answer_spoilt_anywhere_is_read_as_its_json_says_or_refused(at: int, gone: int, new: bytes) -> None:
    body = RIGHT[:at] + new + RIGHT[at + gone :]
    try:
        vector, _ = parse_embedding(body)
    except (BadAnswerError, UnreadableAnswerError):
        return
    values = json.loads(body.decode("utf-8", "replace"), strict=False)["embedding"]["values"]
    assert_read_as(body, expected_vector(values))
    assert vector.size > 0


# Errors


def escaped(text: str, dice: random.Random) -> str:
    """The text inside a JSON string, some characters of it as escapes."""
    return "".join(rf"\u{ord(letter):04x}" if dice.random() < 0.3 else letter for letter in text)


envelope_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*["message", "type", "code", "status", "details", "violations", "quotaId", "reason", "retryDelay"]]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
bodies = (
    envelope_values.map(lambda value: json.dumps({"error": value}).encode())
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
)
# As httpx hands them over: latin-1 or UTF-8, without line ends, but with everything else that Unicode has.
header_texts = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=400)


def assert_presentable(error: GatewayError) -> None:
    assert isinstance(error, StopJobError | RowError | TransientError)
    lines = str(error).splitlines()
    assert len(lines) <= 3
    assert lines[-1].startswith("Next: ")
    assert max(map(len, lines)) < 600
    assert error.retry_after is None or error.retry_after >= 0


@given(
    status=st.integers(100, 999),
    body=bodies,
    headers=st.dictionaries(st.sampled_from(["retry-after", "location", "x-oneapi-request-id"]), header_texts),
)
@example(status=500, body=openai_error("x (request id: a\nb\nc\nd)"), headers={})
@example(status=500, body=b"", headers={"x-oneapi-request-id": "a\u2028b\x85c" + "d" * 9000})
def test_any_status_with_any_body_is_one_error_of_three_lines(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    assert_presentable(error_from(status, headers, body, now=NOW))


@given(
    status=st.integers(200, 599),
    field=st.sampled_from(["message", "type", "code", "status"]),
    before=st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=32), max_size=200),
    seed=st.integers(0, 1000),
)
@example(status=400, field="message", before="x" * 145, seed=0)
def test_no_error_holds_the_token_however_a_gateway_quotes_it(status: int, field: str, before: str, seed: int) -> None:
    quoted = f'{{"error": {{"{field}": "{before} {escaped(SECRET, random.Random(seed))}"}}}}'
    error = error_from(status, {}, quoted.encode(), now=NOW, scrub=TOKEN.scrub)
    assert_presentable(error)
    for text in (str(error), repr(error), error.code):
        assert SECRET[:12] not in text
        assert SECRET[-8:] not in text


@pytest.mark.parametrize(
    "message",
    [" " * 30_000 + "x", "(request id:" * 6_000, "(request id: " + " " * 200_000, "retry in 1" * 50_000],
    ids=["blanks", "request ids", "an open request id", "waits"],
)
def test_a_message_of_any_length_is_read_in_one_go(message: str) -> None:
    before = time.process_time()
    assert_presentable(error_from(429, {}, openai_error(message), now=NOW))
    # Milliseconds; a search that goes back at every character takes more than ten seconds for the first two.
    assert time.process_time() - before < 5


@pytest.mark.parametrize("before", [0, 145], ids=["whole", "where the quote is cut"])
def test_the_error_column_never_holds_the_token_of_a_gateway_that_escapes_what_it_quotes(before: int) -> None:
    told = f'{{"error": {{"message": "{"x" * before} {escaped(SECRET, random.Random(1))}"}}}}'
    assert SECRET not in told
    with fault_gateway(lambda _: answer(400, told.encode())) as gateway:
        with Session(base_url=gateway.base_url, token=SECRET) as session:
            frame = session.embed(["a"], on_error="keep")
        assert isinstance(frame, pd.DataFrame)
        assert "it says" in frame["error"][0]
        assert SECRET[:12] not in frame["error"][0]
        assert SECRET[-8:] not in frame["error"][0]


# Waits


@dataclass(frozen=True)
class Run:
    """What the policy asks of a job."""

    run: int = 0
    reached: bool = False
    gateway_seems_down: bool = True


def drawn(policy: RetryPolicy, error: TransientError, trial: Trial, run: Run) -> float:
    """Return a wait as the client draws it."""
    return policy.wait(error, trial, run, draw=random.random())


DATES = [
    "Thu, 28 May 2026 20:27:25 GMT",
    "Thursday, 28-May-26 20:27:25 GMT",
    "Thu May 28 20:27:25 2026",
    "Thu, 28 May 2026 20:27:25 +9999",
    "Mon, 1 Jan 0001 00:00:00 +2359",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Thu, 28 May 99999999999 20:27:25 GMT",
]


@given(
    date=st.sampled_from(DATES),
    at=st.integers(0, 30),
    gone=st.integers(0, 6),
    new=st.text(max_size=6) | st.from_regex(r"\A[-+:0-9 ]{0,8}\Z"),
)
@example(date=DATES[4], at=0, gone=0, new="")
@example(date=DATES[5], at=0, gone=0, new="")
@example(date=DATES[6], at=0, gone=0, new="")
def test_a_retry_after_that_is_nearly_a_date_is_a_wait_or_none(date: str, at: int, gone: int, new: str) -> None:
    header = date[:at] + new + date[at + gone :]
    assert unix_time(header) is None or math.isfinite(unix_time(header) or 0.0)
    wait = wait_named_by_server({"retry-after": header}, [], "", now=NOW)
    assert wait is None or wait >= 0


@given(digits=st.integers(1, 4000), sign=st.sampled_from(["", "+", "-"]), fraction=st.sampled_from(["", ".5"]))
def test_seconds_of_any_length_are_a_wait_and_never_a_negative_one(digits: int, sign: str, fraction: str) -> None:
    wait = wait_named_by_server({"retry-after": f"{sign}{'9' * digits}{fraction}"}, [], "", now=NOW)
    assert wait == (0.0 if sign == "-" else float("9" * digits + fraction))


@pytest.mark.parametrize("place", ["header", "details", "message"])
@given(
    seconds=st.floats(0.001, 1e5),
    attempt=st.integers(1, 8),
    status=st.sampled_from([429, 500, 503, 504]),
    run=st.integers(0, 50),
)
def test_a_wait_is_kept_wherever_it_is_named_and_spread_by_a_tenth_at_most(
    place: str, seconds: float, attempt: int, status: int, run: int
) -> None:
    written = f"{seconds:.6f}"
    named = float(written)
    assume(named > 0)
    headers = {"retry-after": written} if place == "header" else {}
    details = [retry_info(f"{written}s")] if place == "details" else []
    message = f"Please retry in {written}s." if place == "message" else "x"
    error = error_from(status, headers, google_error(status, "X", message, *details), now=NOW)
    assert isinstance(error, TransientError)
    wait = drawn(RetryPolicy(), error, Trial({0: "x"}, attempt), Run(run, reached=True))
    assert named <= wait <= 1.1 * named + 1e-9


@given(
    attempt=st.integers(1, 10_000),
    run=st.integers(0, 10_000),
    first=st.floats(0.001, 2),
    longest=st.floats(2, 60),
    reached=st.booleans(),
)
def test_a_wait_that_nobody_named_is_never_longer_than_the_longest_backoff(
    attempt: int, run: int, first: float, longest: float, reached: bool
) -> None:
    policy = RetryPolicy(first_backoff=first, longest_backoff=longest)
    assert 0 <= drawn(policy, UpstreamError("x"), Trial({0: "x"}, attempt), Run(run, reached)) <= longest


TROUBLES: tuple[type[TransientError], ...] = (
    *(UpstreamError, RateLimitedError, DeadlineError, UnreadableAnswerError, ConnectionFailedError),
)


@given(
    kind=st.sampled_from(TROUBLES),
    attempts=st.integers(1, 8),
    limited_attempts=st.integers(1, 8),
    connection_attempts=st.integers(1, 8),
    made=st.integers(1, 9),
    seconds=st.floats(0, 400),
    wait=st.floats(0, 400),
    reached=st.booleans(),
)
def test_a_row_is_given_up_when_its_attempts_or_its_time_are_used_up_and_not_before(
    kind: type[TransientError],
    attempts: int,
    limited_attempts: int,
    connection_attempts: int,
    made: int,
    seconds: float,
    wait: float,
    reached: bool,
) -> None:
    policy = RetryPolicy(attempts=attempts, limited_attempts=limited_attempts, connection_attempts=connection_attempts)
    most = {RateLimitedError: limited_attempts}.get(kind, attempts)
    if kind is ConnectionFailedError and not reached:
        most = connection_attempts
    given_up = policy.gives_up(kind("x"), Trial({0: "x"}, made, seconds), wait, Run(reached=reached))
    assert given_up == (made >= most or seconds + wait >= policy.row_timeout)


# Cells

LINE_BREAK = re.compile(r"\r\n|\r|\n")
SPLITS: tuple[Split, ...] = ("lines", "paragraphs", "cell")
ALL_SPLITS: tuple[Split, ...] = (*SPLITS, "csv", "jsonl")
letters = st.characters(exclude_categories=["Cs"])
# Bodies that are mostly line breaks and blanks, where splitting goes wrong if it does.
any_bodies = st.text(st.sampled_from("ab\n\r\t \u00a0\u2028\x0c\x1c\x85\ud83d,{}\"'\\") | letters, max_size=60)


def squeezed(text: str) -> str:
    return "".join(text.split())


def rows_of(body: str, split: Split) -> list[str]:
    """The rows of a body; none where it has none."""
    try:
        rows = split_rows(body, split)
    except InputError:
        assert squeezed(body) == ""
        return []
    return [str(value) for value in rows.values]  # noqa: PD011 - not a frame's


@pytest.mark.parametrize("split", SPLITS)
@given(body=any_bodies)
def test_no_character_of_a_cell_is_lost_doubled_or_moved_but_blanks_at_the_edges(split: Split, body: str) -> None:
    rows = rows_of(body, split)
    assert squeezed("".join(rows)) == squeezed(body)
    position = 0
    for row in rows:  # each a literal piece of the body, one after the other
        position = body.index(row, position) + len(row)


@given(body=any_bodies)
def test_there_is_a_row_for_every_line_with_something_on_it_and_no_other(body: str) -> None:
    assert rows_of(body, "lines") == [line.strip() for line in LINE_BREAK.split(body) if squeezed(line)]


@given(body=any_bodies)
@example(body="one\r\nparagraph\r\n\r\nanother")
def test_there_is_a_paragraph_for_every_run_of_lines_and_no_other(body: str) -> None:
    runs = groupby(LINE_BREAK.split(body), key=lambda line: bool(line.strip(" \t")))
    expected = ["\n".join(lines).strip() for filled, lines in runs if filled]
    assert [LINE_BREAK.sub("\n", row) for row in rows_of(body, "paragraphs")] == [text for text in expected if text]


@pytest.mark.parametrize(("split", "gap"), [("lines", "\n"), ("paragraphs", "\n\n"), ("cell", "")])
@given(body=any_bodies)
def test_rows_joined_and_split_again_are_the_same_rows(split: Split, gap: str, body: str) -> None:
    rows = rows_of(body, split)
    assert rows_of(gap.join(rows), split) == rows


@given(
    data=st.data(),
    separator=st.characters(exclude_categories=["Cs"], exclude_characters='\r\n"\0'),
    header=st.lists(names.filter(lambda name: name != "text"), max_size=3, unique=True),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_csv_of_any_separator_and_any_quoting_gives_back_every_field(
    data: st.DataObject, separator: str, header: list[str], ending: str
) -> None:
    columns = data.draw(st.permutations([*header, "text"]))
    assume(all(separator not in name for name in columns))
    fields = st.text(st.sampled_from(f'ab\r\n" {separator}') | letters.filter("\0".__ne__), max_size=8)
    records = data.draw(
        st.lists(st.lists(fields, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=4)
    )

    def written(field: str) -> str:
        must = not field or any(letter in field for letter in f'\r\n"{separator}')
        quoted = must or data.draw(st.booleans())
        return '"' + field.replace('"', '""') + '"' if quoted else field

    body = ending.join(separator.join(map(written, record)) for record in [columns, *records])
    read = split_rows(body, "csv", separator=separator)
    assert list(read.values) == [record[columns.index("text")] for record in records]
    assert {name: list(cells) for name, cells in read.columns.items()} == {
        name: [record[columns.index(name)] for record in records] for name in header
    }


@pytest.mark.parametrize("split", ALL_SPLITS)
@given(
    body=any_bodies
    | st.text(max_size=30)
    | json_values.map(json.dumps)
    | st.lists(st.dictionaries(names | st.just("text"), json_values), max_size=3).map(
        lambda records: "\n".join(map(json.dumps, records))
    )
)
def test_any_cell_gives_rows_or_an_error_in_two_lines_and_rows_give_a_frame(split: Split, body: str) -> None:
    rows, told = None, ""
    try:
        rows = split_rows(body, split)
    except InputError as error:
        told = str(error)
    assert len(told.splitlines()) <= 3
    if rows is None:
        return
    assert len(rows.values) > 0
    assert {len(cells) for cells in rows.columns.values()} <= {len(rows.values)}
    if not {"embedding", "error"} & {rows.column, *rows.columns}:
        assert len(source_of(rows).frame) == len(rows.values)


def test_json_in_a_cell_that_is_nested_without_end_is_an_error_that_names_the_line() -> None:
    with pytest.raises(InputError, match=r"^Line 2 is not a JSON object"):
        split_rows('{"text": "a"}\n{"text": ' + "[" * 100_000, "jsonl")


@given(blanks=st.integers(0, 1500), end=st.sampled_from(["", "}", "x", "{{"]))
@example(blanks=1500, end="x")
@settings(max_examples=30)
def test_braces_that_nobody_closes_are_left_alone_however_much_follows(blanks: int, end: str) -> None:
    body = "{{" + " " * blanks + end
    assert filled_in(body, {}) == body


@given(name=st.text(st.characters(exclude_characters="{}"), max_size=400))
@example(name="a\nb\nc\nd")
def test_a_variable_that_nobody_has_is_an_error_of_three_lines_whatever_its_name(name: str) -> None:
    with pytest.raises(InputError, match=r"^--vars: there is no variable .*\nNext: ") as caught:
        filled_in(f"a {{{{{name}}}}}", {})
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert max(map(len, lines)) < 600


# The order of rows


def hesitating(arrival: Arrival) -> Iterator[Step]:
    """Answer after a time drawn for the text; refuse what begins with "bad"; be in trouble once now and then."""
    dice = random.Random(f"{arrival.text}")
    yield dice.random() / 100
    if (arrival.text or "").startswith("bad"):
        yield answer(400, google_error(400, "INVALID_ARGUMENT", "not this text"))
    elif dice.random() < 0.1 and arrival.attempt % 2:
        yield answer(503, b"", {"retry-after": "0.005"})
    else:
        yield good(arrival)


@pytest.fixture(scope="module")
def hesitating_gateway() -> Iterator[FaultGateway]:
    with fault_gateway(hesitating) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def shared_session(hesitating_gateway: FaultGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder: Path = tmp_path_factory.mktemp("cache")
    environ = {"VN_MAGIC_CACHE": str(folder)}
    with Session(base_url=hesitating_gateway.base_url, token=SECRET, environ=environ) as session:
        yield session


texts = st.sampled_from([f"text {number}" for number in range(12)]) | st.sampled_from(["bad", "bad luck"])
cells = texts | st.sampled_from([None, "", "  ", math.nan, 7, "\ud83d"])
Embed = Callable[..., Any]


@given(values=st.lists(cells, max_size=24), concurrency=st.integers(1, 16), cache=st.booleans())
@settings(max_examples=60)
def test_every_row_stands_where_its_text_stood_whoever_answers_first_and_whoever_fails(
    hesitating_gateway: FaultGateway,
    shared_session: Session,
    values: list[object],
    concurrency: int,
    cache: bool,
) -> None:
    before = len(hesitating_gateway.received)
    embed: Embed = partial(shared_session.embed, dimension=128, concurrency=concurrency, on_error="keep", cache=cache)
    frame = embed(values)
    assert len(frame) == len(values)
    good_texts = {value for value in values if isinstance(value, str) and value.startswith("text")}
    for value, vector, reason in zip(values, frame["embedding"], frame["error"], strict=True):
        if value in good_texts:
            assert reason is None
            np.testing.assert_allclose(vector, vector_of(str(value), 128), atol=1e-6)
        else:
            assert reason
            assert np.isnan(vector).all()
    asked = [arrival.text for arrival in hesitating_gateway.received[before:]]
    sendable = {value for value in values if isinstance(value, str) and value.startswith(("text", "bad"))}
    assert set(asked) <= sendable
    if not cache:
        assert set(asked) == sendable
    for text in asked:
        assert asked.count(text) <= 2  # once, and once more where it was in trouble
