"""The panel from a text to its neighbours: what is clicked happens, and the kernel stays free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import expect
from support.engine import behind
from support.gateways import Served, served
from support.panel_page import OpenPanel, PanelPage
from support.turnstile import Turnstile, rows_done
from support.waiting import until

from vn_magic.offline import create_app

REVIEWS = Path(__file__).parents[2] / "examples" / "data" / "reviews.csv"
HOSTILE = '<img src="x" onerror="window.wasRun = true">\n<b>bold</b>\n<script>window.wasRun = true</script>'


def _connected(server: Served) -> dict[str, str]:
    return {"VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": "for-the-stand-in"}


def _printed(page: PanelPage, expression: str) -> Any:
    """Return the value of an expression in the kernel, by way of JSON."""
    [output] = page.notebook.run_code(f"import json\nprint(json.dumps({expression}))")
    return json.loads(output["text"])


def _wait_for_all_under_way(page: PanelPage, server: Served) -> None:
    """Wait until all requests that may be under way have arrived: while they are held, there will be no others."""
    latest = "get_ipython().meta['vn_magic_panel']._runner._latest"
    of_job = f"(lambda job: [job.requests, job.done + job.concurrency])({latest})"
    until(lambda: _printed(page, of_job) == [len(server.texts)] * 2, "all that may be under way")


def _numbers(rows: list[str]) -> list[int]:
    return [int(row.split(" · ")[0]) for row in rows]


def test_typed_text_is_counted_embedded_bound_and_shown_as_text(panel: OpenPanel) -> None:
    page = panel()
    page.go_offline()
    page.type_text(f"{HOSTILE}\nplain\nplain")
    page.says("5 rows · 1 duplicate · 0 in the cache · ≈")
    page.button("Run").click()
    page.says("vectors   5 × 768")
    page.says("5 rows · 1 duplicate · 4 in the cache · ≈0 tokens to send")
    texts = [*HOSTILE.splitlines(), "plain", "plain"]
    expect(page.rows).to_have_text([f"{row} · {text}" for row, text in enumerate(texts)])
    expect(page.root.locator(".vn-rows img").filter(visible=True)).to_have_count(5)
    page.view("Neighbours")
    page.find(HOSTILE.splitlines()[0])
    page.view("Map")
    expect(page.canvas).to_be_visible()
    assert _printed(page, "[list(vectors.columns), vectors.text.tolist(), list(vectors.vec.matrix.shape)]") == [
        ["text", "embedding"],
        texts,
        [5, 768],
    ]
    everywhere = page.notebook.page
    assert everywhere.evaluate("() => window.wasRun") is None
    assert everywhere.locator('img[src="x"], b:text-is("bold")').count() == 0
    assert page.notebook.complaints == page.notebook.foreign == []


def test_a_column_of_a_frame_is_embedded_paged_through_and_searched(panel: OpenPanel) -> None:
    page = panel(f"import pandas as pd\nreviews = pd.read_csv({str(REVIEWS)!r})")
    page.go_offline()
    page.notebook.run(1)
    page.take_variable("reviews")
    expect(page.choice("Column").locator("option")).to_have_text(["choose\xa0…", "review", "product"])
    expect(page.choice("Column")).to_have_value("review")
    page.says("310 rows · 0 duplicates · 0 in the cache")
    page.button("Run").click()
    page.says("rows 0–9 of 310")
    page.button("Next").click()
    page.says("rows 10–19 of 310")
    assert _numbers(page.rows.all_inner_texts()) == list(range(10, 20))
    page.button("Previous").click()
    page.says("rows 0–9 of 310")

    page.view("Neighbours")
    found = _numbers(page.find("too loud"))
    assert found == _printed(page, "vectors.vec.nearest('too loud').index.tolist()")
    page.rows.first.click()
    page.says(f"nearest to row {found[0]} · ")
    around = _printed(page, f"vectors.vec.nearest(vectors.embedding[{found[0]}], k=6).index.tolist()")
    assert around[0] == found[0]
    assert _numbers(page.rows.all_inner_texts()) == around[1:]

    page.view("Table")
    page.says("rows 0–9 of 310")
    expect(page.rows).to_have_count(10)
    page.rows.nth(2).click()
    page.says("nearest to row 2 · ")
    expect(page.root.get_by_role("radio", name="Neighbours", exact=True)).to_be_checked()
    assert page.notebook.complaints == page.notebook.foreign == []


def test_a_running_job_leaves_the_kernel_free_and_cancel_keeps_what_is_finished(panel: OpenPanel) -> None:
    gate = Turnstile()
    with served(behind(gate, create_app())) as server:
        page = panel("lines = [f'text {i}' for i in range(400)]", environ=_connected(server))
        page.notebook.run(1)
        page.take_variable("lines")
        page.says("400 rows · 0 duplicates · 0 in the cache")
        page.button("Run").dblclick()
        gate.allowed = 100
        before = rows_done(page.root, 400, more_than=0)
        gate.allowed = 200
        assert before < rows_done(page.root, 400, more_than=max(before, 199)) <= 200
        assert page.notebook.run_code("6 * 7")[0]["data"]["text/plain"] == "42"
        expect(page.button("Run")).to_be_disabled()
        _wait_for_all_under_way(page, server)
        page.button("Cancel").click()
        page.says("Stopped at 200 of 400 rows. What arrived is in the cache. Run goes on from there.")
        sent = list(server.texts)
        assert len(sent) == len(set(sent))
        gate.allowed = 10_000
        expect(page.button("Run")).to_be_enabled()
        page.says("400 rows · 0 duplicates · 200 in the cache")
        assert server.texts == sent
        page.button("Run").click()
        page.says("200 new, 200 from cache")
        assert len(server.texts) == len(sent) + 200
        assert page.notebook.complaints == page.notebook.foreign == []


def test_the_copied_cell_gives_the_same_result_from_the_cache(panel: OpenPanel) -> None:
    with served(create_app()) as server:
        page = panel(environ=_connected(server))
        page.field("Name").fill("poem")
        page.root.get_by_role("spinbutton", name="Dimension").fill("256")
        page.root.get_by_role("spinbutton", name="Dimension").press("Enter")
        page.embed("roses are red\n  violets are blue\n\n# a %line with {braces}")
        page.says("poem   3 × 256")
        page.button("Copy cell").click()
        page.says("Copied: paste it into a cell.")
        copied = page.notebook.clipboard()
        assert copied == page.cell.text_content()
        page.notebook.run_code("clicked = poem\ndel poem")
        sent = len(server.received)
        [card] = page.notebook.run_code(copied)
        assert "0 new, 3 from cache" in card["data"]["text/plain"]
        assert _printed(page, "bool(poem.text.equals(clicked.text))") is True
        assert _printed(page, "bool((poem.vec.matrix == clicked.vec.matrix).all())") is True
        assert _printed(page, "poem.attrs == clicked.attrs") is True
        assert len(server.received) == sent
