"""`vn_magic.embed` of a Dask collection: what is checked and known at once, what is sent later, and Parquet."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.base import tokenize
from support.engine import output_of
from support.gateways import Served
from support.packs import pack_file, recording

import vn_magic
from vn_magic import Session, aembed, current, current_session, embed
from vn_magic.credentials import Token
from vn_magic.exceptions import InputError, ProvenanceError, RequirementError, SettingsError, TokenError

SIZE = 128


@pytest.fixture(autouse=True)
def no_default_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins without a session, on the stand-in, and computes in its own thread."""
    sessions: list[Session] = []
    monkeypatch.setattr(current, "_default_session", sessions)
    monkeypatch.setenv("VN_MAGIC_OFFLINE", "1")
    with dask.config.set(scheduler="synchronous"):
        yield
    for session in sessions:
        session.close()


@pytest.fixture
def tokenless(monkeypatch: pytest.MonkeyPatch, gateway: Served) -> Served:
    """A gateway that the environment names, without the token that it wants."""
    monkeypatch.delenv("VN_MAGIC_OFFLINE")
    monkeypatch.setenv("VN_MAGIC_BASE_URL", gateway.url)
    return gateway


@pytest.fixture
def reviews() -> pd.DataFrame:
    """Texts that repeat, under labels that do, with columns that come along."""
    texts = ["good tent", "bad tent", "good tent", "ein gutes Zelt", "kettle leaks", "kettle", "good kettle", "ok"]
    labels = pd.Index([3, 3, 4, 5, 6, 7, 8, 9], name="id")
    return pd.DataFrame({"review": texts, "stars": range(8), "product": list("xyxyxyxy")}, index=labels)


@pytest.fixture
def ddf(reviews: pd.DataFrame) -> Any:
    return dd.from_pandas(reviews, npartitions=3)


def bits_of(frame: Any) -> Any:
    """The vectors of a frame as integers: what is compared is the same to the last bit, NaN included."""
    return np.stack(list(frame["embedding"])).view(np.uint32).tolist()


def assert_same(one: Any, other: Any) -> None:
    pd.testing.assert_frame_equal(one.drop(columns="embedding"), other.drop(columns="embedding"))
    assert list(one.columns) == list(other.columns)
    assert bits_of(one) == bits_of(other)
    assert one.attrs == other.attrs


# The result


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize(
    "options",
    [{}, {"unit_length": False}, {"on_error": "keep"}, {"task_type": "CLUSTERING", "dimension": 256}],
    ids=str,
)
def test_a_frame_comes_out_as_one_process_would_have_made_it(ddf: Any, scheduler: str, options: Any) -> None:
    options = {"dimension": SIZE, **options}
    with dask.config.set(scheduler=scheduler):
        computed = embed(ddf, column="review", **options).compute()
    assert type(computed) is pd.DataFrame
    assert_same(computed, embed(ddf.compute(), column="review", **options))


def test_a_series_comes_out_as_one_process_would_have_made_it(ddf: Any) -> None:
    assert_same(embed(ddf.review, dimension=SIZE).compute(), embed(ddf.review.compute(), dimension=SIZE))
    unnamed = ddf.review.rename(None)
    assert_same(embed(unnamed, dimension=SIZE).compute(), embed(unnamed.compute(), dimension=SIZE))


def test_rows_that_cannot_be_embedded_are_marked_where_they_stand(reviews: pd.DataFrame) -> None:
    reviews.iloc[[1, 6, 7], 0] = [None, " ", None]
    ddf = dd.from_pandas(reviews, npartitions=4)
    computed = embed(ddf, column="review", dimension=SIZE, on_error="keep").compute()
    assert_same(computed, embed(ddf.compute(), column="review", dimension=SIZE, on_error="keep"))
    assert computed["error"].notna().tolist() == [False, True, False, False, False, False, True, True]


def test_an_array_is_float32_and_knows_its_width_but_not_its_length(ddf: Any) -> None:
    lazy = embed(ddf, column="review", dimension=SIZE, result="numpy")
    assert isinstance(lazy, da.Array)
    assert str(lazy.chunks) == f"((nan, nan, nan), ({SIZE},))"
    assert lazy.dtype == np.float32
    computed = lazy.compute()
    expected = embed(ddf.compute(), column="review", dimension=SIZE, result="numpy")
    assert computed.dtype == np.float32
    assert np.array_equal(computed.view(np.uint32), np.asarray(expected).view(np.uint32))
    assert (lazy @ lazy.T).compute().shape == (8, 8)


