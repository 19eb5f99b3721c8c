"""The panel for everybody: by keyboard alone, on narrow and wide pages, in light and dark."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest
from playwright.sync_api import Locator, expect
from support.lab import SECONDS
from support.panel_page import OpenPanel, PanelPage

from vn_magic.models import TASK_TYPES

LONG = "a text that is long enough to be broken into several lines on a narrow page, or to be cut there " * 3
LINES = f"{LONG}\n{'unbroken' * 30}\nroses are red\nviolets are blue\nsugar is sweet"
VIEWS = ("Table", "Map", "Neighbours", "Heatmap")
# What sticks out of the panel's box or has a scroll bar. Text areas and the cell may scroll, for they hold any text;
# the chart of a comparison may, for a smaller one could not be read, and its figures stand in the table above.
_MISFITS = """(root) => {
  const box = root.getBoundingClientRect();
  const may = 'textarea, input, select, option, .vn-cell pre, .vn-cell pre *, .vn-chart *';
  const found = [];
  for (const element of root.querySelectorAll('*')) {
    if (element.matches(may) || !element.checkVisibility()) continue;
    const say = (what) => found.push(`${element.tagName}.${element.className}: ${what}`);
    const {left, right} = element.getBoundingClientRect();
    const {overflowY} = getComputedStyle(element);
    if (right > box.right + 1 || left < box.left - 1) say(`from ${left} to ${right}`);
    if (element.clientWidth && element.scrollWidth > element.clientWidth + 1) say(`${element.scrollWidth} px wide`);
    if (/auto|scroll/.test(overflowY) && element.scrollHeight > element.clientHeight + 1) say('a scroll bar');
  }
  return found;
}"""
_FOCUS = """() => {
  const element = document.activeElement;
  if (!element.closest('.vn-panel')) return null;
  const {outlineStyle, outlineWidth} = getComputedStyle(element);
  const label = element.labels?.[0] ?? element.closest('label') ?? element;
  const name = element.getAttribute('aria-label') || label.innerText || element.title;
  return {name: name.trim(), outline: outlineStyle !== 'none' && parseFloat(outlineWidth) > 0};
}"""
# Not ours: the button of the menu that vega-embed, in JupyterLab, puts beside every chart. It has a title only.
_FOREIGN_BARRIER = "summary-name"


def _full(panel: OpenPanel) -> PanelPage:
    page = panel()
    page.go_offline()
    page.embed(LINES)
    return page


def _show(page: PanelPage, view: str) -> None:
    page.view(view)
    if view == "Neighbours":
        page.find("roses")
    elif view != "Table":
        expect(page.canvas).to_be_visible()


def _compare(page: PanelPage) -> None:
    page.turn_to("Compare")
    page.root.get_by_role("checkbox", name="CODE_RETRIEVAL_QUERY").check()
    page.button("Run").click()
    page.says("6 settings × 5 rows")
    expect(page.canvas).to_be_visible()


def _misfits(page: PanelPage) -> list[str]:
    """Return what does not fit once the page has arranged what it was just given."""
    deadline = time.monotonic() + SECONDS
    while (found := page.root.evaluate(_MISFITS)) and time.monotonic() < deadline:
        page.notebook.page.wait_for_timeout(50)
    return list(found)


def _tab_to(page: PanelPage, name: str) -> list[str]:
    """Press Tab until a control has the focus, and return what had it in between."""
    passed: list[str] = []
    for _ in range(60):
        page.notebook.page.keyboard.press("Tab")
        focus = page.notebook.page.evaluate(_FOCUS)
        if focus is None:
            continue
        assert focus["outline"], f"the focus on {focus['name']!r} is not seen"
        if focus["name"].startswith(name):
            return passed
        passed.append(focus["name"])
    raise AssertionError(f"Tab never reaches {name!r}, only {passed}")


@pytest.mark.parametrize("width", [400, 1300])
def test_nothing_sticks_out_or_scrolls(panel: OpenPanel, width: int) -> None:
    page = _full(panel)
    page.notebook.resize(width, 1800)
    expect(page.root).to_be_visible()
    for view in VIEWS:
        _show(page, view)
        assert _misfits(page) == [], view
    page.root.get_by_role("radio", name="Take a variable").check()
    page.root.get_by_role("checkbox", name="Offline stand-in").uncheck()
    expect(page.token).to_be_visible()
    assert _misfits(page) == []
    page.go_offline()
    page.root.get_by_role("radio", name="Type or paste it").check()
    _compare(page)
    assert _misfits(page) == []


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_there_is_no_serious_barrier(panel: OpenPanel, axe: Callable[[Locator], list[str]], theme: str) -> None:
    page = panel()
    page.notebook.set_theme(theme)
    assert axe(page.root) == []
    page.button("Run").click()
    expect(page.alerts).to_contain_text("There is no text yet")
    assert axe(page.root) == []
    page.go_offline()
    page.embed(LINES)
    for view in VIEWS:
        _show(page, view)
        ours = [barrier for barrier in axe(page.root) if not barrier.startswith(_FOREIGN_BARRIER)]
        assert ours == [], view
    _compare(page)
    assert [barrier for barrier in axe(page.root) if not barrier.startswith(_FOREIGN_BARRIER)] == []


def test_a_keyboard_is_enough_from_the_first_field_to_the_copied_cell(panel: OpenPanel) -> None:
    page = panel()
    keyboard = page.notebook.page.keyboard
    page.notebook.evaluate("panel.content.activeCellIndex = 0; panel.content.activate()")
    tab_to = partial(_tab_to, page)
    tab_to("Offline stand-in")
    passed = tab_to("Rows")
    assert [name.split(" for ")[0] for name in passed] == [
        *("Base URL", "Token", "Use token", "Check", "Forget token"),
        *("Type or paste it", "Take a variable"),  # ipywidgets gives its radio buttons no group: each takes the focus
    ]
    keyboard.type("roses are red")
    keyboard.press("Enter")
    keyboard.type("violets are blue")
    page.says("2 rows")
    assert [name.split(" (")[0] for name in tab_to("Run")] == [
        *("Split", "Embed", "Compare"),
        *("Model", "Task", "Dimension", "768", "1536", "3072", "Unit length", "Failures", "Result", "Name"),
    ]
    tab_to("Offline stand-in")
    keyboard.press("Space")
    page.says("these vectors are lexical")
    tab_to("Run")
    keyboard.press("Enter")
    page.says("vectors   2 × 768")
    expect(page.button("Cancel")).to_be_disabled()
    assert tab_to("Map") == ["Table"]  # from where the focus was
    keyboard.press("Space")
    expect(page.canvas).to_be_visible()
    tab_to("Neighbours")
    keyboard.press("Space")
    expect(page.field("Find")).to_be_visible()
    tab_to("Find")
    keyboard.type("violet")
    keyboard.press("Enter")
    page.says("2 rows nearest to “violet”")
    tab_to("1 · violets are blue")
    keyboard.press("Space")
    page.says("1 row nearest to row 1 · violets are blue")
    tab_to("Copy cell")
    keyboard.press("Enter")
    page.says("Copied: paste it into a cell.")
    assert page.notebook.clipboard() == "%%embed vectors\nroses are red\nviolets are blue"
    assert len(page.notebook.saved()["cells"]) == 1
    assert page.notebook.complaints == page.notebook.foreign == []


def test_a_keyboard_is_enough_to_compare(panel: OpenPanel) -> None:
    page = panel()
    page.go_offline()
    page.type_text("roses are red\nviolets are blue\nsugar is sweet")
    keyboard, tab_to = page.notebook.page.keyboard, partial(_tab_to, page)
    page.field("Rows").focus()
    tab_to("Compare")
    keyboard.press("Space")
    expect(page.root.get_by_role("checkbox", name="128", exact=True)).to_be_visible()
    assert tab_to("768") == ["3072", "1536"]
    keyboard.press("Space")
    assert [name.split(" (")[0] for name in tab_to("Run")] == [
        *("512", "256", "128", *TASK_TYPES),
        *("Models", "Neighbours", "Name"),  # no labels: these texts are not in a frame
    ]
    page.says("2 settings from 1 vector a row")
    keyboard.press("Enter")
    page.says("2 settings × 3 rows")
    tab_to("Copy cell")
    keyboard.press("Enter")
    page.says("Copied: paste it into a cell.")
    assert page.notebook.clipboard() == (
        "texts = ['roses are red', 'violets are blue', 'sugar is sweet']\n%vn compare texts --dim 256,128"
    )
    assert page.notebook.complaints == page.notebook.foreign == []
