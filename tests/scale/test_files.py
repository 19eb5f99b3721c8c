"""A table file to one with vectors: every kind to every kind, in groups, and nothing of it changed on the way."""

from __future__ import annotations

import datetime as dt
import json
import weakref
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.engine import output_of
from support.tables import SIZE, Log, column_in, run, vectors_in, write_table

import vn_magic
from vn_magic import Provenance, Session
from vn_magic.exceptions import InputError
from vn_magic.frames import state_provenance
from vn_magic.scale import csv_file, file_job, json_lines_file, parquet_file

ENDINGS = (".parquet", ".csv", ".jsonl")
TEXTS = [
    "a tent",
    'quotes " and ""',
    "lines\nof\r\nall\rkinds",
    "ünï 語 😀",
    "007",
    "a tent",
    "[1, 2]",
    "nan",
    "x,y;z",
    "k",
]
CODES = ["007", "0", "1e5", "NA", "ü", "[1]", '"', "a\nb", "10", "x"]


@pytest.fixture(autouse=True)
def groups_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of this module have several groups."""
    monkeypatch.setattr(file_job, "GROUP_ROWS", 3)


def bits(matrix: Any) -> Any:
    return np.ascontiguousarray(matrix, np.float32).view(np.uint32).tolist()


@pytest.mark.parametrize("written", ENDINGS)
@pytest.mark.parametrize("read", ENDINGS)
def test_every_kind_becomes_every_kind_with_the_same_texts_and_the_vectors_of_a_frame(
    offline: Session, tmp_path: Path, read: str, written: str
) -> None:
    source = write_table(tmp_path / f"in{read}", {"code": CODES, "text": TEXTS})
    provenance, summary = run(offline, source, target := tmp_path / f"out{written}")
    expected: Any = offline.embed(TEXTS, dimension=SIZE)
    assert column_in(target, "text") == TEXTS
    assert column_in(target, "code") == CODES
    assert bits(vectors_in(target)) == bits(expected.vec.matrix)
    assert provenance == expected.vec.provenance
    assert (summary.rows, summary.new, summary.cached) == (10, 9, 1)  # the tent, from another group
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))] == [target.name]
    if written != ".jsonl":
        loaded: Any = vn_magic.load(target)
        assert loaded.vec.provenance == provenance
        assert list(loaded.columns) == ["code", "text", "embedding"]


def test_parquet_to_parquet_leaves_every_type_and_every_value_as_it_is(offline: Session, tmp_path: Path) -> None:
    zoned = pa.timestamp("ns", "Europe/Berlin")
    schema = pa.schema(
        {
            "text": pa.large_string(),
            "when": zoned,
            "kind": pa.dictionary(pa.int8(), pa.string(), ordered=True),
            "tags": pa.list_(pa.struct({"a": pa.int16(), "b": pa.list_(pa.string())})),
            "money": pa.decimal128(9, 3),
            "bytes": pa.binary(),
            "day": pa.date32(),
            "id": pa.uint64(),
            "flag": pa.bool_(),
            "half": pa.float32(),
            "nothing": pa.null(),
            "map": pa.map_(pa.string(), pa.int32()),
        },
        metadata={"mine": "kept"},
    )
    schema = schema.set(7, schema.field("id").with_nullable(False).with_metadata({"unit": "m"}))
    kinds = pa.DictionaryArray.from_arrays(pa.array([2, None, 1, 2], pa.int8()), ["never", "low", "high"], ordered=True)
    columns = [
        ["a", "b", "c", "d"],
        [1, 2**60 + 1, None, 0],
        kinds,
        [[{"a": 1, "b": ["x", None]}], None, [], [None]],
        [Decimal("1.500"), None, Decimal("-2.001"), Decimal(0)],
        [b"\xff\x00", b"", None, b"x"],
        [dt.date(2026, 5, 16), None, dt.date(1, 1, 1), dt.date(9999, 12, 31)],
        [2**64 - 1, 0, 2**53 + 1, 7],
        [True, None, False, True],
        [0.1, float("nan"), None, float("-inf")],
        [None] * 4,
        [[("k", 1)], None, [], [("l", None)]],
    ]
    table = pa.table(
        [pa.array(c, f.type) if c is not kinds else c for c, f in zip(columns, schema, strict=True)], schema
    )
    pq.write_table(table, source := tmp_path / "in.parquet", row_group_size=2)
    run(offline, source, target := tmp_path / "out.parquet")
    before, after = pq.read_table(source), pq.read_table(target)
    assert after.schema.names == [*before.schema.names, "embedding"]
    assert after.schema.field("embedding").type == pa.list_(pa.float32())
    carried = after.drop_columns("embedding")
    assert carried.schema.remove_metadata() == before.schema.remove_metadata()
    assert carried.schema.field("id").metadata == before.schema.field("id").metadata
    assert after.schema.metadata[b"mine"] == b"kept"
    assert carried.drop_columns("half").equals(before.drop_columns("half"))
    halves = [np.array(each["half"].to_pylist(), np.float32) for each in (before, carried)]
    assert bits(halves[0]) == bits(halves[1])
    assert carried["kind"].unify_dictionaries().chunk(0).dictionary.to_pylist() == ["never", "low", "high"]


def test_a_frame_of_pandas_comes_back_with_its_index_its_notes_and_its_older_vectors(
    offline: Session, tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        {"text": pd.Categorical(["a", "b", "c", "d"]), "old": list(np.eye(4, dtype=np.float32))},
        index=pd.MultiIndex.from_tuples([(1, "x"), (1, "y"), (2, "x"), (2, "y")], names=["n", "m"]),
    )
    frame.attrs["mine"] = {"a": [1]}
    older = Provenance("elsewhere", "some-model", None, 4, unit_length=True)
    state_provenance(frame, "old", older)
    frame.to_parquet(source := tmp_path / "in.parquet")
    provenance, _ = run(offline, source, target := tmp_path / "out.parquet")
    for read in (pd.read_parquet, vn_magic.load):
        found: Any = read(target)
        assert found.index.equals(frame.index)
        assert found["text"].dtype == frame["text"].dtype
        assert found["embedding"].vec.provenance == provenance
    found = pd.read_parquet(target)
    assert (found["old"].vec.provenance, found.attrs["mine"]) == (older, {"a": [1]})
    nearest = found[["text", "embedding"]].vec.nearest(found["embedding"].iloc[2], k=1)
    assert nearest.index.tolist() == [(2, "x")]


@pytest.mark.parametrize("names", [[0, 1], pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")])])
def test_columns_that_pandas_does_not_name_by_a_text_are_found_by_the_name_in_the_file(
    offline: Session, tmp_path: Path, names: Any
) -> None:
    frame = pd.DataFrame([["a", 1], ["b", 2]])
    frame.columns = names
    frame.to_parquet(source := tmp_path / "in.parquet")
    column = pq.read_schema(source).names[0]
    run(offline, source, target := tmp_path / "out.parquet", column)
    assert column_in(target, column) == ["a", "b"]
    assert len(pd.read_parquet(target).columns) == 3


def test_csv_with_a_byte_order_mark_any_line_ends_blank_lines_and_another_separator_is_read_as_it_is(
    offline: Session, tmp_path: Path
) -> None:
    long = "x" * 200_000
    source = tmp_path / "in.csv"
    source.write_bytes(
        b'\xef\xbb\xbf"text";n\r\n"a ""b"";\r\nc";007\r\n\r\n;8\n'.replace(b"\n;8", b'\n" ";8') + b"d\xc3\xbc;\r"
    )
    with source.open("ab") as file:
        file.write(f"\n{long};NULL".encode())
    run(offline, source, target := tmp_path / "out.jsonl", separator=";", on_error="keep")
    assert column_in(target, "text") == ['a "b";\r\nc', " ", "dü", long]
    assert column_in(target, "n") == ["007", "8", "", "NULL"]
    assert column_in(target, "error") == [None, "blank", None, None]


def test_json_lines_keep_how_their_values_are_spelled_and_get_types_in_parquet(
    offline: Session, tmp_path: Path
) -> None:
    source = tmp_path / "in.ndjson"
    lines = [
        '{"text": "a", "x": 1.50, "id": 123456789012345678901234567890, "o": {"b":1, "a":[null,1e3]}}',
        "",
        '{"o":null,"text":"\\u00fc\\ud83d\\ude00"}\r',
        "   ",
        '{"new": true, "text": "c", "x": -0.0}',
        '{"text": "d", "x": 2, "new": null}',
    ]
    source.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    run(offline, source, target := tmp_path / "out.jsonl")
    told = target.read_text(encoding="utf-8").splitlines()
    heads = [line.partition(',"embedding":[')[0] for line in told]
    assert heads == [
        '{"text":"a","x":1.50,"id":123456789012345678901234567890,"o":{"b":1, "a":[null,1e3]}',
        '{"o":null,"text":"\\u00fc\\ud83d\\ude00"',
        '{"new":true,"text":"c","x":-0.0',
        '{"text":"d","x":2,"new":null',
    ]
    assert column_in(target, "text") == ["a", "ü😀", "c", "d"]
    source.write_text("\n".join(lines).replace("123456789012345678901234567890", "12"), encoding="utf-8")
    run(offline, source, table := tmp_path / "out.parquet")
    found = pq.read_table(table)
    assert found.schema.names == ["text", "x", "id", "o", "new", "embedding"]
    assert [str(found.schema.field(name).type) for name in ("x", "id", "new")] == ["double", "int64", "bool"]
    assert found["x"].to_pylist() == [1.5, None, 0.0, 2.0]
    assert found["o"].to_pylist() == [{"b": 1, "a": [None, 1000.0]}, None, None, None]


def test_numbers_times_and_gaps_of_parquet_are_texts_in_csv_and_pandas_knows_what_they_were(
    offline: Session, tmp_path: Path
) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b", "c", "d"]),
            "n": pa.array([1, None, -(2**53) - 1, 4]),
            "x": pa.array([0.1, float("nan"), float("inf"), None]),
            "yes": pa.array([True, None, False, True]),
            "when": pa.array([1, None, 0, 2**60 + 1], pa.timestamp("ns", "UTC")),
            "big": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
            "cost": pa.array([Decimal("1.50"), None, Decimal(0), Decimal(2)]),
        }
    )
    pq.write_table(table, source := tmp_path / "in.parquet")
    run(offline, source, target := tmp_path / "out.csv")
    loaded = vn_magic.load(target)
    assert loaded["n"].tolist() == [1, pd.NA, -(2**53) - 1, 4]
    assert [str(value) for value in loaded["x"]] == ["0.1", "nan", "inf", "nan"]
    assert loaded["yes"].tolist() == [True, pd.NA, False, True]
    assert column_in(target, "big") == ["18446744073709551615", None, "0", "1"]
    assert column_in(target, "cost") == ["1.50", None, "0.00", "2.00"]
    assert column_in(target, "when")[3] == "2006-07-14 23:58:24.606846977Z"


def test_what_json_has_no_number_for_is_null_or_an_error_that_names_the_row_and_never_zero(
    offline: Session, tmp_path: Path
) -> None:
    table = pa.table({"text": list("abcde"), "x": [0.5, float("nan"), None, 1.0, 2.0]})
    pq.write_table(table, source := tmp_path / "in.parquet")
    run(offline, source, target := tmp_path / "out.jsonl")
    assert column_in(target, "x") == [0.5, None, None, 1.0, 2.0]
    pq.write_table(table.set_column(1, "x", pa.array([0.5, 1.0, 2.0, 3.0, float("-inf")])), source)
    with pytest.raises(InputError, match="Row 4 has -inf in the column 'x', and JSON has no such number"):
        run(offline, source, tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()


@pytest.mark.parametrize("written", ENDINGS)
@pytest.mark.parametrize(("name", "content"), [("in.csv", b"text,n\n"), ("in.jsonl", b"\n"), ("in.parquet", b"")])
def test_a_file_without_rows_becomes_a_file_without_rows(
    offline: Session, tmp_path: Path, name: str, content: bytes, written: str
) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    if name == "in.parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), source)
    provenance, summary = run(offline, source, target := tmp_path / f"out{written}")
    assert summary.rows == 0
    if written == ".parquet":
        loaded: Any = vn_magic.load(target)
        assert (loaded.vec.matrix.shape, loaded.vec.provenance) == ((0, SIZE), provenance)
    else:
        assert len(target.read_text(encoding="utf-8").splitlines()) == (1 if written == ".csv" else 0)


@pytest.mark.parametrize("written", ENDINGS)
def test_under_keep_a_row_that_cannot_be_sent_has_no_vector_and_a_reason(
    offline: Session, tmp_path: Path, written: str
) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c", "d", " ", "f", None]}), source)
    _, summary = run(offline, source, target := tmp_path / f"out{written}", on_error="keep")
    assert column_in(target, "error") == [None, "missing", None, None, "blank", None, "missing"]
    assert np.isnan(vectors_in(target)).any(axis=1).tolist() == [False, True, False, False, True, False, True]
    assert summary.failed == 3


def test_progress_is_of_the_whole_file_and_the_summary_is_the_sum_of_its_groups(
    offline: Session, tmp_path: Path
) -> None:
    source = write_table(tmp_path / "in.csv", {"text": [f"text {number}" for number in range(8)]})
    offline.embed(["text 1", "text 7"], dimension=SIZE)
    _, summary = run(offline, source, tmp_path / "out.csv", watcher=(log := Log()))
    assert log.looked_at == [3, 6, 8]
    assert {event.rows for event in log.events} == {8}
    done = [event.done for event in log.events]
    assert (done, done[-1]) == (sorted(done), 8)
    assert (log.events[-1].cached, log.events[-1].requests) == (2, 6)
    assert (summary.new, summary.cached, summary.requests, summary.failed) == (6, 2, 6, 0)


@pytest.mark.parametrize(
    ("module", "group", "name"),
    [
        (csv_file, "CsvGroup", "in.csv"),
        (json_lines_file, "JsonLinesGroup", "in.jsonl"),
        (parquet_file, "ParquetGroup", "in.parquet"),
    ],
)
def test_no_more_than_two_groups_are_in_memory_however_long_the_file_is(
    offline: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, group: str, name: str
) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Counted(getattr(module, group)):  # type: ignore[misc] - it is each of the three
        def __init__(self, *arguments: Any) -> None:
            nonlocal most
            super().__init__(*arguments)
            alive.add(self)
            most = max(most, len(alive))

    monkeypatch.setattr(module, group, Counted)
    source = write_table(tmp_path / name, {"text": [f"text {number}" for number in range(40)]})
    _, summary = run(offline, source, tmp_path / "out.jsonl")
    assert summary.rows == 40
    assert most == 2


def test_a_group_is_bounded_by_bytes_too(offline: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_job, "GROUP_ROWS", 1000)
    monkeypatch.setattr(file_job, "GROUP_BYTES", 40 * 4 * SIZE)
    texts = [f"{number} " + 1000 * "x" for number in range(200)]
    for name in ("in.csv", "in.jsonl", "in.parquet"):
        source = write_table(tmp_path / name, {"text": texts})
        run(offline, source, target := tmp_path / f"{name}.jsonl", watcher=(log := Log()))
        assert max(np.diff([0, *log.looked_at])) <= 25  # of a thousand bytes each
        assert column_in(target, "text") == texts


def test_without_pyarrow_parquet_is_one_line_and_the_other_kinds_work(tmp_path: Path) -> None:
    write_table(tmp_path / "in.csv", {"text": ["a", "b"]})
    script = """
import sys
sys.modules["pyarrow"] = None  # as if it were not installed
from vn_magic.cli import main
folder, sys.stderr = sys.argv[1], sys.stdout
for name in ("out.jsonl", "out.csv", "out.parquet"):
    print(main(["embed", f"{folder}/in.csv", "-o", f"{folder}/{name}", "--offline", "--dim", "128", "-q"]))
print(main(["embed", f"{folder}/in.parquet", "-o", f"{folder}/again.csv", "--offline"]))
"""
    message = 'vn-magic: Parquet needs pyarrow, which is not installed.\nNext: pip install "vn_magic[parquet]".\n'
    assert output_of(script, str(tmp_path)) == f"0\n0\n{message}1\n{message}1\n"
    assert len(json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])["embedding"]) == 128
