"""A comparison for people to look at: the rounded table, and the chart in its three forms."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.classroom.comparison_report import chart, shown
from vn_magic.exceptions import InputError
from vn_magic.explore.charts import dots_spec
from vn_magic.explore.figures import Dots
from vn_magic.explore.static_charts import dots_svg

SVG = "{http://www.w3.org/2000/svg}"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def comparison(**changes: Any) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "model": "gemini-embedding-001",
            "task_type": ["CLUSTERING", "CLUSTERING", "CLASSIFICATION"],
            "dimension": [128, 3072, 128],
            "overlap": [1.0, 0.51239, 0.25],
            "rank_correlation": [1.0, 0.7, math.nan],
            "purity": [0.2, 0.3, 0.4],
            "silhouette": [-0.01234, 0.0, 0.02],
            "requests": [0, 310, 310],
            "tokens": [0, 6170, 6170],
            "seconds": [0.0, 1.23456, 0.5],
        }
    )
    said = {
        "source": "www.vectronode.com",
        "offline": False,
        "reference": "gemini-embedding-001 · CLUSTERING · 128",
        "k": 7,
        "rows": 310,
        "failed": [],
        "sample": {},
        "notes": [],
    }
    table.attrs["comparison"] = {**said, **changes}
    return table


def drawn(table: pd.DataFrame) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = chart(table).spec["data"]["values"]
    return values


def test_the_table_to_look_at_is_rounded_and_names_the_number_of_neighbours() -> None:
    table = comparison()
    before = table.copy()
    looked_at = shown(table)
    assert list(looked_at)[3:7] == ["overlap@7", "rank_correlation", "purity@7", "silhouette"]
    assert looked_at.iloc[1, 3:].tolist() == [0.512, 0.7, 0.3, 0.0, 310, 6170, 1.23]
    pd.testing.assert_frame_equal(table, before)


def test_a_chart_has_a_panel_a_figure_and_a_dot_where_its_value_is() -> None:
    picture = chart(comparison())
    panels = picture.spec["hconcat"]
    assert [panel["title"]["text"] for panel in panels] == ["overlap@7", "rank correlation", "purity@7", "silhouette"]
    fields = [panel["encoding"]["x"]["field"] for panel in panels]
    assert [[line[field] for field in fields] for line in picture.spec["data"]["values"]] == [
        [1.0, 1.0, 0.2, -0.01234],
        [0.51239, 0.7, 0.3, 0.0],
        [0.25, None, 0.4, 0.02],
    ]
    for panel, (low, high) in zip(panels, [(0.25, 1), (0.7, 1), (0.2, 0.4), (-0.01234, 0.02)], strict=True):
        left, right = panel["encoding"]["x"]["scale"]["domain"]
        assert left < low < high < right
        assert panel["encoding"]["x"]["axis"]["values"] == [low, high]


def test_a_setting_is_called_by_what_differs_and_the_caption_says_what_it_is_compared_with() -> None:
    picture = chart(comparison())
    assert [line["setting"] for line in drawn(comparison())] == [
        "CLUSTERING · 128",
        "CLUSTERING · 3072",
        "CLASSIFICATION · 128",
    ]
    assert [line["setting"] for line in drawn(comparison().head(2))] == ["128", "3072"]
    assert [line["setting"] for line in drawn(comparison().head(1))] == ["gemini-embedding-001 · CLUSTERING · 128"]
    assert "Overlap and rank correlation: with gemini-embedding-001 · CLUSTERING · 128." in picture.text
    assert "310 rows · www.vectronode.com" in picture.text
    assert "CLASSIFICATION · 128: overlap@7 0.250, purity@7 0.400, silhouette 0.020" in picture.text
    assert picture.spec["title"]["text"] == "Comparison of 3 settings"


def test_settings_that_are_called_alike_stay_apart() -> None:
    table = comparison().assign(task_type="CLUSTERING", dimension=[128, 3072, 128])
    assert [line["setting"] for line in drawn(table)] == ["(0) 128", "(1) 3072", "(2) 128"]


def test_models_without_tasks_say_so() -> None:
    table = comparison().assign(task_type=["CLUSTERING", None, None])
    assert drawn(table)[1]["setting"] == "no task · 3072"


def test_offline_vectors_and_rows_that_do_not_count_are_told_on_the_chart() -> None:
    told = comparison(source="offline-lexical", offline=True, failed=[3, 5], rows=5_002)
    picture = chart(told)
    said = "5,000 of 5,002 rows, of which 2,000 were sampled · offline-lexical: lexical, not semantic"
    assert said in picture.text
    assert " ".join(picture.spec["title"]["subtitle"]).endswith(said)
    assert said in unescape(picture._repr_mimebundle_()["text/markdown"])


def test_a_chart_states_its_background_and_opens_no_page() -> None:
    spec = chart(comparison()).spec
    assert spec["background"] == "white"
    assert spec["usermeta"]["embedOptions"]["actions"]["editor"] is False


def test_dots_of_the_still_picture_stand_in_the_order_of_their_values_and_one_that_is_not_defined_is_missing() -> None:
    panels = ET.fromstring(chart(comparison()).svg).findall(f"{SVG}g")
    places = [[float(dot.attrib["cx"]) for dot in panel.findall(f"{SVG}circle")] for panel in panels]
    assert [len(xs) for xs in places] == [3, 2, 3, 3]
    assert places[0][0] > places[0][1] > places[0][2]
    assert places[3] == sorted(places[3])
    assert [text.text for text in panels[0].findall(f"{SVG}text")] == ["overlap@7", "0.250", "1.000"]


def test_one_value_or_none_at_all_is_drawn_on_an_axis_of_some_length() -> None:
    for table in (comparison().head(1), comparison().assign(overlap=math.nan)):
        picture = chart(table)
        json.dumps(picture.spec, allow_nan=False)
        left, right = picture.spec["hconcat"][0]["encoding"]["x"]["scale"]["domain"]
        assert left < right
    assert "nan" not in picture.svg + picture.text


@given(st.lists(ANY_TEXT, min_size=1, max_size=4), ANY_TEXT)
def test_no_name_breaks_the_json_or_the_xml(names: list[str], title: str) -> None:
    dots = Dots(names, [(title, [0.5] * len(names)), ("b", [None] * len(names))], title, (title,))
    spec = json.loads(json.dumps(dots_spec(dots, title), allow_nan=False, ensure_ascii=False).encode())
    assert {panel["encoding"]["x"]["field"] for panel in spec["hconcat"]} == {"figure_0", "figure_1"}
    root = ET.fromstring(dots_svg(dots))
    assert len(root.findall(f"{SVG}g/{SVG}circle")) == len(names)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "rect", "text", "g", "circle"}


def test_a_model_with_a_name_of_markup_is_shown_and_not_run() -> None:
    picture = chart(comparison().assign(model=["a<b>", "$x$", "a<b>"]))
    assert not re.search(r"<b>[^O]", picture._repr_mimebundle_()["text/markdown"].partition("<br>")[2])
    assert "<b>" not in picture.svg


@pytest.mark.parametrize("look", [chart, shown])
def test_a_frame_that_does_not_say_what_it_compares_is_an_error(look: Any) -> None:
    table = comparison()
    table.attrs.clear()
    with pytest.raises(InputError, match="does not say what it compares"):
        look(table)


def test_a_comparison_without_lines_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="no lines"):
        chart(comparison().head(0))