@pytest.mark.parametrize("on_error", ["stop", "keep"])
def test_columns_types_index_and_provenance_are_known_before_anything_is_computed(ddf: Any, on_error: Any) -> None:
    lazy = embed(ddf, column="review", dimension=SIZE, on_error=on_error)
    single = embed(ddf.compute(), column="review", dimension=SIZE, on_error=on_error)
    assert isinstance(lazy, dd.DataFrame)
    assert isinstance(single, pd.DataFrame)
    assert len(lazy._meta) == 0
    assert list(lazy.columns) == list(single.columns)
    assert [str(dtype) for dtype in lazy.dtypes] == [str(dtype) for dtype in single.dtypes]
    assert (lazy._meta.index.dtype, lazy._meta.index.name) == (single.index.dtype, "id")
    assert lazy._meta.attrs == single.attrs


def test_one_partition_in_is_one_out_under_the_same_divisions(ddf: Any) -> None:
    lazy = embed(ddf.review, dimension=SIZE)
    assert lazy.divisions == ddf.divisions
    assert lazy.known_divisions
    unknown = embed(ddf.clear_divisions(), column="review", dimension=SIZE)
    assert unknown.divisions == (None, None, None, None)
    sizes = ddf.map_partitions(len).compute().tolist()
    assert embed(ddf.review, dimension=SIZE).map_partitions(len, meta=int).compute().tolist() == sizes


def test_each_partition_is_a_frame_with_its_provenance_and_so_is_what_dask_makes_of_them(ddf: Any) -> None:
    lazy = embed(ddf, column="review", dimension=SIZE)
    provenance = embed(["x"], dimension=SIZE).vec.provenance
    parts = dask.compute(*lazy.to_delayed())
    assert [part.vec.provenance for part in parts] == [provenance] * 3
    derived = lazy[lazy.stars > 6].drop(columns="product").reset_index().rename(columns={"stars": "n"})
    assert derived.compute().vec.provenance == provenance  # two of the three partitions are empty
    found = lazy.compute().vec.nearest("good tent", k=2)
    assert found.review.tolist() == ["good tent", "good tent"]


def test_rows_of_different_provenance_are_refused_together(ddf: Any) -> None:
    one = embed(ddf.review, dimension=SIZE)
    other = embed(ddf.review, dimension=SIZE, task_type="CLUSTERING")
    assert dd.concat([one, one]).compute().vec.matrix.shape == (16, SIZE)
    with pytest.raises(ProvenanceError, match="It is not known where the vectors"):
        _ = dd.concat([one, other]).compute().vec.matrix


# What is sent, and when


