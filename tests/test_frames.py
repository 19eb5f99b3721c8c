"""What users have, taken apart and put together again: texts out of containers, vectors into frames."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vn_magic import Embeddings, Provenance
from vn_magic.exceptions import InputError, ProvenanceError
from vn_magic.frames import (
    column_of,
    is_vector_column,
    matrix_of,
    provenance_of,
    source_of,
    state_provenance,
    to_frame,
)
from vn_magic.progress import JobSummary
from vn_magic.rows import split_rows

PROVENANCE = Provenance("gateway.example", "gemini-embedding-001", "CLUSTERING", 4, unit_length=True)
INDEXES = {
    "range": pd.RangeIndex(3),
    "odd": pd.Index([7, -1, 7000], name="id"),
    "texts": pd.Index(["x", "y", "z"]),
    "dates": pd.date_range("2024-02-28", periods=3),
    "duplicates": pd.Index([1, 1, 0]),
    "gaps": pd.Index([1.0, np.nan, np.nan]),
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["letter", None]),
}


ARROW_TEXT = pd.ArrowDtype(pa.string())


def texts_of(data: object, column: str | None = None) -> list[object]:
    return list(source_of(data, column).values)


def embeddings(texts: list[str | None], errors: dict[int, str] | None = None) -> Embeddings:
    matrix = np.arange(4 * len(texts), dtype=np.float32).reshape(-1, 4) + 1
    matrix[list(errors or ())] = np.nan
    summary = JobSummary(len(texts), len(texts), 0, 0, 0, 0, 0, 0, 0, tokens_estimated=False, seconds=0.0)
    return Embeddings(texts, matrix, PROVENANCE, errors or {}, summary)


def framed(data: object, column: str | None = None) -> pd.DataFrame:
    return to_frame(embeddings([str(value) for value in texts_of(data, column)]), source_of(data, column))


def with_vectors(rows: int = 6) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """A frame of vectors and an equal matrix that shares nothing with it."""
    frame = framed([f"text {row}" for row in range(rows)])
    frame["number"] = range(rows)
    return frame, np.stack(list(frame["embedding"])).copy()


# Texts out of containers


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
@pytest.mark.parametrize("name", [None, "review", 3])
def test_a_series_gives_its_texts_and_keeps_its_name_and_index(index: pd.Index, name: object) -> None:
    series = pd.Series(["a", "b", "c"], index=index, name=name)
    before = series.copy()
    frame = framed(series)
    assert texts_of(series) == ["a", "b", "c"]
    assert list(frame.columns) == ["text" if name is None else name, "embedding"]
    pd.testing.assert_index_equal(frame.index, index)
    assert frame.iloc[:, 0].tolist() == ["a", "b", "c"]
    assert [vector[0] for vector in frame["embedding"]] == [1, 5, 9]
    pd.testing.assert_series_equal(series, before)


@pytest.mark.parametrize(
    "data",
    [
        ["a", "b"],
        ("a", "b"),
        np.array(["a", "b"]),
        np.array(["a", "b"], dtype=object),
        pd.Index(["a", "b"], name="other"),
        pd.CategoricalIndex(["a", "b"]),
    ],
    ids=lambda data: f"{type(data).__name__} {getattr(data, 'dtype', '')}",
)
def test_lists_arrays_and_indexes_give_a_frame_with_a_fresh_index(data: object) -> None:
    frame = framed(data)
    assert frame["text"].tolist() == ["a", "b"]
    assert frame.index.tolist() == [0, 1]
    assert list(frame.columns) == ["text", "embedding"]


def test_one_text_is_one_row_and_not_its_letters() -> None:
    assert framed("abc")["text"].tolist() == ["abc"]


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category", ARROW_TEXT])
def test_every_kind_of_text_column_gives_its_texts_and_keeps_its_dtype(dtype: Any) -> None:
    series = pd.Series(["a", "b", "a"], dtype=dtype)
    assert texts_of(series) == ["a", "b", "a"]
    assert {type(value) for value in texts_of(series)} == {str}
    assert framed(series)["text"].dtype == series.dtype


@pytest.mark.parametrize("dtype", ["object", "string", "category", ARROW_TEXT])
def test_missing_texts_come_out_as_missing(dtype: Any) -> None:
    first, second = texts_of(pd.Series(["a", None], dtype=dtype))
    assert first == "a"
    assert pd.isna(second)


def test_a_frame_gives_the_named_column_and_everything_else_comes_along() -> None:
    frame = pd.DataFrame(
        {
            "review": ["good", "bad"],
            "stars": np.array([5, 1], dtype=np.int8),
            "when": pd.to_datetime(["2024-01-01", "2024-01-02"]),
            "kind": pd.Categorical(["x", "y"]),
            "maybe": pd.array([True, None], dtype="boolean"),
            7: [0.5, np.nan],
        },
        index=pd.Index(["r1", "r2"], name="key"),
    )
    before = frame.copy()
    result = framed(frame, "review")
    pd.testing.assert_frame_equal(result.drop(columns="embedding"), before)
    assert list(result.columns) == [*before.columns, "embedding"]
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == {}


def test_the_result_of_a_frame_is_a_copy() -> None:
    frame = pd.DataFrame({"text": ["a", "b"]})
    result = framed(frame, "text")
    result.loc[0, "text"] = "changed"
    assert frame["text"].tolist() == ["a", "b"]


def test_the_columns_of_a_csv_cell_come_along_after_its_texts() -> None:
    frame = framed(split_rows("id,text\n007,a\n008,b", "csv"))
    assert list(frame.columns) == ["text", "id", "embedding"]
    assert frame["id"].tolist() == ["007", "008"]


def test_the_values_of_a_jsonl_cell_keep_their_types() -> None:
    body = '{"text": "a", "n": 1, "tags": ["x"]}\n{"text": "b", "n": 2, "tags": []}'
    frame = framed(split_rows(body, "jsonl"))
    assert (frame["n"].tolist(), frame["tags"].tolist()) == ([1, 2], [["x"], []])
    assert frame["n"].dtype == np.int64


@pytest.mark.parametrize("column", ["embedding", "error"])
@pytest.mark.parametrize("kind", ["frame", "series", "rows"])
def test_a_column_that_the_result_would_replace_is_refused(kind: str, column: str) -> None:
    data, named = {
        "frame": (pd.DataFrame({"text": ["a"], column: [1]}), "text"),
        "series": (pd.Series(["a"], name=column), None),
        "rows": (split_rows(f"text,{column}\na,1", "csv"), None),
    }[kind]
    with pytest.raises(InputError, match=rf"a column '{column}' already.*\n.*drop|a column '{column}' already"):
        source_of(data, named)


@pytest.mark.parametrize(
    ("data", "column", "message"),
    [
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), None, "needs the column of its texts; it has 'a', 'b'"),
        (pd.DataFrame({"a": ["x"]}), "b", "no column 'b'; the frame has 'a'"),
        (pd.DataFrame(), None, "it has no columns"),
        (pd.DataFrame([["x", "y"]], columns=["a", "a"]), "a", "several columns called 'a'"),
        (pd.DataFrame({f"c{n}": ["x"] for n in range(20)}), None, r"'c11', …"),
        (["a"], "text", "for a DataFrame only, and this is a list"),
        (np.array([["a"], ["b"]]), None, "The array has 2 dimensions"),
        (np.array("a"), None, "The array has 0 dimensions"),
        (pd.MultiIndex.from_tuples([("a", "b")]), None, "A MultiIndex cannot be embedded"),
        ({"a": "b"}, None, "A dict cannot be embedded"),
        ({"a"}, None, "A set cannot be embedded"),
        (None, None, "A NoneType cannot be embedded"),
        (7, None, "A int cannot be embedded"),
        ((text for text in "ab"), None, "A generator cannot be embedded"),
        (b"bytes", None, "A bytes cannot be embedded"),
    ],
)
def test_what_cannot_be_embedded_is_refused_with_what_can(data: object, column: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        source_of(data, column)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("values", [["a", ["b"]], ["a", np.array([1, 2])], [["a", "b"], ["c", "d"]], [b"a", 1, None]])
def test_odd_cells_are_handed_on_for_the_check_of_texts(values: list[object]) -> None:
    assert texts_of(values) == values
    assert len(source_of(values).frame) == len(values)


# Vectors into frames


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_vectors_stand_beside_their_own_rows_whatever_the_index(index: pd.Index) -> None:
    frame = framed(pd.DataFrame({"text": ["a", "b", "c"]}, index=index), "text")
    assert [vector.tolist() for vector in frame["embedding"]] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    pd.testing.assert_index_equal(frame.index, index)


def test_cells_are_read_only_float32_views_into_one_matrix() -> None:
    result = embeddings(["a", "b"])
    frame = to_frame(result, source_of(["a", "b"]))
    for cell in frame["embedding"]:
        assert (cell.dtype, cell.shape) == (np.float32, (4,))
        assert np.shares_memory(cell, result.matrix)
        with pytest.raises(ValueError, match="read-only"):
            cell[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            cell.flags.writeable = True


def test_errors_stand_beside_their_rows_and_none_beside_the_others() -> None:
    frame = to_frame(embeddings(["a", None, "b"], {1: "blank"}), source_of(["a", "", "b"]), with_errors=True)
    assert frame["error"].tolist() == [None, "blank", None]
    assert list(frame.columns) == ["text", "embedding", "error"]
    assert np.isnan(frame["embedding"][1]).all()


def test_no_rows_make_an_empty_frame_with_the_same_columns() -> None:
    frame = framed([])
    assert (list(frame.columns), len(frame)) == (["text", "embedding"], 0)
    assert provenance_of(frame, "embedding") == PROVENANCE


# The matrix of a column


def test_the_matrix_of_untouched_rows_is_a_view() -> None:
    frame, expected = with_vectors()
    matrix = matrix_of(frame["embedding"])
    assert np.array_equal(matrix, expected)
    assert np.shares_memory(matrix, frame["embedding"][0])
    assert not matrix.flags.writeable


@pytest.mark.parametrize("part", [slice(2, 5), slice(0, 1), slice(5, None)], ids=str)
def test_the_matrix_of_consecutive_rows_is_a_view(part: slice) -> None:
    frame, expected = with_vectors()
    matrix = matrix_of(frame.iloc[part]["embedding"])
    assert np.array_equal(matrix, expected[part])
    assert np.shares_memory(matrix, frame["embedding"][3 if part.start == 2 else (part.start or 0)])


def rows_of(matrix: Iterable[NDArray[np.float32]]) -> pd.Series:
    """A column of row views, and nothing that says where they come from."""
    return pd.Series([*matrix, None], dtype=object, name="v").iloc[:-1]


OWNERS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "itself": lambda: np.arange(24, dtype=np.float32).reshape(6, 4).copy(),
    "of one axis": lambda: np.arange(24, dtype=np.float32).reshape(6, 4),
    "of more rows": lambda: np.arange(60, dtype=np.float32).reshape(15, 4).copy()[5:11],
    "of three axes": lambda: np.arange(48, dtype=np.float32).reshape(2, 6, 4).copy()[1],
    "with failed rows": lambda: np.where(np.arange(6)[:, np.newaxis] == 2, np.nan, np.ones((6, 4))).astype(np.float32),
}


@pytest.mark.parametrize("make", OWNERS.values(), ids=OWNERS)
def test_the_matrix_is_a_view_that_is_closed_for_writing_whoever_owns_the_values(
    make: Callable[[], NDArray[np.float32]],
) -> None:
    values = make()
    for column in (column_of(values, pd.RangeIndex(6)), rows_of(values)):
        matrix = matrix_of(column)
        assert np.array_equal(matrix, values, equal_nan=True)
        assert all(np.shares_memory(row, cell) for row, cell in zip(matrix, column, strict=True))
        assert not matrix.flags.writeable


def test_the_matrix_of_rows_in_order_is_found_without_a_second_one() -> None:
    values = np.random.default_rng(0).standard_normal((20_000, 256), dtype=np.float32)
    column = column_of(values, pd.RangeIndex(20_000))
    tracemalloc.start()
    matrix_of(column)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * values.nbytes


def test_rows_that_moved_are_put_together_once() -> None:
    values = np.random.default_rng(0).standard_normal((20_000, 256), dtype=np.float32)
    column = column_of(values, pd.RangeIndex(20_000)).iloc[::-1]
    tracemalloc.start()
    matrix_of(column)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.1 * values.nbytes


LONG = 2**17  # so many values that two rows are looked at at a time


@pytest.mark.parametrize("row", range(5))
@pytest.mark.parametrize("place", [0, LONG - 1])
def test_a_cell_that_was_replaced_is_seen_wherever_it_stands(row: int, place: int) -> None:
    values = np.zeros((5, LONG), dtype=np.float32)
    column = column_of(values, pd.RangeIndex(5))
    assert np.shares_memory(matrix_of(column), values)
    other = values[row].copy()
    other[place] = -0.0  # equal to 0.0, and yet another vector
    column.iat[row] = other  # noqa: PD009 - iloc would spread the values over the rows
    matrix = matrix_of(column)
    assert np.argwhere(np.signbit(matrix)).tolist() == [[row, place]]
    assert np.signbit(values).sum() == 0


def test_a_change_of_the_values_in_place_is_seen() -> None:
    values = np.ones((3, 4), dtype=np.float32)
    column = column_of(values, pd.RangeIndex(3))
    matrix_of(column)
    values.setflags(write=True)
    values[1, 2] = 5
    assert matrix_of(column).tolist() == [[1, 1, 1, 1], [1, 1, 5, 1], [1, 1, 1, 1]]


def test_a_change_in_place_of_a_cell_that_was_an_equal_copy_is_seen() -> None:
    values = np.ones((3, 4), dtype=np.float32)
    column = column_of(values, pd.RangeIndex(3))
    own = values[1].copy()
    column.iat[1] = own  # noqa: PD009 - as above
    assert matrix_of(column).tolist() == values.tolist()
    own[2] = 5
    assert matrix_of(column).tolist() == [[1, 1, 1, 1], [1, 1, 5, 1], [1, 1, 1, 1]]


def test_a_column_without_rows_has_a_matrix_without_rows() -> None:
    assert matrix_of(column_of(np.empty((0, 4), dtype=np.float32), pd.RangeIndex(0))).size == 0


@pytest.mark.parametrize("own", [False, True])
def test_vectors_without_values_keep_their_rows(own: bool) -> None:
    cells = list(np.empty((3, 0), dtype=np.float32))
    assert matrix_of(rows_of([cell.copy() if own else cell for cell in cells])).shape == (3, 0)


Change = Callable[[pd.DataFrame], pd.DataFrame]
CHANGES: dict[str, Change] = {
    "filter": lambda frame: frame[frame["number"] % 2 == 1],
    "sort": lambda frame: frame.sort_values("text", ascending=False),
    "reverse": lambda frame: frame.iloc[::-1],
    "every second": lambda frame: frame.iloc[::2],
    "sample": lambda frame: frame.sample(frac=1, random_state=1),
    "repeat": lambda frame: frame.iloc[[3, 3, 0, 3]],
    "drop": lambda frame: frame.drop(index=[0, 4]),
    "query": lambda frame: frame.query("number > 2"),
    "head": lambda frame: frame.head(3),
    "reset": lambda frame: frame.iloc[[4, 1]].reset_index(drop=True),
    "copy": lambda frame: frame.copy(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda frame: pickle.loads(pickle.dumps(frame)),
    "concat": lambda frame: pd.concat([frame.iloc[3:], frame.iloc[:3]]),
    "concat of foreign rows": lambda frame: pd.concat([frame, with_vectors()[0].assign(number=range(6))]),
    "explode another column": lambda frame: frame.assign(tag=[["a", "b"]] * 6).explode("tag"),
    "assign": lambda frame: frame.assign(more=1),
    "groupby head": lambda frame: frame.groupby(frame["number"] % 3).head(1),
    "merge": lambda frame: frame.merge(pd.DataFrame({"number": [5, 1], "more": ["x", "y"]}), on="number"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_matrix_follows_the_rows_through_everything_that_moves_them(change: Change) -> None:
    frame, expected = with_vectors()
    moved = change(frame)
    matrix = matrix_of(moved["embedding"])
    assert (matrix.dtype, matrix.flags.c_contiguous) == (np.float32, True)
    assert np.array_equal(matrix, expected[moved["number"].to_numpy()])
    assert len(moved) > 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_matrix_follows_the_rows_in_any_order(rows: list[int]) -> None:
    frame, expected = with_vectors()
    assert np.array_equal(matrix_of(frame["embedding"].iloc[rows]), expected[rows])


def test_the_matrix_survives_parquet(tmp_path: Path) -> None:
    frame, expected = with_vectors()
    frame.to_parquet(tmp_path / "f.parquet")
    matrix = matrix_of(pd.read_parquet(tmp_path / "f.parquet")["embedding"])
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, expected)


BASE = np.arange(40, dtype=np.float32).reshape(5, 8).copy()  # the owner of its values
SQUARE = np.arange(64, dtype=np.float32).reshape(8, 8).copy()


@pytest.mark.parametrize(
    "cells",
    [
        list(BASE),
        list(BASE[:, :3]),
        list(BASE[:, ::2]),
        list(BASE[::-1]),
        [row[::-1] for row in BASE],
        list(BASE.T),
        list(BASE.astype(np.float64)),
        [row.copy() for row in BASE],
        [BASE[0], BASE[1].copy(), BASE[2]],
        [BASE[0], BASE.copy()[1]],
        list(np.asfortranarray(BASE)),
        list(BASE.reshape(10, 4)),
        [BASE.ravel()[1:9], BASE.ravel()[9:17]],
        [BASE.ravel()[36:], BASE.ravel()[:4]],
        [BASE.ravel()[32:], np.arange(8, dtype=np.float32)],
        [BASE[0], BASE[1].astype(">f4")],
        [BASE[0], BASE[1].astype(np.float16)],
        [BASE[0], BASE[1].astype(np.float64)],
        [BASE.astype(np.float16)[0], BASE.astype(np.float16)[1]],
        [BASE[0].view(np.float16)[:3]],
        list(np.arange(40, dtype=np.int32).reshape(5, 8).copy().view(np.float32)),
        [BASE[1], BASE[1]],
        [SQUARE[:, 0]],
        [SQUARE[0, ::-1], SQUARE[1, ::-1]],
    ],
    ids=str,
)
def test_cells_of_any_making_are_stacked_as_they_are(cells: list[NDArray[Any]]) -> None:
    assert np.array_equal(matrix_of(pd.Series(cells, dtype=object)), np.stack(cells).astype(np.float32))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([BASE[0], None], "Row 1 of 'v' is not a vector but NoneType"),
        ([BASE[0], float("nan")], "Row 1 of 'v' is not a vector but float"),
        ([BASE[0].copy(), "[1.0, 2.0]"], "Row 1 of 'v' is not a vector but str.*\n.*vn_magic.load"),
        ([BASE[0].copy(), BASE[0, :3].copy()], "Row 1 of 'v' has 3 values, the first row has 8"),
        ([BASE[0], BASE[1, :3]], "Row 1 of 'v' has 3 values, the first row has 8"),
        ([BASE.ravel()[:7], BASE.ravel()[7:16]], "Row 1 of 'v' has 9 values, the first row has 7"),
        ([BASE[0], BASE[1].view(np.int32)], "Row 1 of 'v' is not a vector but ndarray"),
        ([BASE[0], BASE[1].tolist()], "Row 1 of 'v' is not a vector but list"),
        ([BASE[0], BASE[1:2]], "Row 1 of 'v' is not a vector but ndarray"),
        ([np.arange(3)], "Row 0 of 'v' is not a vector but ndarray"),
        ([BASE], "Row 0 of 'v' is not a vector but ndarray"),
    ],
)
def test_a_cell_that_is_no_vector_is_named_by_its_row(cells: list[object], message: str) -> None:
    column = pd.Series([*cells, "one more, or pandas would look into the cells"], dtype=object, name="v").iloc[:-1]
    with pytest.raises(InputError, match=message):
        matrix_of(column)


def test_a_column_of_vectors_is_told_from_others_by_its_first_vector() -> None:
    vector = np.zeros(3, dtype=np.float32)
    assert is_vector_column(pd.Series([vector, vector]))
    assert is_vector_column(pd.Series([None, vector], dtype=object))
    assert is_vector_column(pd.Series([np.nan, vector], dtype=object))  # as a merge leaves it
    assert not is_vector_column(pd.Series(["a", "b"]))
    assert not is_vector_column(pd.Series(["a", vector], dtype=object))
    assert not is_vector_column(pd.Series([[1.0, 2.0]]))
    assert not is_vector_column(pd.Series([np.zeros((2, 2))], dtype=object))
    assert not is_vector_column(pd.Series([np.array(["a"])], dtype=object))
    assert not is_vector_column(pd.Series([1.0, 2.0]))
    assert not is_vector_column(pd.Series([], dtype=object))


# Provenance


def test_provenance_is_stated_a_column_and_read_back() -> None:
    frame, _ = with_vectors()
    other = Provenance("offline-lexical", "offline-lexical", None, 4, unit_length=False)
    state_provenance(frame, "second", other)
    assert (provenance_of(frame, "embedding"), provenance_of(frame, "second")) == (PROVENANCE, other)


@pytest.mark.parametrize("attrs", [{}, {"vn_magic": {}}, {"vn_magic": None}, {"vn_magic": {"other": {}}}], ids=str)
def test_a_lost_provenance_is_an_error_that_says_how_to_state_it(attrs: dict[str, Any]) -> None:
    frame, _ = with_vectors()
    frame.attrs = attrs
    with pytest.raises(ProvenanceError, match=r"(?s)not known where .*'embedding'.*df\.vec\.provenance = "):
        provenance_of(frame, "embedding")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        {},
        {**PROVENANCE.as_json(), "more": 1},
        {**PROVENANCE.as_json(), "dimension": "4"},
        {**PROVENANCE.as_json(), "dimension": True},
        {**PROVENANCE.as_json(), "unit_length": 1},
        {**PROVENANCE.as_json(), "model": None},
        {**PROVENANCE.as_json(), "task_type": 3},
    ],
    ids=str,
)
def test_what_is_no_provenance_is_not_taken_for_one(value: object) -> None:
    frame, _ = with_vectors()
    frame.attrs["vn_magic"] = {"embedding": value}
    with pytest.raises(ProvenanceError, match="This is not a provenance"):
        provenance_of(frame, "embedding")


def test_stating_a_provenance_leaves_the_notes_of_other_frames_alone() -> None:
    frame, _ = with_vectors()
    part = frame[["embedding"]]
    state_provenance(part, "embedding", Provenance("x", "y", None, 4, unit_length=False))
    assert provenance_of(frame, "embedding") == PROVENANCE


@given(
    st.builds(
        Provenance,
        source=st.text(),
        model=st.text(),
        task_type=st.none() | st.text(),
        dimension=st.integers(1, 3072),
        unit_length=st.booleans(),
    )
)
def test_provenance_is_plain_json_and_comes_back_equal(provenance: Provenance) -> None:
    assert Provenance.from_json(provenance.as_json()) == provenance


def test_comparable_are_equal_provenances_and_queries_with_their_documents() -> None:
    documents = Provenance("host", "model", "RETRIEVAL_DOCUMENT", 4, unit_length=True)
    questions = Provenance("host", "model", "RETRIEVAL_QUERY", 4, unit_length=True)
    documents.check_comparable(questions)
    questions.check_comparable(documents)
    for other in (
        Provenance("other", "model", "RETRIEVAL_DOCUMENT", 4, unit_length=True),
        Provenance("host", "other", "RETRIEVAL_DOCUMENT", 4, unit_length=True),
        Provenance("host", "model", "CLUSTERING", 4, unit_length=True),
        Provenance("host", "model", "RETRIEVAL_DOCUMENT", 8, unit_length=True),
        Provenance("host", "model", "RETRIEVAL_DOCUMENT", 4, unit_length=False),
    ):
        with pytest.raises(ProvenanceError) as caught:
            documents.check_comparable(other)
        assert str(documents) in str(caught.value)
        assert str(other) in str(caught.value)


def test_a_column_that_is_closed_for_writing_is_made_of_any_matrix() -> None:
    matrix = np.ones((2, 3), dtype=np.float32)
    column = column_of(matrix, pd.Index(["a", "b"]))
    assert column.name == "embedding"
    assert not matrix.flags.writeable
    assert np.shares_memory(matrix_of(column), matrix)
