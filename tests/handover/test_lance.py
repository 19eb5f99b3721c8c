"""``df.vec.to_lance()`` with the real LanceDB: its searches find what ours do, and nothing of a row is lost."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from support.engine import python

from vn_magic import Session
from vn_magic.exceptions import InputError, MissingExtraError

lancedb = pytest.importorskip("lancedb", reason="needs pip install -r tests/handover/neighbours.txt")

OVERWRITE = """
import sys
import vn_magic
vn_magic.Session(offline=True).embed(["a"]).vec.to_lance(sys.argv[1], "rows", mode="overwrite")
"""
OTHERS = ["Rain and wind are expected.", "The bread on the mat is wet.", "Markets were calm.", "A mat for the cat."]


def found(table: Any, vector: object, k: int) -> pd.DataFrame:
    hits: pd.DataFrame = table.search(vector).distance_type("cosine").limit(k).to_pandas()
    return hits


@pytest.mark.parametrize("label", list("prt"))
def test_a_search_finds_the_same_rows_in_the_same_order_as_nearest(
    rows: pd.DataFrame, offline: Session, tmp_path: Path, label: str
) -> None:
    more = offline.embed(OTHERS, dimension=256).set_index(pd.Index(list("wxyz")))
    frame = pd.concat([rows.drop_duplicates("text"), more])
    frame.vec.provenance = rows.vec.provenance
    query = frame.loc[label, "embedding"]
    ours, theirs = frame.vec.nearest(query, 5), found(frame.vec.to_lance(tmp_path, "rows"), query, 5)
    assert list(theirs.index) == list(ours.index)
    assert list(theirs["text"]) == list(ours["text"])
    assert np.allclose(1 - theirs["_distance"], ours["similarity"], atol=1e-5)


def test_duplicates_are_found_together_and_a_failed_row_never(rows: pd.DataFrame, tmp_path: Path) -> None:
    hits = found(rows.vec.to_lance(tmp_path, "rows"), rows["embedding"].iloc[0], 10)
    assert set(hits.index[:2]) == {"p", "s"}
    assert len(hits) == 5
    assert hits["text"].notna().all()


def test_a_failed_row_is_kept_without_a_vector(rows: pd.DataFrame, tmp_path: Path) -> None:
    table = rows.vec.to_lance(tmp_path, "rows").to_pandas()
    assert table["embedding"].isna().tolist() == [False, False, True, False, False, False]
    assert table["error"].tolist()[2] == rows["error"].tolist()[2]


def test_pandas_gets_back_the_same_bits_and_columns(whole: pd.DataFrame, tmp_path: Path) -> None:
    back = whole.vec.to_lance(tmp_path, "rows").to_pandas()
    assert np.array_equal(back.vec.matrix.view(np.uint32), whole.vec.matrix.view(np.uint32))
    assert_frame_equal(back.drop(columns="embedding"), whole.drop(columns="embedding"))
    assert back.vec.provenance == whole.vec.provenance


def test_a_hit_says_which_row_it_is_where_the_index_is_a_part_of_a_range(whole: pd.DataFrame, tmp_path: Path) -> None:
    part = whole.set_axis(pd.RangeIndex(10, 15))
    query = part["embedding"].iloc[3]
    hits = found(part.vec.to_lance(tmp_path, "rows"), query, 5)
    assert sorted(hits.index[:2]) == [10, 13]
    assert hits["text"].to_dict() == part["text"].to_dict()


def test_the_schema_says_that_the_stand_in_is_not_semantic(whole: pd.DataFrame, tmp_path: Path) -> None:
    whole.vec.to_lance(tmp_path, "rows")
    schema = lancedb.connect(tmp_path).open_table("rows").schema
    assert "lexical, not semantic" in json.loads(schema.metadata[b"vn_magic"])["origin"]


def test_a_connection_does_as_well_as_a_folder_and_so_does_an_asynchronous_one(
    whole: pd.DataFrame, tmp_path: Path
) -> None:
    async def rows_of_an_asynchronous_one() -> int:
        table = await whole.vec.to_lance(await lancedb.connect_async(tmp_path), "second")
        return int(await table.count_rows())

    assert whole.vec.to_lance(lancedb.connect(tmp_path), "first").count_rows() == 5
    assert asyncio.run(rows_of_an_asynchronous_one()) == 5


def test_options_go_to_lancedb(whole: pd.DataFrame, rows: pd.DataFrame, tmp_path: Path) -> None:
    whole.vec.to_lance(str(tmp_path), "rows")
    assert rows.vec.to_lance(str(tmp_path), "rows", mode="overwrite", on_bad_vectors="drop").count_rows() == 5
    assert whole.iloc[:2].vec.to_lance(str(tmp_path), "rows", mode="overwrite").count_rows() == 2


def test_no_rows_make_a_table_that_can_be_filled(whole: pd.DataFrame, tmp_path: Path) -> None:
    table = whole.iloc[:0].vec.to_lance(tmp_path, "rows")
    table.add(whole.vec.to_arrow(preserve_index=True))
    assert set(found(table, whole["embedding"].iloc[0], 2).index) == {"p", "s"}


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("taken", "stars", "Table 'taken' already exists"),
        ("a/b", "stars", 'Invalid table name ("a/b"): it may contain only'),
        ("new", "a.b", "Top level field a.b cannot contain `.`"),
        ("new", "_rowid", "The column _rowid is a reserved name"),
    ],
)
def test_what_lancedb_refuses_is_said_in_two_lines(
    whole: pd.DataFrame, tmp_path: Path, name: str, column: str, reason: str
) -> None:
    lancedb.connect(tmp_path).create_table("taken", data=[{"a": 1}])
    with pytest.raises(InputError) as told:
        whole.rename(columns={"stars": column}).vec.to_lance(tmp_path, name)
    first, second = str(told.value).splitlines()
    assert first.startswith("LanceDB refuses this: ")
    assert reason in first
    assert ".rs" not in first
    assert second.startswith("Next: ")


def test_an_unknown_option_is_refused_in_two_lines(whole: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unexpected keyword argument 'modus'\.\nNext: correct that name or option"):
        whole.vec.to_lance(tmp_path, "rows", modus="overwrite")


def test_a_place_that_lancedb_refuses_is_what_to_check(
    whole: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANCEDB_API_KEY", raising=False)
    (tmp_path / "file").write_text("no folder")
    for place, reason in ((tmp_path / "file", "File exists"), ("db://somewhere", "api_key is required")):
        with pytest.raises(InputError) as told:
            whole.vec.to_lance(place, "rows")
        first, second = str(told.value).splitlines()
        assert reason in first
        assert second == "Next: check the folder or address."


def test_what_an_asynchronous_connection_refuses_is_said_in_two_lines(whole: pd.DataFrame, tmp_path: Path) -> None:
    async def twice() -> None:
        connection = await lancedb.connect_async(tmp_path)
        await whole.vec.to_lance(connection, "rows")
        await whole.vec.to_lance(connection, "rows")

    with pytest.raises(InputError, match=r"^LanceDB refuses this: Table 'rows' already exists\.\nNext: "):
        asyncio.run(twice())


def test_nothing_is_on_stderr_where_there_was_nothing_to_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANCEDB_LOG", raising=False)  # which another test may have left to the child
    with python(OVERWRITE, str(tmp_path)) as process:
        _, err = process.communicate(timeout=300)
    assert err == ""
    assert lancedb.connect(tmp_path).open_table("rows").count_rows() == 1


def test_neither_a_folder_nor_a_connection_is_refused(whole: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="expected a folder or a connection of LanceDB, not int"):
        whole.vec.to_lance(5, "rows")


def test_without_lancedb_the_command_that_installs_it_is_said(
    whole: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingExtraError, match="LanceDB is not installed here") as told:
        whole.vec.to_lance(tmp_path, "rows")
    assert str(told.value).splitlines()[1] == 'Next: pip install "vn_magic[lance]"'
