"""Draws the README's pictures anew, from a real browser: ``python -m pytest tests/browser/pictures.py``."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect
from support.page import OpenNotebook

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = EXAMPLES / "pictures"
REVIEWS = f"import pandas as pd\nreviews = pd.read_csv({str(EXAMPLES / 'data' / 'reviews.csv')!r})"
OFFLINE = "%load_ext vn_magic\n%vn offline"


def test_draw_the_panel(notebook: OpenNotebook) -> None:
    page = notebook(OFFLINE, REVIEWS, "%vn panel")
    page.resize(1120, 1100)
    for cell in range(3):
        page.run(cell)
    panel = page.output(2)
    panel.get_by_role("radio", name="Take a variable").check()
    expect(panel).to_contain_text("310 rows")
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(panel).to_contain_text("310 × 768")
    panel.get_by_role("radio", name="Neighbours").check()
    panel.get_by_role("textbox", name="Find").fill("the zip broke on the second day")
    panel.get_by_role("textbox", name="Find").press("Enter")
    expect(panel).to_contain_text("5 rows nearest to")
    page.page.mouse.move(0, 0)
    panel.locator(".vn-panel").screenshot(path=PICTURES / "panel.png")


def test_draw_the_map(notebook: OpenNotebook) -> None:
    embed, draw = "df = %embed -q reviews -c review", 'df.vec.scatter(color="product", text="review")'
    page = notebook(OFFLINE, REVIEWS, embed, draw)
    page.resize(1120, 1100)
    for cell in range(4):
        page.run(cell)
    chart = page.output(3).locator("canvas, svg.marks").first
    expect(chart).to_be_visible()
    chart.screenshot(path=PICTURES / "map.png")
