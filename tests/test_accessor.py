"""``df.vec`` on real frames: what it gives, what it refuses, and that provenance travels."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.engine import BAD_TEXT, behind
from support.gateways import Served, answering, json_answer, served

import vn_magic
from vn_magic import Provenance, Session
from vn_magic.exceptions import InputError, ProvenanceError, TokenError
from vn_magic.offline import create_app

TEXTS = [
    "The cat sat on the mat.",
    "A cat was sitting on a mat.",
    "Stock markets fell sharply today.",
    "Shares and stock markets fell.",
    "Bread is baked from flour and water.",
]
DIMENSION = 256


@pytest.fixture
def current(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The session over the wire, as the one that `df.vec` finds."""
    monkeypatch.setattr("vn_magic.current._default_session", [session])
    return session


def embedded(session: Session, texts: object = TEXTS, **options: Any) -> pd.DataFrame:
    frame = session.embed(texts, **{"dimension": DIMENSION, **options})
    assert isinstance(frame, pd.DataFrame)
    return frame


@pytest.fixture
def local(offline: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The stand-in inside the process, as the session that `df.vec` finds."""
    monkeypatch.setattr("vn_magic.current._default_session", [offline])
    return offline


@pytest.fixture
def frame(local: Session) -> pd.DataFrame:
    frame = embedded(local)
    frame["number"] = range(len(frame))
    return frame


# The matrix


def test_the_matrix_is_the_result_of_the_job_without_a_copy(local: Session, frame: pd.DataFrame) -> None:
    matrix = frame.vec.matrix
    assert (matrix.dtype, matrix.shape, matrix.flags.c_contiguous) == (np.float32, (5, DIMENSION), True)
    assert np.shares_memory(matrix, frame["embedding"][4])
    assert np.array_equal(matrix, local.embed(TEXTS, dimension=DIMENSION, result="numpy"))


def test_a_series_of_vectors_has_a_matrix_too(frame: pd.DataFrame) -> None:
    assert np.shares_memory(frame["embedding"].vec.matrix, frame.vec.matrix)


def test_the_matrix_is_read_only(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="read-only"):
        frame.vec.matrix[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        frame["embedding"][0][0] = 1


def test_a_frame_without_rows_has_a_matrix_without_rows(local: Session, frame: pd.DataFrame) -> None:
    for empty in (frame[frame["number"] > 99], embedded(local, [])):
        assert empty.vec.matrix.shape == (0, DIMENSION)
        assert empty["embedding"].vec.matrix.shape == (0, DIMENSION)
        assert empty.vec.provenance == frame.vec.provenance
        assert empty.vec.nearest(np.ones(DIMENSION)).empty
        assert empty.vec.similarity().shape == (0, 0)


def test_the_short_form_of_a_frame_stays_short_whatever_the_dimension(local: Session) -> None:
    frame = embedded(local, dimension=3072)
    for shown in (repr(frame), str(frame["embedding"])):
        assert max(map(len, shown.splitlines())) < 200
        assert len(shown.splitlines()) < 10
    assert len(frame._repr_html_()) < 3000


def test_the_result_has_no_vectors_beside_its_rows(frame: pd.DataFrame) -> None:
    assert sys.getsizeof(frame["embedding"][0]) < 200  # a view, not the values


# Which column


def test_a_frame_without_vectors_says_so() -> None:
    with pytest.raises(InputError, match="has no column of vectors"):
        _ = pd.DataFrame({"text": ["a"]}).vec.matrix


def test_of_two_columns_of_vectors_one_has_to_be_named(frame: pd.DataFrame) -> None:
    frame["second"] = frame["embedding"]
    with pytest.raises(InputError, match=r"(?s)columns of vectors \('embedding', 'second'\).*df\['COLUMN'\]\.vec"):
        _ = frame.vec.matrix
    assert frame["embedding"].vec.matrix.shape == (5, DIMENSION)
    with pytest.raises(ProvenanceError):  # nobody said where the second one is from
        _ = frame["second"].vec.matrix


def test_rows_that_a_merge_could_not_fill_are_named(frame: pd.DataFrame) -> None:
    merged = pd.DataFrame({"number": [99, 1]}).merge(frame, on="number", how="left")
    with pytest.raises(InputError, match="Row 0 of 'embedding' is not a vector but float"):
        merged.vec.provenance = frame.vec.provenance
    filled = merged.dropna(subset=["embedding"])
    filled.vec.provenance = frame.vec.provenance
    assert np.array_equal(filled.vec.matrix, frame.vec.matrix[[1]])


# Provenance

Change = Callable[[pd.DataFrame, Path], pd.DataFrame]


def _through_parquet(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    frame.to_parquet(folder / "f.parquet")
    return pd.read_parquet(folder / "f.parquet")


KEPT: dict[str, Change] = {
    "filter": lambda frame, _: frame[frame["number"] % 2 == 0],
    "sort": lambda frame, _: frame.sort_values("text"),
    "copy": lambda frame, _: frame.copy(),
    "reverse": lambda frame, _: frame.iloc[::-1],
    "sample": lambda frame, _: frame.sample(3, random_state=0),
    "other columns": lambda frame, _: frame.assign(more=1).drop(columns="text"),
    "renamed others": lambda frame, _: frame.rename(columns={"text": "sentence"}),
    "new index": lambda frame, _: frame.set_index("text"),
    "reset index": lambda frame, _: frame.iloc[::-1].reset_index(),
    "concat of equals": lambda frame, _: pd.concat([frame.iloc[3:], frame.iloc[:3]]),
    "pickle": lambda frame, _: pickle.loads(pickle.dumps(frame)),
    "parquet": _through_parquet,
    "save and load": lambda frame, folder: vn_magic.load(frame.vec.save(folder / "f.npz")),
}


# pandas 2 drops the note at every merge; see the next test for what happens then.
if int(pd.__version__.split(".")[0]) >= 3:
    KEPT["merge of equals"] = lambda frame, _: frame[["number", "embedding"]].merge(
        frame[["number", "text"]], on="number"
    )


@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_provenance_travels_with_the_rows(frame: pd.DataFrame, change: Change, tmp_path: Path) -> None:
    changed = change(frame, tmp_path)
    assert changed.vec.provenance == frame.vec.provenance
    assert np.array_equal(changed.vec.matrix, frame.vec.matrix[changed["number"].to_numpy()])


def test_provenance_is_read_by_another_python_that_never_saw_the_session(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_pickle(tmp_path / "f.pickle")
    script = "import sys, pandas, vn_magic; print(pandas.read_pickle(sys.argv[1]).vec.provenance)"
    out = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "f.pickle")], check=True, capture_output=True, text=True
    ).stdout
    assert out.strip() == str(frame.vec.provenance)


LOST: dict[str, Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]] = {
    "concat of another provenance": lambda frame, other: pd.concat([frame, other]),
    "concat of a frame without a note": lambda frame, _: pd.concat([frame, pd.DataFrame(frame.to_dict("list"))]),
    "merge with a plain table": lambda frame, _: frame.merge(pd.DataFrame({"number": [3, 1]}), on="number"),
    "rename of the column": lambda frame, _: frame.rename(columns={"embedding": "vectors"}),
}


@pytest.mark.parametrize("join", LOST.values(), ids=LOST)
def test_lost_provenance_is_refused_with_the_way_to_state_it_which_then_works(
    local: Session, frame: pd.DataFrame, join: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame], tmp_path: Path
) -> None:
    other = embedded(local, TEXTS[:2], task_type="CLUSTERING").assign(number=[0, 1])
    joined = join(frame, other)
    uses: list[Callable[[], Any]] = [
        lambda: joined.vec.matrix,
        lambda: joined.vec.provenance,
        lambda: len(joined.vec.similarity()),
        lambda: len(joined.vec.project()),
        lambda: joined.vec.nearest(np.ones(DIMENSION)),
        lambda: joined.vec.save(tmp_path / "f.npz"),
    ]
    for use in uses:
        with pytest.raises(ProvenanceError, match=r"(?s)not known where the vectors.*df\.vec\.provenance = "):
            use()
    joined.vec.provenance = frame.vec.provenance
    for use in uses:
        use()
    assert np.array_equal(joined.vec.matrix[0], frame.vec.matrix[joined["number"].iloc[0]])


def test_a_provenance_that_contradicts_the_vectors_cannot_be_stated(frame: pd.DataFrame) -> None:
    wrong = Provenance("host", "model", None, DIMENSION + 1, unit_length=True)
    with pytest.raises(ProvenanceError, match=f"have {DIMENSION} values, but the note of their origin says 257"):
        frame.vec.provenance = wrong
    assert frame.vec.provenance.dimension == DIMENSION


def test_a_column_that_was_replaced_by_one_of_another_dimension_is_refused(local: Session, frame: pd.DataFrame) -> None:
    frame["embedding"] = list(local.embed(TEXTS, dimension=128, result="numpy"))
    for use in (lambda: frame.vec.matrix, lambda: frame.vec.nearest("cat"), lambda: len(frame.vec.similarity())):
        with pytest.raises(ProvenanceError, match=r"(?s)128 values, but .* says 256: the column was replaced"):
            use()


# Nearest


def test_nearest_rows_come_best_first_with_their_similarity_and_their_index(frame: pd.DataFrame) -> None:
    frame.index = pd.Index(list("vwxyz"), name="key")
    found = frame.vec.nearest("the cat on the mat", k=2)
    assert found.index.tolist() == ["v", "w"]
    assert found.index.name == "key"
    assert list(found.columns) == ["text", "number", "similarity"]
    assert found["similarity"].dtype == np.float32
    assert found["similarity"].is_monotonic_decreasing
    assert list(frame.columns) == ["text", "embedding", "number"]


def test_the_nearest_row_to_a_row_s_own_text_or_vector_is_itself(frame: pd.DataFrame) -> None:
    for row, text in enumerate(TEXTS):
        for query in (text, frame["embedding"][row], frame["embedding"][row].tolist(), frame.vec.matrix[row] * 7):
            best = frame.vec.nearest(query, k=1)
            assert best["number"].tolist() == [row]
            assert best["similarity"].iloc[0] == pytest.approx(1, abs=1e-6)


def _replace_a_cell(frame: pd.DataFrame) -> None:
    frame.at[3, "embedding"] = -frame["embedding"][3]  # noqa: PD008 - loc would spread the values over the rows


def _change_a_cell_in_place(frame: pd.DataFrame) -> None:
    frame["embedding"][3].base.setflags(write=True)
    frame["embedding"][3].setflags(write=True)
    frame["embedding"][3][:] *= -1


def _replace_the_column(frame: pd.DataFrame) -> None:
    frame["embedding"] = [-cell if row == 3 else cell for row, cell in enumerate(frame["embedding"])]


@pytest.mark.parametrize("change", [_replace_a_cell, _change_a_cell_in_place, _replace_the_column])
def test_nearest_never_answers_from_vectors_of_before(
    frame: pd.DataFrame, change: Callable[[pd.DataFrame], None]
) -> None:
    query = frame["embedding"][3].copy()
    assert frame.vec.nearest(query, k=1)["number"].tolist() == [3]
    change(frame)
    found = frame.vec.nearest(query, k=5)
    assert found["number"].iloc[-1] == 3
    assert found["similarity"].iloc[-1] == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize(("k", "rows"), [(1, 1), (3, 3), (5, 5), (50, 5)])
def test_nearest_gives_k_rows_or_all(frame: pd.DataFrame, k: int, rows: int) -> None:
    assert len(frame.vec.nearest("stock", k)) == rows


def test_nearest_gives_five_rows_where_nobody_says(frame: pd.DataFrame) -> None:
    assert len(pd.concat([frame, frame]).vec.nearest("stock")) == 5


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.ones(DIMENSION + 1), 5, "the rows have 256 values"),
        (np.ones((1, DIMENSION)), 5, "is a ndarray, expected a text or one vector"),
        (np.zeros(DIMENSION), 5, "points nowhere"),
        (np.full(DIMENSION, np.nan), 5, "NaN or infinite"),
        (["a", "b"], 5, "is a list, expected a text or one vector"),
        (None, 5, "is a NoneType, expected a text or one vector"),
        ({"a": 1}, 5, "is a dict, expected a text or one vector"),
        (np.ones(DIMENSION), 0, "k is 0"),
    ],
    ids=str,
)
def test_a_query_that_is_none_is_refused(frame: pd.DataFrame, query: Any, k: int, message: str) -> None:
    with pytest.raises(InputError, match=f"nearest: .*{message}"):
        frame.vec.nearest(query, k)


@pytest.mark.parametrize(
    ("rows_as", "query_as"),
    [
        ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"),
        ("SEMANTIC_SIMILARITY", "SEMANTIC_SIMILARITY"),
        ("CLUSTERING", "CLUSTERING"),
    ],
)
def test_a_query_is_sent_with_the_rows_own_size_and_the_fitting_task(
    current: Session, gateway: Served, rows_as: Any, query_as: str
) -> None:
    frame = embedded(current, task_type=rows_as, dimension=384)
    current.configure("dimension", 1024, "this test")
    current.configure("task_type", "QUESTION_ANSWERING", "this test")
    sent = len(gateway.received)
    frame.vec.nearest("cat")
    frame.vec.nearest("cat")  # from the cache
    (request,) = gateway.received[sent:]
    assert (request.text, request.json["taskType"], request.json["output_dimensionality"]) == ("cat", query_as, 384)


def test_a_query_is_sent_to_the_rows_own_model(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(answering(json_answer({"embedding": {"values": [1.0] * DIMENSION}}))) as server:
        session = Session(base_url=server.url, token=token)
        monkeypatch.setattr("vn_magic.current._default_session", [session])
        frame = embedded(session, ["a"], model="gemini-embedding-2")
        frame.vec.nearest("query")
        session.close()
        assert {request.path for request in server.received} == {"/v1beta/models/gemini-embedding-2:embedContent"}
        assert all("taskType" not in request.json for request in server.received)


def test_raw_rows_are_asked_with_a_raw_query(local: Session) -> None:
    frame = embedded(local, unit_length=False)
    assert frame.vec.nearest(TEXTS[2], k=1).index.tolist() == [2]


def test_failed_rows_are_neither_neighbours_nor_points_nor_similar(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse_bad(text: str) -> Any:
        return BAD_TEXT if text == "bad" else None

    with served(behind(refuse_bad, create_app(token=token))) as server:
        session = Session(base_url=server.url, token=token)
        monkeypatch.setattr("vn_magic.current._default_session", [session])
        frame = embedded(session, ["bad", *TEXTS, None, "bad"], on_error="keep")
        for unit_rows in (frame, embedded(session, ["bad", *TEXTS, None, "bad"], on_error="keep", unit_length=False)):
            assert sorted(unit_rows.vec.nearest("cat", k=99).index) == [1, 2, 3, 4, 5]
        similarity = frame.vec.similarity().to_numpy()
        assert np.isnan(similarity[[0, 6, 7]]).all()
        assert np.isnan(similarity[:, [0, 6, 7]]).all()
        assert np.isfinite(similarity[1:6, 1:6]).all()
        plane = frame.vec.project()
        assert plane.isna().all(axis=1).tolist() == [True, *[False] * 5, True, True]
        session.close()


# Places


@pytest.fixture
def rows_of_a_gateway(token: str) -> Iterator[tuple[pd.DataFrame, Served]]:
    """Rows that a gateway made, which does not sign as the stand-in."""
    with served(answering(json_answer({"embedding": {"values": [1.0] * DIMENSION}}))) as server:
        session = Session(base_url=server.url, token=token)
        yield embedded(session, ["a", "b"]), server
        session.close()


def test_offline_rows_are_not_asked_through_a_gateway(offline: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = embedded(offline)
    online = Session(base_url="https://gateway.invalid", token="sk-never-sent-00")
    monkeypatch.setattr("vn_magic.current._default_session", [online])
    with pytest.raises(ProvenanceError, match=r"offline \(lexical\) vectors, but the session talks to https://gateway"):
        frame.vec.nearest("cat")
    assert online.totals.requests == 0
    assert len(frame.vec.nearest(frame["embedding"][0])) == 5  # a vector needs no session


def test_rows_of_a_gateway_are_not_asked_offline(
    rows_of_a_gateway: tuple[pd.DataFrame, Served], offline: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vn_magic.current._default_session", [offline])
    with pytest.raises(ProvenanceError, match="the session is offline: its vectors cannot be compared"):
        rows_of_a_gateway[0].vec.nearest("cat")


def test_rows_of_one_gateway_are_not_asked_through_another(
    rows_of_a_gateway: tuple[pd.DataFrame, Served], current: Session, gateway: Served
) -> None:
    rows, server = rows_of_a_gateway
    with pytest.raises(ProvenanceError) as caught:
        rows.vec.nearest("cat")
    assert server.url.removeprefix("http://") in str(caught.value)
    assert current.settings.base_url in str(caught.value)
    assert gateway.received == []


def test_a_query_that_turns_out_to_be_of_another_maker_is_refused(
    frame: pd.DataFrame, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(answering(json_answer({"embedding": {"values": [1.0] * DIMENSION}}))) as server:
        session = Session(base_url=server.url, token=token)  # on loopback, where a stand-in may be served
        monkeypatch.setattr("vn_magic.current._default_session", [session])
        with pytest.raises(ProvenanceError, match="not comparable") as caught:
            frame.vec.nearest("cat")
        assert server.url.removeprefix("http://") in str(caught.value)
        session.close()


def test_rows_of_a_served_stand_in_are_asked_there_and_offline(
    current: Session, offline: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = embedded(current)
    there = frame.vec.nearest("cat")
    monkeypatch.setattr("vn_magic.current._default_session", [offline])
    pd.testing.assert_frame_equal(frame.vec.nearest("cat"), there)


def test_a_query_that_needs_a_token_says_so(
    frame: pd.DataFrame, gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vn_magic.current._default_session", [Session(base_url=gateway.url)])
    with pytest.raises(TokenError, match="There is no token"):
        frame.vec.nearest("cat")


# Similarity and projection


def test_similarity_is_labelled_by_the_index_on_both_sides(frame: pd.DataFrame) -> None:
    frame.index = pd.Index(["a", "b", "b", "c", "d"], name="key")
    similarity = frame.vec.similarity()
    pd.testing.assert_index_equal(similarity.index, frame.index)
    pd.testing.assert_index_equal(similarity.columns, frame.index)
    values = similarity.to_numpy()
    assert values.dtype == np.float32
    np.testing.assert_allclose(np.diag(values), 1, atol=1e-6)
    np.testing.assert_allclose(values, values.T, atol=1e-6)
    assert values[0, 1] > values[0, 2]
    assert values[2, 3] > values[2, 4]


def test_a_similarity_that_no_computer_holds_is_refused_before_it_is_tried() -> None:
    column = pd.Series(list(np.ones((50_000, 2), dtype=np.float32)))
    column.vec.provenance = Provenance("elsewhere", "a-model", None, 2, unit_length=False)
    with pytest.raises(InputError, match=r"(?s)50,000 rows to one another are 10 GB.*fewer rows"):
        column.vec.similarity()


def test_a_projection_has_two_coordinates_a_row_and_says_how_much_they_keep(frame: pd.DataFrame) -> None:
    frame.index = pd.Index(list("vwxyz"), name="key")
    plane = frame.vec.project()
    assert list(plane.columns) == ["x", "y"]
    pd.testing.assert_index_equal(plane.index, frame.index)
    assert plane.dtypes.tolist() == [np.float32, np.float32]
    first, second = plane.attrs["explained_variance"]
    assert 0 < second <= first <= first + second <= 1
    pd.testing.assert_frame_equal(frame.vec.project(), plane)


# Series and odd names


def test_a_series_does_all_that_a_frame_does(frame: pd.DataFrame, tmp_path: Path) -> None:
    series = frame["embedding"].iloc[::-1]
    assert series.vec.provenance == frame.vec.provenance
    assert series.vec.nearest(TEXTS[1], k=1).index.tolist() == [1]
    assert list(series.vec.nearest(TEXTS[1]).columns) == ["similarity"]
    assert series.vec.similarity().index.tolist() == [4, 3, 2, 1, 0]
    assert series.vec.project().shape == (5, 2)
    assert vn_magic.load(series.vec.save(tmp_path / "f.npz")).index.tolist() == [4, 3, 2, 1, 0]


def test_vectors_of_somebody_else_s_making_work_once_their_provenance_is_stated(tmp_path: Path) -> None:
    provenance = Provenance("elsewhere", "a-model", None, 3, unit_length=False)
    for series in (
        pd.Series([np.array([1.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])]),
        pd.Series([np.array([1.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])], name=7),
    ):
        series.vec.provenance = provenance
        assert series.vec.matrix.dtype == np.float32
        assert series.vec.nearest([0, 1, 0], k=1).index.tolist() == [1]
        assert vn_magic.load(series.vec.save(tmp_path / "f.npz")).vec.provenance == provenance
    frame = series.to_frame(7)
    frame.vec.provenance = provenance
    assert list(frame.vec.nearest([0, 1, 0]).columns) == ["similarity"]


def test_the_accessor_is_there_after_import_alone() -> None:
    assert hasattr(pd.DataFrame, "vec")
    assert hasattr(pd.Series, "vec")
    assert "drop_duplicates" in (pd.DataFrame.vec.__doc__ or "")  # it names what pandas cannot do


# Pictures


def drawn(picture: Any) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = picture.spec["data"]["values"]
    return values


def test_a_scatter_stands_where_project_says_with_the_texts_of_the_frame(frame: pd.DataFrame) -> None:
    points = drawn(frame.vec.scatter())
    plane = frame.vec.project()
    assert [(np.float32(point["x"]), np.float32(point["y"])) for point in points] == list(
        plane.itertuples(index=False, name=None)
    )
    assert [point["text"] for point in points] == TEXTS


def test_another_column_gives_the_texts_and_the_index_where_there_is_none(frame: pd.DataFrame) -> None:
    assert [point["text"] for point in drawn(frame.vec.scatter(text="number"))] == list("01234")
    labelled = frame.drop(columns="text").set_axis(list("abcde"))
    assert [point["text"] for point in drawn(labelled.vec.scatter())] == list("abcde")
    assert [point["text"] for point in drawn(labelled["embedding"].vec.scatter())] == list("abcde")


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ([1, 2, None, 4, 5], [1.0, 2.0, None, 4.0, 5.0]),
        (pd.array([1, 2, None, 4, 5], dtype="Int64"), [1.0, 2.0, None, 4.0, 5.0]),
        ([True, False, True, True, True], ["True", "False", "True", "True", "True"]),
        (pd.Categorical([3, 1, 3, 1, None]), ["3", "1", "3", "1", "(no value)"]),
        (pd.array(["a", None, "b", "a", "b"], dtype="string"), ["a", "(no value)", "b", "a", "b"]),
        (pd.to_datetime(["2026-01-01"] * 4 + [None]), ["2026-01-01 00:00:00"] * 4 + ["(no value)"]),
    ],
)
def test_a_column_colours_the_points_by_what_it_holds(frame: pd.DataFrame, column: Any, shown: list[object]) -> None:
    frame["kind"] = column
    assert [point["color"] for point in drawn(frame.vec.scatter(color="kind"))] == shown


@pytest.mark.parametrize("make", [list, tuple, np.array, pd.Series])
def test_values_of_the_right_length_colour_the_points(frame: pd.DataFrame, make: Any) -> None:
    assert [point["color"] for point in drawn(frame.vec.scatter(color=make([5, 4, 3, 2, 1])))] == [5, 4, 3, 2, 1]
    assert [point["color"] for point in drawn(frame["embedding"].vec.scatter(color=make(["a"] * 5)))] == ["a"] * 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"color": "colour"}, "there is no column 'colour'; the frame has 'text', 'embedding', 'number'"),
        ({"color": [1, 2]}, "one value for each of 5 rows"),
        ({"color": pd.Series([1] * 5, index=list("abcde"))}, "another index"),
        ({"color": 1.5}, "one value for each of 5 rows"),
        ({"text": "body"}, "no column 'body' to take the texts from"),
        ({"method": "som"}, "no method 'som'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_short(frame: pd.DataFrame, options: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as raised:
        frame.vec.scatter(**options)
    assert len(str(raised.value).splitlines()) <= 3


def test_a_series_has_no_columns_to_name(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="a Series of vectors has none"):
        frame["embedding"].vec.heatmap(text="number")


def test_a_heatmap_has_the_similarity_of_the_frame(frame: pd.DataFrame) -> None:
    rows = frame.vec.heatmap().spec["datasets"]["rows"]
    np.testing.assert_allclose([row["score"] for row in rows], frame.vec.similarity(), atol=6e-4)
    assert [row["text"] for row in rows] == TEXTS


def test_pictures_of_the_stand_in_say_that_it_is_lexical(frame: pd.DataFrame) -> None:
    assert "offline-lexical: lexical, not semantic" in frame.vec.scatter().text
    assert "offline-lexical: lexical, not semantic" in frame.vec.heatmap().text


def test_a_picture_needs_to_know_where_vectors_come_from(frame: pd.DataFrame) -> None:
    frame.attrs.clear()
    with pytest.raises(ProvenanceError, match="not known where"):
        frame.vec.scatter()
