"""Vega-Lite v5 specifications, written by hand: https://vega.github.io/schema/vega-lite/v5.json.

Every name of a field is ours, since Vega-Lite reads dots and brackets in one as a path. What users wrote stands in data
values, titles and domains, which are shown and never evaluated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vn_magic.explore.colors import GREY, ONE_COLOR, SEQUENCE_COLORS, Hues
from vn_magic.explore.figures import ASPECT, LABEL_WIDTH, Dots, Grid, Map, point_size
from vn_magic.explore.labels import one_line, shortened, wrapped

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
# Pixels beside the plot that a front end needs for itself; at 400 pixels JupyterLab leaves 246 to a picture.
_AROUND_MAP, _AROUND_HEATMAP = 190, 275
_WIDEST_PLOT, _NARROWEST_PLOT, _WIDEST_CELL = 460, 120, 48
_PANEL_WIDTH, _LINE_HEIGHT, _NAME_WIDTH = 80, 18, 285


def plain(values: npt.NDArray[np.floating]) -> list[float]:
    """Return floats with as few digits as tell them apart from their neighbours in the array's own precision."""
    return [float(str(value)) for value in values]


def map_spec(plane: Map, description: str) -> dict[str, Any]:
    """Return a map: zoom by wheel, move by drag, hover for the text, click the legend to highlight.

    Parameters
    ----------
    plane
        What is drawn.
    description
        What a screen reader says.
    """
    xs, ys = plain(plane.coordinates[:, 0]), plain(plane.coordinates[:, 1])
    values: list[dict[str, Any]] = [
        {"row": int(row), "x": x, "y": y, "text": shortened(text)}
        for row, x, y, text in zip(plane.rows, xs, ys, plane.texts, strict=True)
    ]
    domain_x, domain_y = plane.domains()
    params: list[dict[str, Any]] = [{"name": "view", "select": "interval", "bind": "scales"}]
    encoding: dict[str, Any] = {
        "x": _axis("x", plane.axes[0], domain_x),
        "y": _axis("y", plane.axes[1], domain_y),
        "color": {"value": ONE_COLOR},
        "tooltip": [{"field": "text", "title": "text"}, {"field": "row", "title": "row"}],
    }
    if plane.hues is not None:
        for value, hue in zip(values, plane.hues.values, strict=True):
            value["color"] = hue
        encoding["color"] = _color(plane.hues)
        encoding["tooltip"].append({"field": "color", "title": "color"})
        if not plane.hues.is_numeric:
            params.append({"name": "picked", "select": {"type": "point", "fields": ["color"]}, "bind": "legend"})
            encoding["opacity"] = {"condition": {"param": "picked", "value": 0.85}, "value": 0.06}
    mark = {
        "type": "point",
        "filled": True,
        "size": point_size(len(values)),
        "opacity": 0.85,
        "stroke": "#444444",
        "strokeWidth": 0.4,
        "invalid": None,
    }
    width = f"clamp(windowSize()[0] - {_AROUND_MAP}, {_NARROWEST_PLOT}, {_WIDEST_PLOT})"
    return {
        **_frame(plane.title, plane.caption, description),
        **_size(width, f"width / {ASPECT:.6f}", params),
        "data": {"values": values},
        "mark": mark,
        "encoding": encoding,
    }


def heatmap_spec(grid: Grid, description: str) -> dict[str, Any]:
    """Return a grid of cells, hover for both texts and the score. Parameters as `map_spec`."""
    rows = list(map(int, grid.rows))
    # A line of the table each, unfolded by the front end: every text is then written once, not once a cell.
    table = [
        {
            "row": row,
            "text": shortened(text),
            "label": f"{row}  {shortened(text, LABEL_WIDTH)}",
            "score": plain(np.round(scores, 3)),
            "column": rows,
        }
        for row, text, scores in zip(rows, grid.texts, grid.scores, strict=True)
    ]
    other = {"data": {"name": "rows"}, "key": "row", "fields": ["text"]}
    count = len(rows)
    # Cells of whole pixels, or seams show between them.
    room = f"clamp(windowSize()[0] - {_AROUND_HEATMAP}, {_NARROWEST_PLOT}, {_WIDEST_PLOT})"
    width = f"{count} * clamp(floor({room} / {count}), 2, {_WIDEST_CELL})"
    axis = {
        "title": None,
        "domain": False,
        "ticks": False,
        "labelOverlap": True,
        "labelFontSize": 9 if count > 30 else 10,
    }
    limit = {"labelLimit": {"expr": "width < 250 ? 75 : 160"}}
    return {
        **_frame(grid.title, grid.caption, description),
        **_size(width, "width", []),
        "datasets": {"rows": table},
        "data": {"name": "rows"},
        "transform": [
            {"flatten": ["score", "column"]},
            {"lookup": "column", "from": other, "as": ["column_text"]},
        ],
        "mark": {"type": "rect"},
        "encoding": {
            "x": {"field": "column", "type": "nominal", "sort": None, "axis": {**axis, "labels": False}},
            "y": {"field": "label", "type": "nominal", "sort": None, "axis": axis | limit},
            "color": {
                "field": "score",
                "type": "quantitative",
                "scale": {"domain": [grid.lowest, 1], "range": list(SEQUENCE_COLORS), "clamp": True},
                "legend": {
                    "title": "cosine similarity",
                    "orient": "bottom",
                    "gradientLength": {"expr": "max(width, 120)"},
                    "values": [grid.lowest, round((grid.lowest + 1) / 2, 2), 1],
                    "format": ".2~f",
                },
            },
            "tooltip": [
                {"field": "score", "type": "quantitative", "format": ".3f", "title": "similarity"},
                {"field": "row", "title": "row"},
                {"field": "text", "title": "text"},
                {"field": "column", "title": "other row"},
                {"field": "column_text", "title": "other text"},
            ],
        },
    }


