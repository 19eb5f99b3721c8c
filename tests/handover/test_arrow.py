"""``df.vec.to_arrow()`` with the real pyarrow: the same bits, the same memory, and the origin in the metadata."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from vn_magic import Provenance, Session
from vn_magic.exceptions import InputError, MissingExtraError, ProvenanceError

DIMENSION = 256
GATEWAYS = Provenance("www.vectronode.com", "gemini-embedding-001", "SEMANTIC_SIMILARITY", DIMENSION, unit_length=True)


def bits(frame: pd.DataFrame) -> np.ndarray:
    matrix: np.ndarray = frame.vec.matrix.view(np.uint32)
    return matrix


def test_the_vectors_are_fixed_size_lists_in_the_memory_of_the_matrix(offline: Session) -> None:
    frame = offline.embed(["a", "b", "c"], dimension=DIMENSION)
    (lists,) = frame.vec.to_arrow()["embedding"].chunks
    assert lists.type == pa.list_(pa.float32(), DIMENSION)
    assert lists.flatten().buffers()[1].address == frame.vec.matrix.ctypes.data


def test_pandas_gets_back_the_same_bits_index_and_types(whole: pd.DataFrame) -> None:
    frame = whole.assign(
        share=[0.5, np.nan, -0.0, 1e300, 2.0],
        flag=[True, False, True, True, False],
        day=pd.date_range("2024-01-01", periods=5, tz="Europe/Berlin"),
        kind=pd.Categorical(["a", "b", None, "a", "b"], categories=["b", "a"], ordered=True),
        count=pd.array([1, None, 3, 4, 5], dtype="Int64"),
    )
    back = frame.vec.to_arrow().to_pandas()
    assert np.array_equal(bits(back), bits(frame))
    assert list(back.columns) == list(frame.columns)
    assert_frame_equal(back.drop(columns="embedding"), frame.drop(columns="embedding"))
    assert back.vec.provenance == frame.vec.provenance


@pytest.mark.parametrize("labels", [[0, "embedding", 2], ["b", "a", "c"], [2, 1, 0]])
def test_columns_keep_their_places_whatever_they_are_called(whole: pd.DataFrame, labels: list[object]) -> None:
    kind = whole.vec.provenance
    frame = whole[["text", "embedding", "stars"]].set_axis(labels, axis=1)
    frame.attrs = {"vn_magic": {str(labels[1]): kind.as_json()}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = frame.vec.to_arrow()
    assert [name for name in table.schema.names if not name.startswith("__")] == list(map(str, labels))
    assert table.schema.types[1] == pa.list_(pa.float32(), DIMENSION)


def test_rows_in_another_order_are_the_same_rows(whole: pd.DataFrame) -> None:
    turned = whole.iloc[::-1]
    assert np.array_equal(bits(turned.vec.to_arrow().to_pandas()), bits(whole)[::-1])


def test_a_failed_row_is_null(rows: pd.DataFrame) -> None:
    lists = rows.vec.to_arrow()["embedding"].combine_chunks()
    assert lists.is_null().to_pylist() == [False, False, True, False, False, False]
    back = rows.vec.to_arrow().to_pandas().dropna(subset="embedding")
    assert np.array_equal(bits(back), bits(rows[rows["error"].isna()]))


def test_a_series_is_a_table_of_one_column(whole: pd.DataFrame) -> None:
    table = whole["embedding"].reset_index(drop=True).vec.to_arrow()
    assert table.schema.names == ["embedding"]
    assert np.array_equal(bits(table.to_pandas()), bits(whole))


def test_no_rows_keep_the_columns_and_the_dimension(whole: pd.DataFrame) -> None:
    table = whole.iloc[:0].vec.to_arrow()
    assert (len(table), table.schema.field("embedding").type.list_size) == (0, DIMENSION)
    assert table.to_pandas().vec.matrix.shape == (0, DIMENSION)


def test_parquet_carries_it_all(whole: pd.DataFrame, tmp_path: Path) -> None:
    pq.write_table(whole.vec.to_arrow(), tmp_path / "rows.parquet")
    back = pd.read_parquet(tmp_path / "rows.parquet")
    assert np.array_equal(bits(back), bits(whole))
    assert back.vec.provenance == whole.vec.provenance


def test_the_index_can_be_left_out_as_in_pyarrow(whole: pd.DataFrame) -> None:
    assert whole.vec.to_arrow(preserve_index=False).schema.names == ["text", "stars", "embedding"]


def test_the_metadata_say_that_the_stand_in_is_not_semantic(whole: pd.DataFrame) -> None:
    note = json.loads(whole.vec.to_arrow().schema.metadata[b"vn_magic"])
    assert note["origin"].startswith("offline-lexical: lexical, not semantic")
    assert Provenance.from_json(note["provenance"]) == whole.vec.provenance
    assert note["column"] == "embedding"


def test_the_metadata_name_the_gateways_model(whole: pd.DataFrame) -> None:
    whole.vec.provenance = GATEWAYS
    note = json.loads(whole.vec.to_arrow().schema.metadata[b"vn_magic"])
    assert note["origin"] == "gemini-embedding-001 · SEMANTIC_SIMILARITY · 256 values"


def test_attrs_that_are_no_json_cost_neither_the_provenance_nor_a_warning(whole: pd.DataFrame) -> None:
    whole.attrs["seen"] = {1, 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = whole.vec.to_arrow()
    assert table.to_pandas().vec.provenance == whole.vec.provenance
    assert whole.attrs["seen"] == {1, 2}


def test_what_pyarrow_refuses_is_said_in_two_lines(whole: pd.DataFrame) -> None:
    with pytest.raises(InputError) as told:
        whole.assign(mixed=[1, "two", 3.0, None, b"five"]).vec.to_arrow()
    assert str(told.value).startswith("pyarrow refuses this: Could not convert 'two' with type str")
    assert "column mixed" in str(told.value)
    assert str(told.value).splitlines()[1:] == ["Next: drop, rename or convert that column."]
    assert told.value.__suppress_context__


def test_columns_of_one_name_are_refused_in_two_lines(whole: pd.DataFrame) -> None:
    twice = pd.concat([whole, whole[["stars"]]], axis=1)
    with pytest.raises(InputError, match="Duplicate column names found"):
        twice.vec.to_arrow()


def test_lost_provenance_is_not_handed_over(whole: pd.DataFrame) -> None:
    whole.attrs = {}
    with pytest.raises(ProvenanceError, match="not known where the vectors"):
        whole.vec.to_arrow()


def test_without_pyarrow_the_command_that_installs_it_is_said(
    whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pyarrow is not installed here") as told:
        whole.vec.to_arrow()
    assert str(told.value).splitlines()[1] == 'Next: pip install "vn_magic[parquet]"'
