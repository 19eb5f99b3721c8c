"""``df.vec.to_atlas()`` with the real widget of embedding-atlas: what its DuckDB holds, neighbours included."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vn_magic import Provenance
from vn_magic.exceptions import InputError, MissingExtraError
from vn_magic.explore.neighbors import nearest

widget = pytest.importorskip(
    "embedding_atlas.widget", reason="needs pip install -r tests/handover/neighbours.txt and --no-deps -r …/atlas.txt"
)


def told(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Return what the widget holds, all of it being selected."""
    held: pd.DataFrame = frame.vec.to_atlas(**options).selection()
    return held


def test_the_widget_draws_the_rows_on_their_plane_with_their_texts(whole: pd.DataFrame) -> None:
    atlas = whole.vec.to_atlas()
    assert isinstance(atlas, widget.EmbeddingAtlasWidget)
    data = atlas._props["data"]
    assert (data["projection"], data["text"], data["neighbors"]) == ({"x": "x", "y": "y"}, "text", "neighbors")
    held = atlas.selection()
    assert np.array_equal(held[["x", "y"]].to_numpy(), whole.vec.project().to_numpy())
    assert held["text"].tolist() == whole["text"].tolist()
    assert held["stars"].tolist() == whole["stars"].tolist()


def test_a_failed_row_is_left_out_and_the_index_comes_along(rows: pd.DataFrame) -> None:
    held = told(rows)
    assert held["index"].tolist() == ["p", "q", "r", "s", "t"]
    assert held["stars"].tolist() == [0, 1, 3, 4, 5]


def test_a_plain_index_makes_no_column(whole: pd.DataFrame) -> None:
    assert "index" not in told(whole.reset_index(drop=True)).columns


def test_the_neighbours_of_each_row_are_those_that_a_search_finds(rows: pd.DataFrame, whole: pd.DataFrame) -> None:
    held = told(rows, k=3)
    for row, near in enumerate(held["neighbors"]):
        ids, cosines = nearest(whole.vec.matrix, whole.vec.matrix[row], 3, exclude=row)
        assert near["ids"].tolist() == ids.tolist()
        assert np.allclose(near["distances"], 1 - cosines, atol=1e-6)
    assert held["neighbors"].iloc[0]["ids"][0] == 3  # the duplicate, counted without the failed row before it


def test_neighbours_are_named_by_the_column_of_row_ids(whole: pd.DataFrame) -> None:
    atlas = whole.assign(key=list("abcde")).vec.to_atlas(row_id="key")
    assert atlas._props["data"]["id"] == "key"
    assert atlas.selection()["neighbors"].iloc[0]["ids"][0] == "d"


def test_neighbours_can_be_left_out(whole: pd.DataFrame) -> None:
    atlas = whole.vec.to_atlas(neighbors=None)
    assert "neighbors" not in atlas._props["data"]
    assert "neighbors" not in atlas.selection().columns


def test_the_first_column_says_that_the_stand_in_is_not_semantic(whole: pd.DataFrame) -> None:
    held = told(whole)
    assert held.columns[0] == "vectors"
    assert held["vectors"].str.startswith("offline-lexical: lexical, not semantic").all()


def test_the_gateways_model_is_named_in_a_column_behind_the_others(whole: pd.DataFrame) -> None:
    whole.vec.provenance = Provenance("a.host", "gemini-embedding-001", "CLUSTERING", 256, unit_length=True)
    held = told(whole)
    assert held["vectors"].unique().tolist() == ["gemini-embedding-001 · CLUSTERING · 256 values"]
    assert list(held.columns).index("vectors") > list(held.columns).index("y")


def test_options_go_to_the_widget(whole: pd.DataFrame) -> None:
    props = whole.vec.to_atlas(point_size=4.0, labels="disabled", x="stars")._props
    assert props["embeddingViewConfig"]["pointSize"] == 4.0
    assert props["embeddingViewLabels"] == "disabled"
    assert props["data"]["projection"] == {"x": "stars", "y": "y"}


def test_another_method_lays_the_rows_out(whole: pd.DataFrame) -> None:
    assert not np.allclose(told(whole, method="tsne")[["x", "y"]], whole.vec.project())


def test_one_row_is_a_point_without_neighbours(whole: pd.DataFrame) -> None:
    held = told(whole.iloc[:1])
    assert (len(held), "neighbors" in held.columns) == (1, False)


def test_a_series_shows_its_index_as_texts(whole: pd.DataFrame) -> None:
    assert told(whole["embedding"])["text"].tolist() == list("pqrst")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"tooltip": True}, "embedding-atlas refuses this: The following options are not allowed"),
        (
            {"day": pd.Period("2024-01-01")},
            {},
            "embedding-atlas refuses this: Not implemented Error: Data type 'period",
        ),
        ({"X": 1}, {}, "to_atlas: there is a column 'X' already, and 'x' is what it will add."),
        ({"neighbors": 1}, {}, "to_atlas: there is a column 'neighbors' already"),
        ({"Stars": 1}, {}, "to_atlas: the columns 'stars', 'Stars' are one to DuckDB"),
        ({}, {"k": 0}, "to_atlas: k is 0, but at least 1 neighbour"),
        ({}, {"k": "a"}, "to_atlas: k is 'a', expected a whole number from 1 on."),
        ({}, {"k": 2.5}, "to_atlas: k is 2.5, expected a whole number from 1 on."),
        ({}, {"row_id": "id"}, "to_atlas: there is no column 'id' for row_id."),
        ({}, {"row_id": ["a"]}, "to_atlas: there is no column ['a'] for row_id."),
        ({}, {"method": "isomap"}, "to_atlas: there is no method 'isomap'."),
    ],
)
def test_what_cannot_be_shown_is_said_in_two_lines(
    whole: pd.DataFrame, columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        whole.assign(**columns).vec.to_atlas(**options)
    assert str(error.value).startswith(message)
    assert len(str(error.value).splitlines()) <= 2


def test_a_column_of_texts_that_differs_in_case_alone_is_the_one_to_name(whole: pd.DataFrame) -> None:
    frame = whole.rename(columns={"text": "Text"})
    with pytest.raises(InputError, match=r"there is no column 'text', but 'Text'.*\nNext: text='Text'$"):
        frame.vec.to_atlas()
    assert told(frame, text="Text")["Text"].tolist() == whole["text"].tolist()


def test_numbers_in_the_place_of_texts_stay_numbers(whole: pd.DataFrame) -> None:
    assert told(whole, text="stars")["stars"].tolist() == whole["stars"].tolist()


def test_an_index_called_as_a_column_of_ours_is_refused(whole: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="are one to DuckDB"):
        whole.rename_axis("vectors").vec.to_atlas()


def test_without_a_vector_there_is_nothing_to_draw(rows: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"to_atlas: .*nothing to draw"):
        rows.iloc[2:3].vec.to_atlas()


@pytest.mark.parametrize("module", ["embedding_atlas.widget", "embedding_atlas"])
def test_without_embedding_atlas_the_command_that_installs_it_is_said(
    whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, "embedding_atlas.widget", None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match="embedding-atlas is not installed here") as error:
        whole.vec.to_atlas()
    assert str(error.value).splitlines()[1] == (
        'Next: pip install "vn_magic[atlas]"; it brings PyTorch, some gigabytes.'
    )
