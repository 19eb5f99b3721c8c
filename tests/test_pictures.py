"""Pictures of vectors: what is drawn, what is said about it, and in which forms it travels."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import sys
from dataclasses import FrozenInstanceError
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vn_magic.embeddings import Provenance
from vn_magic.exceptions import InputError
from vn_magic.explore.projection import pca
from vn_magic.explore.similarity import cosine_similarity
from vn_magic.pictures import MOST_POINTS, MOST_ROWS, Picture, heatmap, scatter

GATEWAY = Provenance("www.vectronode.com", "gemini-embedding-001", "CLUSTERING", 16, unit_length=False)
OFFLINE = Provenance("offline-lexical", "offline-lexical", "CLUSTERING", 16, unit_length=True)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def cloud(count: int, dimension: int = 16) -> NDArray[np.float32]:
    random = np.random.default_rng(count)
    return (random.standard_normal((count, dimension)) * np.arange(1, dimension + 1) ** -0.8).astype(np.float32)


def texts_of(count: int) -> list[str | None]:
    return [f"text {row}" for row in range(count)]


def points(picture: Picture) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = picture.spec["data"]["values"]
    return values


def scattered(count: int, **options: Any) -> Picture:
    return scatter(cloud(count), texts_of(count), **{"provenance": GATEWAY, **options})


# Points


def test_points_are_where_the_projection_puts_them() -> None:
    matrix = cloud(300)
    drawn = points(scatter(matrix, texts_of(300), provenance=GATEWAY))
    coordinates = np.array([[point["x"], point["y"]] for point in drawn], dtype=np.float32)
    assert np.array_equal(coordinates, pca(matrix).coordinates)


def test_the_shares_of_variance_are_those_of_a_singular_value_decomposition() -> None:
    matrix = cloud(200).astype(np.float64)
    squares = np.linalg.svd(matrix - matrix.mean(axis=0), compute_uv=False) ** 2
    first, second = 100 * squares[:2] / squares.sum()
    picture = scattered(200)
    assert f"These two axes keep {first + second:.0f} % of the variance." in picture.text
    encoding = picture.spec["encoding"]
    assert encoding["x"]["title"] == f"PC 1 ({first:.0f} % of variance)"
    assert encoding["y"]["title"] == f"PC 2 ({second:.0f} % of variance)"


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_rows_without_a_vector_are_no_points_and_are_counted(method: str) -> None:
    if method == "tsne":
        pytest.importorskip("sklearn")
    matrix = cloud(20)
    matrix[[0, 7]] = np.nan
    picture = scatter(matrix, texts_of(20), provenance=GATEWAY, method=method, color=list(range(20)))
    rows = [row for row in range(20) if row not in (0, 7)]
    assert [(point["row"], point["text"], point["color"]) for point in points(picture)] == [
        (row, f"text {row}", float(row)) for row in rows
    ]
    assert picture.svg.count("<circle") == 18
    assert "2 rows without a vector are not shown." in picture.text


def test_of_many_rows_the_same_sample_is_drawn_each_time_in_the_order_of_the_rows() -> None:
    matrix = cloud(MOST_POINTS + 700, 4)
    matrix[3] = np.nan
    first, second = (scatter(matrix, texts_of(len(matrix)), provenance=GATEWAY) for _ in range(2))
    rows = [point["row"] for point in points(first)]
    assert first.spec == second.spec
    assert rows == sorted(set(rows))
    assert (len(rows), 3 in rows, max(rows) > MOST_POINTS) == (MOST_POINTS, False, True)
    assert "5,000 of 5,699 rows, a random sample, seed 0." in first.text
    assert np.array_equal(np.float32([point["x"] for point in points(first)]), pca(matrix).coordinates[rows, 0])


def test_a_missing_text_is_said_to_be_none() -> None:
    assert points(scatter(cloud(2), [None, "a"], provenance=GATEWAY))[0]["text"] == "(no text)"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_rows_make_a_picture(count: int) -> None:
    picture = scattered(count)
    assert len(points(picture)) == picture.svg.count("<circle") == count
    json.dumps(picture.spec, allow_nan=False)


def test_equal_vectors_are_one_place_and_the_picture_says_so() -> None:
    picture = scatter(np.ones((4, 8), dtype=np.float32), texts_of(4), provenance=GATEWAY)
    assert {(point["x"], point["y"]) for point in points(picture)} == {(0.0, 0.0)}
    assert "The vectors do not differ: all points are in one place." in picture.text


@pytest.mark.parametrize("draw", [scatter, heatmap])
@pytest.mark.parametrize(
    ("matrix", "why"), [(cloud(0), "there are no rows"), (cloud(2) * np.nan, "none of the 2 rows")]
)
def test_nothing_to_draw_is_a_short_error(draw: Any, matrix: NDArray[np.float32], why: str) -> None:
    with pytest.raises(InputError, match=why):
        draw(matrix, texts_of(len(matrix)), provenance=GATEWAY)


@pytest.mark.parametrize("options", [{"texts": ["a"]}, {"texts": ["a", "b"], "color": [1]}])
def test_another_number_of_values_than_rows_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="has 1 values for 2 rows"):
        scatter(cloud(2), provenance=GATEWAY, **options)


def test_an_unknown_method_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(InputError, match="one of pca, umap, tsne"):
        scattered(5, method="som")


def test_vectors_of_one_value_have_no_plane() -> None:
    with pytest.raises(InputError, match="no plane"):
        scatter(cloud(5, 1), texts_of(5), provenance=GATEWAY)


# Other methods


@pytest.mark.parametrize(("method", "library"), [("umap", "umap"), ("tsne", "sklearn")])
def test_a_method_keeps_groups_apart_and_gives_the_same_picture_again(method: str, library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    random = np.random.default_rng(0)
    centres = np.repeat(10 * random.standard_normal((2, 16)), 20, axis=0)
    matrix = (centres + random.standard_normal((40, 16))).astype(np.float32)
    first, second = (scatter(matrix, texts_of(40), provenance=GATEWAY, method=method) for _ in range(2))
    assert first.spec == second.spec
    places = np.array([[point["x"], point["y"]] for point in points(first)])
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(40)
    assert (distances.argmin(axis=1) // 20 == np.arange(40) // 20).all()
    assert "distances between far groups mean little" in first.text
    assert "variance" not in json.dumps(first.spec) + first.text


@pytest.mark.parametrize(
    ("method", "module", "package"), [("umap", "umap", "umap-learn"), ("tsne", "sklearn", "scikit-learn")]
)
def test_a_missing_library_is_named_with_the_way_to_get_it(
    method: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.manifold", None)
    with pytest.raises(InputError, match=f"(?s)not installed here.*%pip install {package}"):
        scattered(9, method=method)


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_too_few_rows_for_a_method_are_an_error(method: str) -> None:
    with pytest.raises(InputError, match="at least 4 rows"):
        scattered(3, method=method)


# Heat maps


def test_cells_are_the_cosine_similarity_of_the_rows() -> None:
    matrix = cloud(9)
    drawn = heatmap(matrix, texts_of(9), provenance=GATEWAY).spec["datasets"]["rows"]
    scores = np.array([row["score"] for row in drawn])
    np.testing.assert_allclose(scores, cosine_similarity(matrix), atol=6e-4)


def test_of_many_rows_the_first_are_drawn_and_those_without_a_direction_left_out() -> None:
    matrix = cloud(MOST_ROWS + 20)
    matrix[2], matrix[5] = np.nan, 0
    picture = heatmap(matrix, texts_of(len(matrix)), provenance=GATEWAY)
    names = [row["row"] for row in picture.spec["datasets"]["rows"]]
    assert names == [row for row in range(MOST_ROWS + 2) if row not in (2, 5)]
    assert "60 of 78 rows, the first ones." in picture.text
    assert "2 rows without a vector are not shown." in picture.text


def test_the_colours_begin_at_a_tenth_at_or_below_the_lowest_score_and_the_text_says_so() -> None:
    matrix = cloud(9)
    lowest = heatmap(matrix, texts_of(9), provenance=GATEWAY).spec["encoding"]["color"]["scale"]["domain"][0]
    assert lowest <= cosine_similarity(matrix).min() < lowest + 0.1
    assert f"colours run from {lowest:g} to 1" in heatmap(matrix, texts_of(9), provenance=GATEWAY).text


def test_the_most_and_the_least_similar_pair_are_named() -> None:
    matrix = np.array([[1, 0], [1, 0.1], [-1, 0.5], [0, 1]], dtype=np.float32)
    text = heatmap(matrix, ["a", "b", "c", "d"], provenance=GATEWAY).text
    assert re.search(r"Most alike, 1\.00: row 0 \(a\) and row 1 \(b\)\.", text)
    assert re.search(r"Least alike, -0\.89: row 0 \(a\) and row 2 \(c\)\.", text)


def test_one_row_has_nothing_to_be_compared_with() -> None:
    assert "nothing to be compared with" in heatmap(cloud(1), ["a"], provenance=GATEWAY).text


def test_equal_rows_are_drawn_with_a_scale_of_some_length() -> None:
    matrix = np.ones((3, 4), dtype=np.float32)
    assert heatmap(matrix, texts_of(3), provenance=GATEWAY).spec["encoding"]["color"]["scale"]["domain"] == [0.9, 1]


# Forms


@pytest.mark.parametrize("picture", [scattered(5), heatmap(cloud(5), texts_of(5), provenance=GATEWAY)])
def test_a_front_end_without_html_gets_chart_markdown_and_words(picture: Picture) -> None:
    bundle = picture._repr_mimebundle_()
    assert list(bundle) == ["application/vnd.vegalite.v5+json", "text/markdown", "text/plain"]
    source = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', bundle["text/markdown"])
    assert source is not None
    assert base64.b64decode(source[1]).decode() == picture.svg
    assert bundle["text/plain"] == repr(picture) == str(picture) == picture.text
    assert picture.spec["description"] == " ".join(picture.text.split())


@given(st.lists(ANY_TEXT | st.none(), min_size=2, max_size=4), ANY_TEXT)
def test_no_text_breaks_out_of_the_markdown(texts: list[str | None], name: str) -> None:
    matrix = cloud(len(texts))
    for picture in (
        scatter(matrix, texts, provenance=GATEWAY, color=texts, color_name=name),
        heatmap(matrix, texts, provenance=GATEWAY),
    ):
        markdown = picture._repr_mimebundle_()["text/markdown"]
        assert "\n\n" not in markdown
        root = ET.fromstring("<div>" + re.sub("<(br|img[^>]*)>", r"<\1/>", markdown) + "</div>")
        assert {element.tag for element in root.iter()} <= {"div", "p", "b", "br", "img", "span"}
        assert len(root.findall(".//img")) == 1
        json.dumps(picture._repr_mimebundle_(), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("draw", [scatter, heatmap])
def test_a_picture_says_where_its_vectors_come_from(draw: Any) -> None:
    gateway, offline = (draw(cloud(4), texts_of(4), provenance=origin) for origin in (GATEWAY, OFFLINE))
    assert "gemini-embedding-001 · CLUSTERING · 16 values" in gateway.text
    assert "offline-lexical: lexical, not semantic" in offline.text
    assert "offline-lexical: lexical, not semantic" in " ".join(offline.spec["title"]["subtitle"])


def test_the_words_name_the_colours() -> None:
    assert "Color: topic: a, b." in scattered(2, color=["b", "a"], color_name="topic").text
    assert "Color: size, from 1 to 2." in scattered(2, color=[1, 2], color_name="size").text


def test_a_picture_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        scattered(2).text = "another"  # type: ignore[misc]
