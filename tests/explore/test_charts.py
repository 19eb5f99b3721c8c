"""Specifications and their SVG twins: what they say, and that no text can break them."""

from __future__ import annotations

import json
import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.explore.charts import heatmap_spec, map_spec
from vn_magic.explore.colors import CATEGORY_COLORS, GREY, SEQUENCE_COLORS, blended, hues_of
from vn_magic.explore.figures import ASPECT, Grid, Map
from vn_magic.explore.labels import entities, inert_html, one_line, shortened, wrapped
from vn_magic.explore.static_charts import heatmap_svg, map_svg

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "a<b>&\"'`|]]>\n\x00\x1b\ud800\ufffe$x^2$\\(y\\)"
# Any text at all, lone surrogates and control characters among it.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | st.just(NASTY)


def plane(count: int = 5, **changes: Any) -> Map:
    coordinates = np.random.default_rng(count).standard_normal((count, 2)).astype(np.float32)
    given = {
        "rows": range(count),
        "coordinates": coordinates,
        "texts": [f"text {row}" for row in range(count)],
        "axes": ("PC 1", "PC 2"),
        "title": "Scatter",
        "caption": ("A sentence.",),
    }
    return Map(**{**given, **changes})


def grid(texts: list[str | None]) -> Grid:
    scores = np.full((len(texts), len(texts)), 0.25, dtype=np.float32)
    np.fill_diagonal(scores, 1.0)
    return Grid(range(len(texts)), scores, texts, 0.2, "Heatmap", ("A sentence.",))


def field_names(value: object) -> set[str]:
    """Return whatever a specification names as a field."""
    if isinstance(value, list):
        return set().union(*map(field_names, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    own = {value["field"]} if isinstance(value.get("field"), str) else set()
    return own.union(*(field_names(item) for key, item in value.items() if key not in ("data", "datasets")))


# Any text


@given(st.lists(ANY_TEXT | st.none(), min_size=1, max_size=5), ANY_TEXT)
def test_no_text_breaks_the_json_or_the_xml_of_a_map(texts: list[str | None], name: str) -> None:
    drawn = plane(len(texts), texts=texts, title=name, caption=(name,), axes=(name, name), hues=hues_of(name, texts))
    json.dumps(map_spec(drawn, name), allow_nan=False, ensure_ascii=False).encode()
    root = ET.fromstring(map_svg(drawn))
    assert len(root.findall(f".//{SVG}circle")) == len(texts)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "rect", "text", "g", "circle"}


@given(st.lists(ANY_TEXT | st.none(), min_size=1, max_size=5))
def test_no_text_breaks_the_json_or_the_xml_of_a_heatmap(texts: list[str | None]) -> None:
    drawn = grid(texts)
    json.dumps(heatmap_spec(drawn, "words"), allow_nan=False, ensure_ascii=False).encode()
    root = ET.fromstring(heatmap_svg(drawn))
    assert len(root.findall(f"{SVG}g/{SVG}g/{SVG}rect")) == len(texts) ** 2
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "rect", "text", "g"}


@given(ANY_TEXT)
def test_html_of_a_text_has_no_sign_that_markdown_or_mathjax_reads(text: str) -> None:
    html = inert_html(text)
    assert not re.search(r"[<>&]", re.sub(r"</?span>|&#\d+;", "", html))
    assert not set(html) & set("$\\`*_[]|!~^{}\n\"'")
    assert not re.search(r"(?<!<span>)&#(36|92);", html)
    assert not set(entities(text)) & set("$\\`*_[]|!~^{}\n\"'<>")
    assert "".join(ET.fromstring(f"<p>{html}</p>").itertext()) == one_line(text)


@given(ANY_TEXT, st.integers(2, 40))
def test_a_shortened_text_is_one_line_of_the_width_asked_for(text: str, width: int) -> None:
    short = shortened(text, width)
    assert short == "(no text)" or 0 < len(short) <= width
    assert len(short.splitlines()) == 1


def test_a_missing_and_a_blank_text_are_said_to_be_none() -> None:
    assert (shortened(None), shortened(" \n")) == ("(no text)", "(no text)")


def test_a_caption_is_broken_into_lines_that_fit_a_narrow_panel() -> None:
    assert wrapped(["word " * 30, "end"])[-1] == "end"
    assert max(map(len, wrapped(["word " * 30]))) <= 41


# Maps


def test_names_of_fields_are_never_the_users() -> None:
    drawn = plane(3, hues=hues_of("a.b[0]", ["x", "y", "x"]))
    assert field_names(map_spec(drawn, "")) == {"x", "y", "text", "row", "color"}
    assert field_names(heatmap_spec(grid(["a", "b"]), "")) == {"row", "text", "label", "score", "column", "column_text"}


def test_coordinates_come_back_from_the_json_as_they_were() -> None:
    drawn = plane(50)
    values = json.loads(json.dumps(map_spec(drawn, "")))["data"]["values"]
    returned = np.array([[value["x"], value["y"]] for value in values], dtype=np.float32)
    assert np.array_equal(returned, drawn.coordinates)