def test_nothing_is_sent_and_no_token_is_needed_before_it_is_computed(
    ddf: Any, tokenless: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = embed(ddf.review, dimension=SIZE)
    assert repr(lazy.head(1, compute=False))
    with pytest.raises(TokenError):
        lazy.compute()
    assert tokenless.received == []
    monkeypatch.setenv("VECTORNODE_API_KEY", token)
    assert len(lazy.compute()) == 8
    assert sorted(tokenless.texts) == sorted(ddf.review.unique().compute())


def test_the_settings_in_force_at_the_call_are_those_of_the_computation(ddf: Any, gateway: Served) -> None:
    session = current_session()
    session.configure("dimension", 256, "a test")
    lazy = embed(ddf.review)
    session.configure("dimension", 512, "a test")
    session.configure("base_url", gateway.url, "a test")
    session.configure("offline", False, "a test")
    computed = lazy.compute()
    assert (computed.vec.matrix.shape, computed.vec.provenance.source) == ((8, 256), "offline-lexical")
    assert gateway.received == []


def test_a_collection_travels_without_the_token_of_a_login(ddf: Any, tokenless: Served, token: str) -> None:
    current_session().log_in(Token(token), "a test")
    lazy = embed(ddf.review, dimension=SIZE)
    carried = pickle.dumps(lazy)
    assert tokenless.url.encode() in carried
    assert token.encode() not in carried
    assert_same(pickle.loads(carried).compute(), lazy.compute())


def test_the_same_call_is_the_same_task_and_another_one_is_not(ddf: Any) -> None:
    names = [embed(ddf.review, dimension=size).dask for size in (SIZE, SIZE, 256)]
    keys = [{str(key) for key in graph if "embed_partition" in str(key)} for graph in names]
    assert len(keys[0]) == 3
    assert keys[0] == keys[1]
    assert keys[0].isdisjoint(keys[2])


def test_aembed_gives_the_same_lazy_collection(ddf: Any) -> None:
    lazy = asyncio.run(aembed(ddf, column="review", dimension=SIZE))
    assert isinstance(lazy, dd.DataFrame)
    assert tokenize(lazy) == tokenize(embed(ddf, column="review", dimension=SIZE))


# What is refused at once


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "A DataFrame needs the column of its texts"),
        ({"column": "text"}, "There is no column 'text'; the frame has 'review', 'stars', 'product'"),
        ({"column": "stars"}, "The column 'stars' has no texts but int64"),
        ({"column": "review", "dimension": 64}, "gives vectors of 128 to 3072 values, not 64"),
        ({"column": "review", "title": "T"}, "A title goes only with the task RETRIEVAL_DOCUMENT"),
        ({"column": "review", "result": "list"}, "result is 'list', expected one of df, numpy"),
        ({"column": "review", "max_requests": 9}, "This call has a budget (max_requests, max_tokens), and workers"),
        ({"column": "review", "max_tokens": 0}, "This call has a budget (max_requests, max_tokens), and workers"),
        ({"column": "review", "refresh": True}, "`refresh` would pay for a row each time that Dask computes it"),
    ],
    ids=str,
)
def test_what_can_be_found_out_without_rows_is_refused_at_the_call(
    ddf: Any, tokenless: Served, options: Any, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        embed(ddf, **options)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert tokenless.received == []


def test_impossible_settings_are_refused_at_the_call(
    ddf: Any, monkeypatch: pytest.MonkeyPatch, tokenless: Served
) -> None:
    with pytest.raises(SettingsError, match="concurrency is 0"):
        embed(ddf.review, concurrency=0)
    monkeypatch.setenv("VN_MAGIC_BASE_URL", "http://gateway.example")
    current._default_session.clear()
    with pytest.raises(SettingsError, match="plain http"):
        embed(ddf.review)
    assert tokenless.received == []


@pytest.mark.parametrize("name", ["embedding", "error"])
def test_a_result_never_replaces_a_column(ddf: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"There is a column '{name}' already"):
        embed(ddf.rename(columns={"product": name}), column="review")


def test_numbers_are_refused_at_the_call_unless_failed_rows_are_kept(ddf: Any) -> None:
    with pytest.raises(InputError, match="The Series has no texts but int64"):
        embed(ddf.stars)
    numbered = ddf.rename(columns={"stars": 0})
    with pytest.raises(InputError, match="The column '0' has no texts but int64"):
        embed(numbered, column="0")
    kept = embed(ddf.stars, dimension=SIZE, on_error="keep").compute()
    assert kept["error"].tolist() == ["not text but int"] * 8


@pytest.mark.parametrize(
    "make",
    [
        lambda ddf: ddf.index,
        lambda ddf: ddf.review.values,  # noqa: PD011 - of dask, which has no to_numpy
        lambda ddf: ddf.review.to_bag(),
        lambda ddf: dask.delayed(list)(ddf.review),
        lambda ddf: ddf.stars.sum(),
    ],
    ids=["index", "array", "bag", "delayed", "scalar"],
)
def test_other_collections_are_refused_in_one_line(ddf: Any, make: Callable[[Any], Any]) -> None:
    with pytest.raises(InputError, match="cannot be embedded") as caught:
        embed(make(ddf))
    assert "\n" not in str(caught.value)


def test_an_explicit_session_refuses_in_two_lines_and_names_the_function(ddf: Any, offline: Session) -> None:
    for refusing in (
        lambda: offline.embed(ddf, column="review"),
        lambda: asyncio.run(offline.aembed(ddf.review)),
    ):
        with pytest.raises(InputError, match=r"a session does not travel .*\nNext: vn_magic\.embed") as caught:
            refusing()
        assert len(str(caught.value).splitlines()) == 2


def test_a_budget_of_the_session_is_no_budget_of_workers(ddf: Any) -> None:
    current_session().configure("max_requests", 100, "a test")
    with pytest.raises(InputError, match="This session has a budget"):
        embed(ddf.review)


def test_a_pack_of_the_session_is_refused_and_one_of_the_environment_answers_everywhere(
    ddf: Any, reviews: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenless: Served
) -> None:
    path = pack_file(tmp_path / "lesson.vnpack", recording(reviews["review"].unique().tolist()))
    current_session().use_pack(path, strict=True, source="%vn pack use")
    with pytest.raises(InputError, match=r"The pack lesson\.vnpack answers in this session, and workers do not"):
        embed(ddf.review)
    current_session().drop_pack()
    current._default_session.clear()
    monkeypatch.setenv("VN_MAGIC_PACK", str(path))
    assert embed(ddf.review).compute().vec.provenance.source == "gateway.example"
    assert tokenless.received == []


def test_after_a_requirement_that_did_not_hold_there_is_no_collection(ddf: Any) -> None:
    with pytest.raises(RequirementError):
        vn_magic.require(pack="lesson.vnpack")
    with pytest.raises(RequirementError):
        embed(ddf.review)


# Parquet

LISTS = pa.list_(pa.float32())


def schemas_of(folder: Path) -> list[pa.Schema]:
    return [pq.read_schema(path) for path in sorted(folder.glob("*.parquet"))]


def test_the_plain_call_writes_lists_of_float32_and_where_they_come_from(ddf: Any, tmp_path: Path) -> None:
    embed(ddf, column="review", dimension=SIZE).to_parquet(tmp_path / "vectors")
    single = embed(ddf.compute(), column="review", dimension=SIZE)
    back = pd.read_parquet(tmp_path / "vectors")
    assert [schema.field("embedding").type for schema in schemas_of(tmp_path / "vectors")] == [LISTS] * 3
    assert_same(back, single)
    pd.testing.assert_frame_equal(back.vec.nearest("kettle"), single.vec.nearest("kettle"))
    one = pd.read_parquet(tmp_path / "vectors" / "part.1.parquet")
    assert one.vec.nearest("kettle", k=1).index.tolist() == [7]
    again = dd.read_parquet(tmp_path / "vectors").partitions[1].compute()
    assert bits_of(again) == bits_of(one)
    assert again.vec.provenance == single.vec.provenance


def test_partitions_that_are_empty_or_failed_have_the_schema_of_the_others(
    reviews: pd.DataFrame, tmp_path: Path
) -> None:
    reviews.iloc[2:5, 0] = None
    ddf = dd.from_pandas(reviews, npartitions=3)
    lazy = embed(ddf, column="review", dimension=SIZE, on_error="keep")
    lazy[(lazy.stars < 2) | (lazy.stars == 4)].to_parquet(tmp_path / "some")
    lengths = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "some").glob("*.parquet"))]
    assert lengths == [2, 1, 0]
    first, *others = schemas_of(tmp_path / "some")
    assert first.field("embedding").type == LISTS
    assert first.field("error").type in (pa.string(), pa.large_string())
    assert [other.equals(first) for other in others] == [True, True]
    back = pd.read_parquet(tmp_path / "some")
    assert back["error"].isna().tolist() == [True, True, False]
    assert np.isnan(back.vec.matrix[2]).all()
    assert not np.isnan(back.vec.matrix[:2]).any()


