"""Compare in the panel: settings chosen by clicking, a table and a chart, and the cell that gives the same table."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, expect
from support.gateways import served
from support.panel_page import OpenPanel

from vn_magic.offline import create_app

REVIEWS = Path(__file__).parents[2] / "examples" / "data" / "reviews.csv"
HOSTILE = '<img src="x" onerror="window.wasRun = true">'
_TABLE = """(table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))"""
_COST = ("requests", "tokens", "seconds")


def _figures(table: Locator) -> list[dict[str, str]]:
    """Return a table line by line without what it cost, each cell under its column's name."""
    head, *lines = table.evaluate(_TABLE)
    named = [dict(zip(head, line, strict=True)) for line in lines]
    return [{name: text for name, text in line.items() if name and name not in _COST} for line in named]


def test_chosen_settings_give_a_table_and_a_chart_and_the_copied_cell_gives_the_same_table(panel: OpenPanel) -> None:
    with served(create_app()) as server:
        source = f"import pandas as pd\nreviews = pd.read_csv({str(REVIEWS)!r})"
        page = panel(source, environ={"VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": "for-the-stand-in"})
        page.notebook.run(1)
        page.take_variable("reviews")
        page.turn_to("Compare")
        page.tick("1536", "128", "SEMANTIC_SIMILARITY")
        page.choice("Labels").select_option("product")
        page.says("2 settings from 1 vector a row · 310 rows · 0 duplicates · 0 in the cache · ≈")
        page.button("Run").click()
        page.says("comparison   2 settings × 310 rows")
        assert len(server.texts) == 310
        clicked = _figures(page.root.locator(".vn-compared table"))
        assert [line["dimension"] for line in clicked] == ["1536", "128"]
        assert list(clicked[0])[3:] == ["overlap@10", "rank_correlation", "purity@10", "silhouette"]
        expect(page.canvas).to_be_visible()
        expect(page.picture).to_have_attribute("aria-label", re.compile("Comparison of 2 settings"))
        page.says("By chance overlap would be about 0.03 and purity about 0.12.")
        page.button("Copy cell").click()
        page.says("Copied: paste it into a cell.")
        copied = page.notebook.clipboard()
        assert copied == "%vn compare reviews -c review --dim 1536,128 --labels product"
        cell = page.notebook.append(copied)
        page.notebook.run(cell)
        table = page.notebook.output(cell).locator("table")
        expect(table).to_be_visible()
        assert _figures(table) == clicked
        assert len(server.texts) == 310
        assert page.notebook.complaints == page.notebook.foreign == []


def test_a_tab_keeps_its_result_for_when_it_is_looked_at_again_and_texts_stay_text(panel: OpenPanel) -> None:
    page = panel()
    page.go_offline()
    page.embed(f"{HOSTILE}\na blue rose\na red rose")
    page.turn_to("Compare")
    page.tick("768", "256", "CLUSTERING")
    expect(page.rows).to_have_count(0)
    page.button("Run").click()
    page.says("2 settings × 3 rows")
    page.says("these vectors are lexical, not semantic")
    expect(page.canvas).to_be_visible()
    page.turn_to("Embed")
    expect(page.rows).to_have_count(3)
    expect(page.root.locator(".vn-compared")).to_have_count(0)
    page.turn_to("Compare")
    expect(page.root.locator(".vn-compared tbody tr")).to_have_count(2)
    expect(page.canvas).to_be_visible()
    everywhere = page.notebook.page
    assert everywhere.evaluate("() => window.wasRun") is None
    assert everywhere.locator('img[src="x"]').count() == 0
    assert page.notebook.complaints == page.notebook.foreign == []