def dots_spec(dots: Dots, description: str) -> dict[str, Any]:
    """Return a panel a figure with a dot a setting, hover for the numbers. Parameters as `map_spec`.

    Its size is fixed, four panels in 700 pixels: Vega-Lite takes no signal for the width of a part.
    """
    names = [one_line(name) for name in dots.names]
    fields = [f"figure_{number}" for number in range(len(dots.panels))]
    columns = [values for _, values in dots.panels]
    table = [
        {"setting": name, **dict(zip(fields, values, strict=True))}
        for name, *values in zip(names, *columns, strict=True)
    ]
    tooltip: list[dict[str, Any]] = [{"field": "setting", "title": "setting"}]
    for field, (title, _) in zip(fields, dots.panels, strict=True):
        tooltip.append({"field": field, "type": "quantitative", "format": ".3f", "title": one_line(title)})
    panels: list[dict[str, Any]] = []
    for field, (title, _), (low, high), ends in zip(fields, dots.panels, dots.domains(), dots.ends(), strict=True):
        # The names are stated, or a line whose figure is not defined would be missing in this panel alone.
        lines = {"field": "setting", "type": "nominal", "sort": None, "title": None, "scale": {"domain": names}}
        axis = {"ticks": False, "domain": False, "grid": True, "labels": not panels, "labelLimit": _NAME_WIDTH}
        scale = {"domain": [low, high], "nice": False, "zero": False}
        ticks = {"values": list(ends), "format": ".3f", "labelFlush": 12}
        panels.append(
            {
                "width": _PANEL_WIDTH,
                "height": {"step": _LINE_HEIGHT},
                "title": {"text": one_line(title), "anchor": "middle", "fontSize": 11, "fontWeight": "normal"},
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1, "color": ONE_COLOR},
                "encoding": {
                    "y": {**lines, "axis": axis},
                    "x": {"field": field, "type": "quantitative", "title": None, "scale": scale, "axis": ticks},
                    "tooltip": tooltip,
                },
            }
        )
    return {
        **_frame(dots.title, dots.caption, description),
        "data": {"values": table},
        "hconcat": panels,
        "spacing": 10,
    }


def _axis(field: str, title: str, domain: tuple[float, float]) -> dict[str, Any]:
    # Without numbers: a direction in the space of vectors has no unit.
    axis = {"labels": False, "ticks": False, "grid": True, "tickCount": 6}
    scale = {"domain": list(domain), "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "title": one_line(title), "scale": scale, "axis": axis}


def _color(hues: Hues) -> dict[str, Any]:
    legend: dict[str, Any] = {"title": one_line(hues.name) or None, "orient": "bottom"}
    if hues.is_numeric:
        scale = {"domain": list(hues.domain), "range": list(hues.colors)}
        legend["gradientLength"] = {"expr": "width"}
        shown = {"field": "color", "type": "quantitative", "scale": scale, "legend": legend}
        return {"condition": {"test": "isValid(datum.color)", **shown}, "value": GREY}
    legend |= {"columns": {"expr": "width < 300 ? 2 : 3"}, "labelLimit": {"expr": "width < 300 ? 80 : 140"}}
    scale = {"domain": list(hues.domain), "range": list(hues.colors)}
    return {"field": "color", "type": "nominal", "scale": scale, "legend": legend}


def _size(width: str, height: str, params: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a size that follows the window, among the other parameters.

    It overrides Vega's own signals ``width`` and ``height``; the numbers beside it are for Vega-Lite, which would else
    count cells. ``"width": "container"`` is no way: in JupyterLab 4 it does not come to rest, and the page hangs.
    """
    signals = [{"name": "width", "expr": width}, {"name": "height", "expr": height}]
    return {"width": _WIDEST_PLOT, "height": _WIDEST_PLOT, "params": [*signals, *params]}


def _frame(title: str, caption: tuple[str, ...], description: str) -> dict[str, Any]:
    """Return what both pictures share. Colours are stated, for a front end in the dark would put white on white."""
    ink = {"labelColor": "#444444", "titleColor": "#222222"}
    lines = {"domainColor": "#888888", "gridColor": "#eeeeee", "tickColor": "#888888"}
    return {
        "$schema": _SCHEMA,
        "description": one_line(description),
        "title": {"text": one_line(title), "subtitle": wrapped(caption)},
        "background": "white",
        "config": {
            "view": {"stroke": "#cccccc"},
            "title": {
                "anchor": "start",
                "offset": 8,
                "color": "#222222",
                "subtitleColor": "#444444",
                "subtitleFontSize": 10.5,
                "subtitlePadding": 4,
            },
            "axis": {**ink, **lines},
            "legend": ink,
        },
        # The menu's editor is a web page: opening the chart there would carry the texts out of the house.
        "usermeta": {
            "embedOptions": {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}
        },
    }