@pytest.mark.parametrize("stretch", [(9, 1), (1, 9), (0, 1), (1, 0), (0, 0), (1e-20, 1e-20)])
def test_a_unit_is_equally_long_on_both_axes_and_every_point_is_inside(stretch: tuple[float, float]) -> None:
    coordinates = (np.random.default_rng(0).standard_normal((20, 2)) * stretch + 3).astype(np.float32)
    drawn = plane(20, coordinates=coordinates)
    (left, right), (bottom, top) = drawn.domains()
    assert math.isclose((right - left) / (top - bottom), ASPECT)
    assert (coordinates > (left, bottom)).all()
    assert (coordinates < (right, top)).all()


def test_a_map_can_be_zoomed_and_its_legend_clicked() -> None:
    params = {param["name"]: param for param in map_spec(plane(2, hues=hues_of("c", ["x", "y"])), "")["params"]}
    assert params["view"] == {"name": "view", "select": "interval", "bind": "scales"}
    assert params["picked"]["bind"] == "legend"


def test_a_spec_states_its_background_and_does_not_ask_for_the_container() -> None:
    for spec in (map_spec(plane(), ""), heatmap_spec(grid(["a"]), "")):
        assert spec["background"] == "white"
        assert "container" not in json.dumps(spec)
        assert spec["usermeta"]["embedOptions"]["actions"]["editor"] is False


def test_svg_points_stand_where_the_coordinates_say() -> None:
    drawn = plane(4, coordinates=np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32))
    places = [
        (float(circle.attrib["cx"]), float(circle.attrib["cy"]))
        for circle in ET.fromstring(map_svg(drawn)).iter(f"{SVG}circle")
    ]
    assert places[0][0] == places[2][0] < places[1][0] == places[3][0]
    assert places[2][1] == places[3][1] < places[0][1] == places[1][1]
    assert math.isclose(places[1][0] - places[0][0], places[0][1] - places[2][1], abs_tol=0.11)


# Colours


def test_numbers_are_a_scale_and_what_is_missing_is_grey() -> None:
    hues = hues_of("n", [1, 2.5, None, np.float32(4), math.nan, math.inf])
    assert (hues.is_numeric, hues.domain) == (True, (1.0, 4.0))
    assert hues.values == [1.0, 2.5, None, 4.0, None, None]
    assert hues.of_points() == [SEQUENCE_COLORS[0], SEQUENCE_COLORS[4], GREY, SEQUENCE_COLORS[-1], GREY, GREY]


@pytest.mark.parametrize("values", [[True, False], ["1", "2"], [1, "2"], [None, None], [np.True_], [(1, 2)]])
def test_everything_else_is_categories(values: list[object]) -> None:
    hues = hues_of("c", values)
    assert not hues.is_numeric
    assert set(hues.values) == set(hues.domain)


def test_the_most_frequent_categories_keep_a_colour_and_the_rest_share_one() -> None:
    values = [f"c{number:02}" for number in range(20) for _ in range(number + 1)]
    hues = hues_of("c", [*values, None])
    assert hues.domain == [*(f"c{number}" for number in range(11, 20)), "other (11 values)", "(no value)"]
    assert len(set(hues.colors)) == len(hues.domain) == len(CATEGORY_COLORS) + 2
    assert list(hues.values).count("other (11 values)") == sum(range(1, 12))


def test_categories_that_look_the_same_when_shortened_stay_apart() -> None:
    hues = hues_of("c", ["x" * 100 + "1", "x" * 100 + "2", "(no value)", None])
    assert len(hues.domain) == len(set(hues.domain)) == 4
    assert len(set(hues.values)) == 4


@given(st.floats(-1, 2))
def test_a_blended_colour_is_a_colour(share: float) -> None:
    assert re.fullmatch("#[0-9a-f]{6}", blended(share))


def test_the_scale_meets_its_steps() -> None:
    assert [blended(step / 8) for step in range(9)] == list(SEQUENCE_COLORS)


# Heat maps


def test_every_text_of_a_heatmap_is_written_once() -> None:
    spec = heatmap_spec(grid([f"unmistakable {row}" for row in range(9)]), "")
    assert json.dumps(spec["datasets"]).count('"text": "unmistakable 4"') == 1
    assert [len(row["score"]) for row in spec["datasets"]["rows"]] == [9] * 9


def test_rows_of_equal_text_stay_apart() -> None:
    rows = heatmap_spec(grid(["same", "same", None]), "")["datasets"]["rows"]
    assert [row["label"] for row in rows] == ["0  same", "1  same", "2  (no text)"]


def test_the_colours_of_a_heatmap_run_over_the_stated_domain() -> None:
    scale = heatmap_spec(grid(["a", "b"]), "")["encoding"]["color"]["scale"]
    assert scale["domain"] == [0.2, 1]