@pytest.mark.parametrize(
    "derive",
    [
        lambda lazy: lazy.drop(columns="product"),
        lambda lazy: lazy[["embedding", "review"]],
        lambda lazy: lazy.assign(length=lazy.review.str.len()),
        lambda lazy: lazy.set_index("stars", sorted=True),
        lambda lazy: lazy.repartition(npartitions=1),
        lambda lazy: lazy.reset_index(drop=True),
        lambda lazy: lazy.map_partitions(lambda part: part[part.stars > 2]),
        lambda lazy: lazy.persist(),
        lambda lazy: dd.concat([lazy, lazy]),
    ],
    ids=["drop", "columns", "assign", "set_index", "repartition", "reset", "map", "persist", "concat"],
)
def test_what_dask_derives_of_a_collection_is_written_in_the_same_way(
    ddf: Any, tmp_path: Path, derive: Callable[[Any], Any]
) -> None:
    derived = derive(embed(ddf, column="review", dimension=SIZE))
    derived.to_parquet(tmp_path / "vectors")
    assert all(schema.field("embedding").type == LISTS for schema in schemas_of(tmp_path / "vectors"))
    back = pd.read_parquet(tmp_path / "vectors")
    assert bits_of(back) == bits_of(derived.compute())
    assert list(back.columns) == list(derived.columns)
    assert back.vec.provenance == embed(["x"], dimension=SIZE).vec.provenance


