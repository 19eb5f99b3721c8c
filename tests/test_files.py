"""Frames with vectors to files and back: nothing lost, or a refusal that says what to do."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from support.engine import output_of

from vn_magic import Provenance, load
from vn_magic.exceptions import InputError, ProvenanceError
from vn_magic.frames import column_of, state_provenance

ENDINGS = ("parquet", "npz", "csv")
# One NaN, numpy's own: the sign and the payload of a NaN mean nothing.
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=True, allow_subnormal=True) | st.just(math.nan)
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
NASTY = [
    'quotes " and ""',
    "commas, semicolons; tabs\t",
    "lines\nof\r\nall\rkinds",
    "\n",
    "\r",
    "ü 語 😀 \u202e \ufeff",
    "[1, 2, 3]",
    "007",
    "1e5",
    "nan",
    "None",
    "NA",
    "null",
    "True",
    "2024-01-01",
    "  padded  ",
    "\\n \\",
    "=1+1",
    "'",
    "<b>&amp;</b>",
    "a \0 in it",
]


def provenance(dimension: int) -> Provenance:
    return Provenance("gateway.example", "gemini-embedding-001", None, dimension, unit_length=False)


def framed(matrix: NDArray[np.float32], index: Any = None, **columns: Any) -> pd.DataFrame:
    """A frame of columns around a column of vectors, which is neither the first nor the last one."""
    frame = pd.DataFrame({"text": [f"text {row}" for row in range(len(matrix))]}, index=index)
    frame["embedding"] = column_of(matrix, frame.index)
    for name, values in columns.items():
        frame[name] = values
    state_provenance(frame, "embedding", provenance(matrix.shape[1]))
    return frame


def three_rows(index: Any = None, **columns: Any) -> pd.DataFrame:
    return framed(np.arange(12, dtype=np.float32).reshape(3, 4) / 7, index, **columns)


def bits(frame: pd.DataFrame, column: str = "embedding") -> list[bytes]:
    assert {cell.dtype for cell in frame[column]} == {np.dtype(np.float32)}
    return [cell.tobytes() for cell in frame[column]]


def assert_comes_back(frame: pd.DataFrame, path: Path, **how: Any) -> pd.DataFrame:
    assert frame.vec.save(path) == path
    loaded = load(path)
    assert list(loaded.columns) == list(frame.columns)
    assert bits(loaded) == bits(frame)
    assert loaded.vec.provenance == frame.vec.provenance
    pd.testing.assert_frame_equal(
        loaded.drop(columns="embedding"),
        frame.drop(columns="embedding"),
        **{"check_exact": True, "check_freq": False, **how},
    )
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return loaded


@pytest.fixture(params=ENDINGS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files" / f"vectors.{request.param}"


# Vectors


@pytest.mark.parametrize("ending", ENDINGS)
@given(matrix=hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=FLOATS))
@settings(max_examples=40)
def test_vectors_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, ending: str, matrix: NDArray[np.float32]
) -> None:
    frame = framed(matrix)
    loaded = load(frame.vec.save(tmp_path_factory.getbasetemp() / f"bits.{ending}"))
    assert bits(loaded) == [row.tobytes() for row in matrix]


def test_the_ends_of_float32_zeros_with_a_sign_and_failed_rows_come_back(path: Path) -> None:
    ends = np.finfo(np.float32)
    row = [ends.max, ends.min, ends.tiny, -ends.smallest_subnormal, -0.0, 1 / 3]
    assert_comes_back(framed(np.array([row, [math.nan] * 6, row[::-1]], dtype=np.float32)), path)


def test_the_longest_vectors_come_back(path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal((3, 3072)).astype(np.float32)
    assert_comes_back(framed(matrix), path)


def test_loaded_vectors_are_read_only_views_into_one_matrix(path: Path) -> None:
    loaded = load(three_rows().vec.save(path))
    assert np.shares_memory(loaded.vec.matrix, loaded["embedding"][1])
    with pytest.raises(ValueError, match="read-only"):
        loaded["embedding"][0][0] = 1


def test_rows_are_saved_in_the_order_and_number_that_they_have_now(path: Path) -> None:
    frame = three_rows().iloc[[2, 0, 2]]
    assert_comes_back(frame, path)


def test_a_series_of_vectors_is_saved_with_its_provenance(path: Path) -> None:
    frame = three_rows(index=["x", "y", "z"])
    loaded = load(frame["embedding"].vec.save(path))
    assert list(loaded.columns) == ["embedding"]
    assert bits(loaded) == bits(frame)
    assert loaded.index.tolist() == ["x", "y", "z"]
    assert loaded.vec.provenance == frame.vec.provenance


def test_a_renamed_column_of_vectors_is_saved_under_its_name(path: Path) -> None:
    frame = three_rows().rename(columns={"embedding": "vectors, \u00e9"})
    frame.vec.provenance = provenance(4)
    loaded = load(frame.vec.save(path))
    assert bits(loaded, "vectors, \u00e9") == bits(frame, "vectors, \u00e9")
    assert loaded.vec.provenance == provenance(4)


def test_a_file_that_was_loaded_is_saved_again_the_same(path: Path) -> None:
    frame = three_rows(number=[1.5, math.nan, 3])
    assert_comes_back(load(frame.vec.save(path)), path)


# Everything beside them


COLUMNS: dict[str, Any] = {
    "int": [1, -(2**63), 2**63 - 1],
    "small int": np.array([0, 255, 7], dtype=np.uint8),
    "unsigned": np.array([0, 2**64 - 1, 7], dtype=np.uint64),
    "float": [0.1 + 0.2, 1e-300, -0.0],
    "float gaps": [math.nan, math.inf, -math.inf],
    "float32": np.array([0.1, 3e38, 1e-45], dtype=np.float32),
    "bool": [True, False, True],
    "datetime": pd.to_datetime(["2024-02-29T23:59:59.123456789", None, "1970-01-01"], format="ISO8601"),
    "microseconds": pd.Series(["2024-02-29T23:59:59.123456", None, "1970-01-01"], dtype="datetime64[us]"),
    "zone": pd.to_datetime(pd.Series(["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z", None]), utc=True).dt.tz_convert(
        "Europe/Berlin"
    ),
    "duration": pd.to_timedelta([1, None, 86_400_000_000_001], unit="ns"),
    "category": pd.Categorical(["b", None, "a"], categories=["b", "a", "unused"]),
    "ordered": pd.Categorical(["low", "high", "low"], categories=["low", "high"], ordered=True),
    "category of numbers": pd.Categorical([3, None, 1], categories=[3, 1, 2]),
    "nullable int": pd.array([1, None, 3], dtype="Int64"),
    "nullable bool": pd.array([True, None, False], dtype="boolean"),
    "nullable float": pd.array([0.1, None, 3], dtype="Float64"),
    "nullable text": pd.array(["a", None, ""], dtype="string"),
    "codes": ["007", "0", "1e3"],
    "empty": ["", "", "x"],
    "missing": ["NA", None, "None"],
    "empty and missing": ["", None, "x"],
    "all missing": [None, None, None],
    "text among objects": pd.Series(["a", None, "007"], dtype=object),
}


@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS)
def test_a_column_comes_back_with_its_type(path: Path, values: Any) -> None:
    assert_comes_back(three_rows(column=values), path)


@pytest.mark.parametrize("values", [["", None, "x"], [1, "1", None], [True, 1, 1.0], [[1, "a"], {}, {"b": [None]}]])
@pytest.mark.parametrize("ending", ["npz", "csv"])
def test_a_column_of_mixed_objects_comes_back_with_every_cell_s_type(
    tmp_path: Path, ending: str, values: list[Any]
) -> None:
    frame = three_rows(column=pd.Series(values, dtype=object))
    frame.vec.save(tmp_path / f"f.{ending}")
    loaded = load(tmp_path / f"f.{ending}")["column"]
    assert loaded.tolist() == values
    assert [type(cell) for cell in loaded] == [type(value) for value in values]


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_come_back_as_cells_index_and_names_of_columns(path: Path, text: str) -> None:
    frame = three_rows(index=pd.Index(["first", text, "last"]), **{text: [text, None, text + text]})
    assert_comes_back(frame, path)


@pytest.mark.parametrize("ending", ENDINGS)
@given(texts=st.lists(TEXTS | st.none(), min_size=1, max_size=5))
@settings(max_examples=40)
def test_any_texts_come_back(tmp_path_factory: pytest.TempPathFactory, ending: str, texts: list[str | None]) -> None:
    frame = framed(np.ones((len(texts), 2), dtype=np.float32), column=pd.Series(texts, dtype="str"))
    loaded = load(frame.vec.save(tmp_path_factory.getbasetemp() / f"texts.{ending}"))
    assert [None if pd.isna(text) else text for text in loaded["column"]] == texts


@pytest.mark.parametrize("ending", ["npz", "csv"])
def test_numbers_that_are_names_of_columns_stay_numbers(tmp_path: Path, ending: str) -> None:
    frame = three_rows()
    frame.columns = pd.Index([2024, "embedding"], dtype=object)
    assert_comes_back(frame, tmp_path / f"f.{ending}")


INDEXES: dict[str, Any] = {
    "range": pd.RangeIndex(3),
    "shifted range": pd.RangeIndex(5, 11, 2),
    "named": pd.Index([3, 1, 2], name="id"),
    "texts": pd.Index(["x", "007", ""]),
    "name of a column": pd.Index(["x", "y", "z"], name="key"),
    "duplicates": pd.Index(["x", "x", "y"]),
    "floats": pd.Index([0.1, math.nan, -math.inf]),
    "dates": pd.date_range("2024-02-28", periods=3, name="day"),
    "zone": pd.date_range("2024-10-27", periods=3, freq="h", tz="Europe/Berlin"),
    "category": pd.CategoricalIndex(["b", "a", "b"], categories=["b", "a", "c"], ordered=True),
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["letter", "number"]),
    "levels without names": pd.MultiIndex.from_arrays([["x", "x", "x"], pd.to_datetime(["2024", "2025", "2025"])]),
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_the_index_comes_back(path: Path, index: pd.Index) -> None:
    assert_comes_back(three_rows(index=index), path)


@pytest.mark.parametrize("ending", ["npz", "csv"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame.assign(odd=[{1, 2}, {3}, set()]), "the column 'odd' \\(object\\)"),
        (lambda frame: frame.assign(odd=[(1,), (2,), (3,)]), "the column 'odd' \\(object\\)"),
        (lambda frame: frame.assign(odd=[b"x", b"y", b"z"]), "the column 'odd' \\(object\\)"),
        (lambda frame: frame.assign(odd=pd.period_range("2024-01", periods=3, freq="M")), "the column 'odd' \\(period"),
        (lambda frame: frame.set_index(pd.interval_range(0, 3)), "the index \\(interval"),
        (lambda frame: frame.rename(columns={"text": ("a", "b")}), "the list of columns"),
        (lambda frame: frame.rename_axis(index=[("a", "b")]), "the names of the index"),
    ],
    ids=["sets", "tuples", "bytes", "periods", "intervals", "tuple as name", "tuple as name of the index"],
)
def test_what_would_not_come_back_is_refused_by_name_and_leaves_no_file(
    tmp_path: Path, ending: str, change: Any, named: str
) -> None:
    frame = change(three_rows())
    with pytest.raises(InputError, match=f"(?s){named}.*would not come back.*Next: drop or convert"):
        frame.vec.save(tmp_path / f"f.{ending}")
    assert list(tmp_path.iterdir()) == []


def test_what_parquet_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    frame = three_rows(odd=pd.Series([1, "a", None], dtype=object))
    with pytest.raises(InputError, match=r"(?s)column odd.*Next: drop or convert that column, or choose another"):
        frame.vec.save(tmp_path / "f.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_a_frame_without_rows_comes_back(tmp_path: Path, ending: str) -> None:
    loaded = load(three_rows().iloc[:0].vec.save(tmp_path / f"f.{ending}"))
    assert (len(loaded), list(loaded.columns)) == (0, ["text", "embedding"])
    assert loaded.vec.provenance == provenance(4)
    assert loaded.vec.matrix.shape == (0, 4)


def test_a_csv_without_rows_is_refused_for_it_has_no_place_for_the_provenance(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no place for the provenance"):
        three_rows().iloc[:0].vec.save(tmp_path / "f.csv")
    assert list(tmp_path.iterdir()) == []


# The files as others see them


def test_there_is_no_pickle_in_an_npz(tmp_path: Path) -> None:
    path = three_rows(odd=["a", None, "b"], when=pd.date_range("2024", periods=3)).vec.save(tmp_path / "f.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype for name in arrays.files} == {
            "matrix": np.float32,
            "header": np.uint8,
            "others": np.uint8,
        }
        note = json.loads(arrays["header"].tobytes())
    assert {"format", "column", "provenance", "version", "time"} <= set(note)


def test_a_csv_is_read_by_anybody(tmp_path: Path) -> None:
    three_rows(index=pd.Index(["x", "y", "z"], name="key"), stars=[5, 1, 3]).vec.save(tmp_path / "f.csv")
    read = pd.read_csv(tmp_path / "f.csv")
    assert list(read.columns) == ["key", "text", "embedding", "stars", "vn_magic_saved"]
    assert read["stars"].tolist() == [5, 1, 3]
    assert read["text"].tolist() == ["text 0", "text 1", "text 2"]
    assert json.loads(read["embedding"][1]) == pytest.approx([4 / 7, 5 / 7, 6 / 7, 1])
    assert json.loads(read["vn_magic_saved"][2])["provenance"] == provenance(4).as_json()


def test_rows_that_another_tool_took_out_of_a_csv_are_left_out_and_the_rest_is_right(tmp_path: Path) -> None:
    frame = three_rows()
    lines = frame.vec.save(tmp_path / "f.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "f.csv").write_text("".join([lines[0], lines[3], lines[2]]), encoding="utf-8")
    loaded = load(tmp_path / "f.csv")
    assert bits(loaded) == bits(frame)[:0:-1]
    assert loaded["text"].tolist() == ["text 2", "text 1"]
    assert loaded.vec.provenance == provenance(4)


def test_a_parquet_file_keeps_its_provenance_for_plain_pandas(tmp_path: Path) -> None:
    frame = three_rows()
    read = pd.read_parquet(frame.vec.save(tmp_path / "f.parquet"))
    assert read.vec.provenance == provenance(4)
    assert np.array_equal(read.vec.matrix, frame.vec.matrix)


def test_files_of_one_kind_are_joined_without_losing_their_provenance(tmp_path: Path) -> None:
    parts = [load(three_rows().vec.save(tmp_path / f"part.{ending}")) for ending in ENDINGS]
    assert pd.concat([*parts, three_rows()]).vec.provenance == provenance(4)


# Failures


def test_an_older_file_is_replaced_only_by_a_complete_one(path: Path) -> None:
    three_rows().vec.save(path)
    before = path.read_bytes()
    broken = three_rows(odd=[{1}, 2, object()])
    with pytest.raises(InputError):
        broken.vec.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert_comes_back(three_rows(number=[1, 2, 3]), path)


def test_a_folder_that_is_not_there_or_no_folder_is_named_kindly(path: Path) -> None:
    for folder in (path.parent / "none", Path(__file__)):
        with pytest.raises(InputError, match=f"'{path.name}' cannot be written there: .*\n.*a folder that exists"):
            three_rows().vec.save(folder / path.name)


@pytest.mark.parametrize("name", ["f.xlsx", "f", "f.parquet.gz"])
def test_another_ending_is_refused_with_those_that_are_known(tmp_path: Path, name: str) -> None:
    for call in (three_rows().vec.save, load):
        with pytest.raises(InputError, match=r"\.parquet, \.npz, \.csv"):
            call(tmp_path / name)


def test_endings_are_known_in_capitals_too(tmp_path: Path) -> None:
    assert bits(load(three_rows().vec.save(tmp_path / "F.NPZ"))) == bits(three_rows())


def test_a_file_that_is_not_there_is_named_kindly(path: Path) -> None:
    with pytest.raises(InputError, match=f"no file '{path.name}' there"):
        load(path)


def test_vectors_of_lost_provenance_are_not_saved(path: Path) -> None:
    frame = three_rows()
    frame.attrs.clear()
    with pytest.raises(ProvenanceError, match=r"state it"):
        frame.vec.save(path)
    assert list(path.parent.iterdir()) == []


def _foreign_csv(path: Path) -> None:
    pd.DataFrame({"text": ["a"], "embedding": ["[1, 2]"]}).to_csv(path)


def _foreign_parquet(path: Path) -> None:
    pd.DataFrame({"text": ["a"], "embedding": [[1.0, 2.0]]}).to_parquet(path)


def _foreign_npz(path: Path) -> None:
    np.savez(path, matrix=np.ones((2, 2)))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _letter(path: Path) -> None:
    path.write_text("Dear friend,\n\nthis is a letter, \x00 no table.\n" * 20, encoding="utf-8")


def _folder(path: Path) -> None:
    path.mkdir()


def _cut(path: Path) -> None:
    three_rows().vec.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("make", [_empty, _letter, _folder, _cut])
def test_a_file_that_is_no_file_of_vectors_is_refused_kindly(path: Path, make: Any) -> None:
    make(path)
    with pytest.raises(InputError, match=f"'{path.name}' cannot be read as a file of vectors") as caught:
        load(path)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("name", "make"), [("f.csv", _foreign_csv), ("f.parquet", _foreign_parquet), ("f.npz", _foreign_npz)]
)
def test_a_table_of_somebody_else_s_is_refused_kindly(tmp_path: Path, name: str, make: Any) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=r"it has no note by df\.vec\.save"):
        load(tmp_path / name)


def test_an_npz_with_a_pickle_is_refused_and_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "f.npz", header=np.array([Trap()], dtype=object), matrix=np.ones((1, 1)), others=[1])
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "f.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_file_of_a_newer_format_says_so(tmp_path: Path) -> None:
    path = three_rows().vec.save(tmp_path / "f.csv")
    path.write_text(path.read_text(encoding="utf-8").replace('""format"": 1', '""format"": 2'), encoding="utf-8")
    with pytest.raises(InputError, match="of format 2, and this version reads format 1"):
        load(path)


def test_a_damaged_npz_is_refused_by_its_checksum(tmp_path: Path) -> None:
    path = three_rows().vec.save(tmp_path / "f.npz")
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("matrix.npy").header_offset + 200
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="cannot be read"):
        load(path)


def test_without_pyarrow_parquet_names_the_cure_and_the_other_endings_work(tmp_path: Path) -> None:
    three_rows().vec.save(tmp_path / "f.parquet")
    script = """
import sys
sys.modules["pyarrow"] = None  # as if it were not installed
from pathlib import Path
import vn_magic
from vn_magic.exceptions import InputError

folder = Path(sys.argv[1])
session = vn_magic.Session(offline=True)
frame = session.embed(["a", "b"], dimension=128)
session.close()
for call in (frame.vec.save, vn_magic.load):
    try:
        call(folder / "f.parquet")
    except InputError as error:
        print(error)
for name in ("f.npz", "f.csv"):
    loaded = vn_magic.load(frame.vec.save(folder / name))
    print((loaded.vec.matrix == frame.vec.matrix).all(), loaded["text"].tolist(), loaded.vec.provenance.source)
"""
    message = 'Parquet needs pyarrow, which is not installed.\nNext: pip install "vn_magic[parquet]", or save as .npz,'
    lines = output_of(script, str(tmp_path))
    assert lines.count(message) == 2
    assert lines.count("True ['a', 'b'] offline-lexical") == 2
