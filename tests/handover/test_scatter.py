"""``df.vec.to_scatter()`` with the real jupyter-scatter: the points, their texts, and where they come from."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jupyter_client.jsonutil import json_default
from support.kernels import kernel

from vn_magic import Provenance
from vn_magic.exceptions import InputError, MissingExtraError

jscatter = pytest.importorskip("jscatter", reason="needs pip install -r tests/handover/neighbours.txt")


EVERY_KIND = """
import numpy as np, pandas as pd, vn_magic
frame = vn_magic.Session(offline=True).embed(["a cat", "a dog", "a cow"]).assign(
    integer=[1, 2, 3],
    floating=np.float32([0.5, 1, 2]),
    gap=[1, None, 3],
    endless=[1, np.inf, 3],
    tweet=[1234567890123456789 + row for row in range(3)],
    unsigned=np.arange(3, dtype="uint64") + 2**63,
    truth=[True, False, True],
    nullable_truth=pd.array([True, False, None], dtype="boolean"),
    nullable=pd.array([1, 2, 3], dtype="Int64"),
    kind=pd.Categorical(list("aba")),
    truth_kind=pd.Categorical([True, False, True]),
    day=pd.Timestamp("2024-01-01").date(),
    time=pd.date_range("2024-01-01", periods=3, tz="UTC"),
    span=pd.timedelta_range("1h", periods=3),
    month=pd.period_range("2024-01", periods=3, freq="M"),
    complex=[1j, 2j, 3j],
    anything=[object(), [1], {"a": 1}],
)
scatter = frame.vec.to_scatter()
"""


def frame_of(scatter: Any) -> pd.DataFrame:
    frame: pd.DataFrame = scatter.widget.data
    return frame


def test_the_points_are_the_rows_on_their_plane_with_all_columns(whole: pd.DataFrame) -> None:
    scatter = whole.vec.to_scatter()
    assert isinstance(scatter, jscatter.Scatter)
    frame = frame_of(scatter)
    assert list(frame.columns) == ["text", "stars", "x", "y"]
    assert np.array_equal(frame[["x", "y"]], whole.vec.project())
    assert frame["stars"].tolist() == whole["stars"].tolist()
    drawn = scatter.widget.points[:, :2]
    assert np.allclose(np.corrcoef(drawn[:, 0], frame["x"])[0, 1], 1)


def test_a_failed_row_is_no_point_and_the_others_keep_their_labels(rows: pd.DataFrame) -> None:
    scatter = rows.vec.to_scatter()
    assert list(frame_of(scatter).index) == ["p", "q", "r", "s", "t"]
    scatter.widget.selection = np.array([2, 4])
    assert list(rows.loc[scatter.selection(), "stars"]) == [3, 5]


def test_the_first_axis_says_that_the_stand_in_is_not_semantic(whole: pd.DataFrame) -> None:
    first, second = whole.vec.to_scatter().widget.axes_labels
    assert first.startswith("PC 1 (")
    assert "of variance) · offline-lexical: lexical, not semantic · SEMANTIC_SIMILARITY" in first
    assert second.startswith("PC 2 (")


def test_the_first_axis_names_the_gateways_model(whole: pd.DataFrame) -> None:
    whole.vec.provenance = Provenance("a.host", "gemini-embedding-001", "CLUSTERING", 256, unit_length=True)
    assert "gemini-embedding-001 · CLUSTERING" in whole.vec.to_scatter().widget.axes_labels[0]


def test_another_method_lays_the_rows_out_and_labels_its_axes(whole: pd.DataFrame) -> None:
    scatter = whole.vec.to_scatter(method="tsne")
    assert not np.allclose(frame_of(scatter)[["x", "y"]], whole.vec.project())
    assert scatter.widget.axes_labels[1] == "tsne 2"


def test_hovering_shows_the_text_and_what_can_be_shown_as_it_is(whole: pd.DataFrame) -> None:
    frame = whole.assign(
        gap=[1, None, 3, 4, 5],
        kind=pd.Categorical(list("abaab")),
        day=pd.Timestamp("2024-01-01"),
        anything=[object() for _ in range(5)],
        nullable=pd.array([1, None, 3, 4, 5], dtype="Int64"),
    )
    widget = frame.vec.to_scatter().widget
    assert (widget.tooltip_enable, widget.tooltip_preview) == (True, "text")
    assert widget.tooltip_properties == ["stars", "kind", "day"]
    sent: list[dict[str, Any]] = []
    widget.send = sent.append
    widget.show_tooltip(3)
    answer = json.loads(json.dumps(sent[0], default=json_default))
    assert answer["preview"] == whole["text"].iloc[3]
    assert answer["properties"]["stars"] == 4


def test_a_notebook_shows_a_frame_with_columns_of_every_kind_and_nothing_on_stderr() -> None:
    with kernel(environ=dict(os.environ)) as started:
        made, shown = started.run(EVERY_KIND), started.run("scatter.show()")
        hovered = started.run("scatter.widget.show_tooltip(1)")
    for reply in (made, shown, hovered):
        assert (reply.status, reply.stderr, reply.error) == ("ok", "", [])
    assert shown.result is not None
    assert "application/vnd.jupyter.widget-view+json" in shown.result


def test_numbers_that_no_histogram_can_be_made_of_are_not_shown_on_hovering(whole: pd.DataFrame) -> None:
    tweets = [1234567890123456789 + row for row in range(5)]
    frame = whole.assign(tweet=tweets, endless=[1, np.inf, 3, 4, 5], huge=[-1.7e308, 1.7e308, 0, 0, 0], truth=True)
    scatter = frame.vec.to_scatter()
    assert scatter.widget.tooltip_properties == ["stars"]
    assert frame_of(scatter)["tweet"].tolist() == tweets


def test_numbers_in_the_place_of_texts_stay_numbers(whole: pd.DataFrame) -> None:
    scatter = whole.vec.to_scatter(text="stars", color_by="stars")
    assert scatter.widget.tooltip_preview == "stars"
    assert frame_of(scatter)["stars"].dtype == whole["stars"].dtype
    assert scatter.widget.color_title == "stars"


def test_what_is_no_json_in_the_place_of_texts_is_shown_as_text(rows: pd.DataFrame) -> None:
    days = [pd.Period("2024-01-01") + row for row in range(6)]
    scatter = rows.assign(day=days).vec.to_scatter(text="day")
    assert frame_of(scatter)["day"].tolist() == [str(days[row]) for row in (0, 1, 3, 4, 5)]


def test_an_axis_of_the_users_own_is_called_by_its_name(whole: pd.DataFrame) -> None:
    first, second = whole.vec.to_scatter(x="stars").widget.axes_labels
    assert first.startswith("stars · offline-lexical: lexical, not semantic")
    assert second.startswith("PC 2 (")
    first, second = whole.vec.to_scatter(y=np.arange(5.0)).widget.axes_labels
    assert first.startswith("PC 1 (")
    assert second == "y"


def test_where_there_is_no_text_the_index_stands_for_it(whole: pd.DataFrame) -> None:
    assert frame_of(whole["embedding"].vec.to_scatter())["text"].tolist() == list("pqrst")


def test_texts_may_stand_in_a_column_of_another_name(whole: pd.DataFrame) -> None:
    widget = whole.rename(columns={"text": "review"}).vec.to_scatter(text="review").widget
    assert (widget.tooltip_preview, widget.tooltip_properties) == ("review", ["stars"])


def test_options_go_to_jupyter_scatter_and_before_ours(whole: pd.DataFrame) -> None:
    widget = whole.vec.to_scatter(color_by="stars", height=333, axes_labels=["a", "b"], tooltip=False).widget
    assert (widget.color_title, widget.height, widget.axes_labels) == ("stars", 333, ["a", "b"])
    assert widget.tooltip_enable is False


def test_one_row_is_one_point(whole: pd.DataFrame) -> None:
    assert len(frame_of(whole.iloc[:1].vec.to_scatter())) == 1


def test_the_frame_is_left_as_it_was(rows: pd.DataFrame) -> None:
    before, attrs = rows.copy(), dict(rows.attrs)
    rows.vec.to_scatter()
    pd.testing.assert_frame_equal(rows.drop(columns="embedding"), before.drop(columns="embedding"))
    assert rows.attrs == attrs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color_by": "colour"}, "jupyter-scatter refuses this: there is no 'colour'."),
        ({"color_by": "flag"}, "jupyter-scatter refuses this: flag is of an unsupported data type: bool."),
        ({"method": "isomap"}, "to_scatter: there is no method 'isomap'."),
        ({"text": "body"}, "There is no column 'body' to take the texts from"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_two_lines(whole: pd.DataFrame, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as told:
        whole.assign(flag=True).vec.to_scatter(**options)
    assert str(told.value).startswith(message)
    assert len(str(told.value).splitlines()) <= 2


def test_a_column_in_the_way_is_named(whole: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"to_scatter: there is a column 'y' already(.|\n)*rename\(columns=\{'y'"):
        whole.assign(y=1).vec.to_scatter()


def test_without_a_vector_there_is_nothing_to_draw(rows: pd.DataFrame) -> None:
    for frame in (rows.iloc[2:3], rows.iloc[:0]):
        with pytest.raises(InputError, match=r"to_scatter: .*nothing to draw"):
            frame.vec.to_scatter()


def test_without_jupyter_scatter_the_command_that_installs_it_is_said(
    whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jscatter", None)
    with pytest.raises(MissingExtraError, match="jupyter-scatter is not installed here") as told:
        whole.vec.to_scatter()
    assert str(told.value).splitlines()[1] == 'Next: pip install "vn_magic[scatter]"'