@pytest.mark.parametrize(
    "options",
    [
        {"write_index": False},
        {"partition_on": "product"},
        {"write_metadata_file": True},
        {"schema": {"product": pa.large_string()}},
    ],
    ids=str,
)
def test_the_options_of_to_parquet_keep_their_meaning(ddf: Any, tmp_path: Path, options: Any) -> None:
    lazy = embed(ddf, column="review", dimension=SIZE)
    lazy.to_parquet(tmp_path / "vectors", **options)
    back = pd.read_parquet(tmp_path / "vectors")
    assert sorted(bits_of(back)) == sorted(bits_of(lazy.compute()))
    assert back.vec.provenance == lazy.compute().vec.provenance


def test_texts_that_pandas_holds_as_objects_are_written_as_texts(reviews: pd.DataFrame, tmp_path: Path) -> None:
    with dask.config.set({"dataframe.convert-string": False}):
        ddf = dd.from_pandas(reviews.astype({"review": object}), npartitions=2)
        lazy = embed(ddf, column="review", dimension=SIZE)
        assert str(lazy.dtypes["review"]) == "object"
        lazy.to_parquet(tmp_path / "vectors")
    assert pd.read_parquet(tmp_path / "vectors")["review"].tolist() == reviews["review"].tolist()


@pytest.mark.parametrize(
    "derive",
    [
        lambda lazy, ddf: lazy.merge(ddf[["stars", "product"]], on="stars"),
        lambda lazy, _ddf: lazy.rename(columns={"embedding": "vector"}),
        lambda lazy, ddf: dd.concat([lazy, embed(ddf, column="review", dimension=SIZE, task_type="CLUSTERING")]),
    ],
    ids=["merge", "rename", "concat"],
)
def test_vectors_of_lost_origin_are_not_written_and_nothing_is_sent_for_them(
    ddf: Any, tokenless: Served, token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, derive: Any
) -> None:
    monkeypatch.setenv("VECTORNODE_API_KEY", token)
    derived = derive(embed(ddf, column="review", dimension=SIZE), ddf)
    with pytest.raises(ProvenanceError, match=r"Dask has lost the note .*\nNext: ") as caught:
        derived.to_parquet(tmp_path / "vectors")
    assert len(str(caught.value).splitlines()) == 2
    assert tokenless.received == []


def test_after_a_shuffle_which_drops_the_note_vec_refuses_until_it_is_stated(ddf: Any) -> None:
    lazy = embed(ddf, column="review", dimension=SIZE)
    shuffled = lazy.set_index("product").compute()
    with pytest.raises(ProvenanceError, match="state it"):
        _ = shuffled.vec.matrix
    shuffled.vec.provenance = lazy.partitions[0].compute().vec.provenance
    assert sorted(bits_of(shuffled)) == sorted(bits_of(lazy.compute()))
    assert shuffled.vec.matrix.shape == (8, SIZE)


def test_a_derived_frame_without_vectors_is_written_as_any_other(ddf: Any, tmp_path: Path) -> None:
    lazy = embed(ddf, column="review", dimension=SIZE)
    lazy[["stars", "product"]].to_parquet(tmp_path / "others")
    assert pd.read_parquet(tmp_path / "others")["product"].tolist() == list("xyxyxyxy")


# Where there is no Dask


def test_who_embeds_no_collection_imports_nothing_of_dask() -> None:
    script = """
import sys, vn_magic
vn_magic.embed(["a"], dimension=128)
print({"dask", "distributed"} & set(sys.modules))
"""
    assert output_of(script) == "set()\n"


def test_a_collection_of_another_kind_does_not_import_dask_s_frames() -> None:
    script = """
import sys, dask, vn_magic
try:
    vn_magic.embed(dask.delayed(["a"]))
except vn_magic.VnMagicError as error:
    print(error, "dask.dataframe" in sys.modules)
print(vn_magic.embed(["a"], dimension=128, result="numpy").shape)
"""
    told, shape = output_of(script).splitlines()
    assert told == "This collection of Dask (DelayedLeaf) cannot be embedded; make a Dask DataFrame of it. False"
    assert shape == "(1, 128)"


def test_functions_of_partitions_find_vectors_also_where_dask_only_tries_them(ddf: Any, tmp_path: Path) -> None:
    lazy = embed(ddf, column="review", dimension=SIZE)
    with_first = lazy.map_partitions(lambda part: part.assign(first=part.vec.matrix[:, 0]))
    assert with_first["first"].dtype == np.float32
    with_first.to_parquet(tmp_path / "first")
    read = pd.read_parquet(tmp_path / "first")
    assert read["first"].tolist() == read.vec.matrix[:, 0].tolist()
