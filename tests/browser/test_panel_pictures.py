"""The panel's pictures: a point says its text, the caption what the axes keep, and the wheel zooms."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from playwright.sync_api import Locator, expect
from support.lab import SECONDS
from support.page import Notebook
from support.panel_page import OpenPanel

TEXTS = ["a cat sat on the mat", "stock markets fell sharply", "Regen und Wind im November"]
# The middles of the spots of colour, in CSS pixels from the canvas' corner. All that is not a point is grey.
_SPOTS = """(canvas) => {
  const {width, height} = canvas;
  const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  const coloured = (at) => {
    const [red, green, blue] = data.slice(4 * at, 4 * at + 3);
    return Math.max(red, green, blue) - Math.min(red, green, blue) > 30;
  };
  const seen = new Set();
  const spots = [];
  for (let start = 0; start < width * height; start++) {
    if (seen.has(start) || !coloured(start)) continue;
    let [count, x, y] = [0, 0, 0];
    const open = [start];
    seen.add(start);
    while (open.length) {
      const at = open.pop();
      [count, x, y] = [count + 1, x + at % width, y + Math.floor(at / width)];
      for (const next of [at - 1, at + 1, at - width, at + width]) {
        if (!seen.has(next) && coloured(next)) seen.add(next) && open.push(next);
      }
    }
    const scale = width / canvas.getBoundingClientRect().width;
    if (count > 8) spots.push({x: x / count / scale, y: y / count / scale});
  }
  return spots;
}"""
# The first yellow pixel from the top: of a heatmap that is where the first row meets itself.
_FIRST_YELLOW = """(canvas) => {
  const {width, height} = canvas;
  const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  for (let at = 0; at < width * height; at++) {
    const [red, green, blue] = data.slice(4 * at, 4 * at + 3);
    if (red > 230 && green > 200 && blue < 100) {
      const scale = width / canvas.getBoundingClientRect().width;
      return {x: at % width / scale + 4, y: Math.floor(at / width) / scale + 4};
    }
  }
}"""


def test_points_say_their_texts_the_caption_its_limits_and_the_wheel_zooms(panel: OpenPanel) -> None:
    page = panel()
    page.go_offline()
    page.embed("\n".join(TEXTS))
    page.view("Map")
    expect(page.picture).to_have_attribute("aria-label", re.compile("These two axes keep 100 % of the variance"))
    spots = _standing(page.canvas, _SPOTS)
    assert len(spots) == len(TEXTS)
    assert {_hovered(page.notebook, page.canvas, spot) for spot in spots} == {
        f"text:{text}row:{row}" for row, text in enumerate(TEXTS)
    }
    farther = _turned_wheel(page.canvas, 300)
    assert math.dist(*_two(farther)) < 0.9 * math.dist(*_two(spots))
    back = _turned_wheel(page.canvas, -300)
    assert math.dist(*_two(back)) > 0.98 * math.dist(*_two(spots))
    assert page.notebook.complaints == page.notebook.foreign == []


def test_the_heatmap_says_two_texts_and_their_similarity(panel: OpenPanel) -> None:
    page = panel()
    page.go_offline()
    page.embed("\n".join(TEXTS))
    page.view("Heatmap")
    expect(page.canvas).to_be_visible()
    hovered = _hovered(page.notebook, page.canvas, _standing(page.canvas, _FIRST_YELLOW))
    assert hovered == f"similarity:1.000row:0text:{TEXTS[0]}other row:0other text:{TEXTS[0]}"
    assert page.notebook.complaints == page.notebook.foreign == []


def _standing(canvas: Locator, script: str) -> Any:
    """Return what is found in a picture once it is drawn, and is found there again: it grows into its place."""
    deadline = time.monotonic() + SECONDS
    before = None
    while not (found := canvas.evaluate(script)) or found != before:
        assert time.monotonic() < deadline, "the picture does not come to rest"
        before = found
        canvas.page.wait_for_timeout(100)
    return found


def _hovered(notebook: Notebook, canvas: Locator, spot: dict[str, float]) -> str:
    tip = notebook.page.locator("#vg-tooltip-element.visible")
    notebook.page.mouse.move(0, 0)
    expect(tip).to_have_count(0)
    canvas.hover(position={"x": spot["x"], "y": spot["y"]})
    expect(tip).to_be_visible()
    return tip.locator("table").text_content() or ""


def _turned_wheel(canvas: Locator, by: int) -> list[dict[str, float]]:
    """Turn the wheel over the middle of the picture, wait for another picture, and return its spots."""
    canvas.hover()
    before = canvas.evaluate("(canvas) => canvas.toDataURL()")
    canvas.page.mouse.wheel(0, by)
    canvas.page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before", arg=[canvas.element_handle(), before]
    )
    spots: list[dict[str, float]] = _standing(canvas, _SPOTS)
    return spots


def _two(spots: list[dict[str, float]]) -> list[tuple[float, float]]:
    """Return the places of the highest and the lowest spot."""
    return [(spot["x"], spot["y"]) for spot in (spots[0], spots[-1])]
