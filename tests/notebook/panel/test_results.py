"""The views of a result: pages of rows, neighbours and pictures."""

from __future__ import annotations

import pytest
from support.gateways import Served
from support.panels import Desk

BODY = "The cat sleeps.\nA cat is sleeping.\nThe train was late.\nOur train was late again.\nBread rises overnight."


def _rows(desk: Desk, view: str) -> list[str]:
    rows: list[str] = desk.see(
        f"[b.description for b, line in zip(p._results.{view}._rows._texts, p._results.{view}._rows._lines) "
        "if line.layout.display is None]"
    )
    return rows


def _heading(desk: Desk, part: str) -> None:
    desk.until(f"{part!r} in p._results._neighbours._heading.value")


def test_a_table_is_turned_page_by_page_and_no_further_than_its_rows(panel: Desk) -> None:
    panel.type("_text._body", "\n".join(f"text {number}" for number in range(23)))
    panel.run()
    seen = [_rows(panel, "_table")]
    for _ in range(3):
        panel.click("_results._table._on")
        seen.append(_rows(panel, "_table"))
    assert [page[0] for page in seen] == ["0 · text 0", "10 · text 10", "20 · text 20", "20 · text 20"]
    assert [len(page) for page in seen] == [10, 10, 3, 3]
    assert panel.said("_results._table._place") == "rows 20–22 of 23"
    assert panel.see("[p._results._table._back.disabled, p._results._table._on.disabled]") == [False, True]


def test_texts_are_shown_as_text_and_strips_as_images(panel: Desk) -> None:
    panel.type("_text._body", "<img src=x onerror=alert(1)>")
    panel.run()
    assert _rows(panel, "_table") == ["0 · <img src=x onerror=alert(1)>"]  # a button's description is text
    assert "onerror" not in panel.see("p._results._table._rows._beside[0].value")
    panel.choose("_results._view", "Neighbours")
    panel.click("_results._neighbours._find")
    panel.ask("<b>bold</b>")
    _heading(panel, "&lt;b&gt;bold&lt;/b&gt;")


def test_a_question_finds_the_rows_nearest_to_it_and_costs_one_text(online: Desk, gateway: Served) -> None:
    online.type("_text._body", BODY)
    online.run()
    online.choose("_results._view", "Neighbours")
    online.type("_results._neighbours._k", 2)
    online.ask("late trains")
    online.click("_results._neighbours._find")  # Enter and a click ask the same
    online.settled()  # Enter asks a moment later, and may find the click's question answered
    _heading(online, "2 rows nearest to “late trains”")
    assert {row.split(" · ")[0] for row in _rows(online, "_neighbours")} == {"2", "3"}
    assert gateway.texts.count("late trains") == 1
    online.type("_results._neighbours._k", 4)
    _heading(online, "4 rows nearest")
    assert len(_rows(online, "_neighbours")) == 4
    assert gateway.texts.count("late trains") == 1


def test_clicking_a_row_looks_around_it_and_leaves_it_out(online: Desk, gateway: Served) -> None:
    online.type("_text._body", BODY)
    online.run()
    sent = len(gateway.received)
    online.click("_results._table._rows._texts[1]")
    _heading(online, "nearest to row 1 · A cat is sleeping.")
    assert online.see("p._results._view.value") == "Neighbours"
    assert _rows(online, "_neighbours")[0] == "0 · The cat sleeps."
    assert not any(row.startswith("1 · ") for row in _rows(online, "_neighbours"))
    online.click("_results._neighbours._rows._texts[0]")
    _heading(online, "nearest to row 0 · The cat sleeps.")
    assert len(gateway.received) == sent


def test_a_question_that_fails_is_told_in_the_panel_and_the_next_one_is_answered(online: Desk, gateway: Served) -> None:
    online.type("_text._body", BODY)
    online.run()
    online.choose("_results._view", "Neighbours")
    online.kernel.run("%config VnMagic.base_url = 'https://gateway.example'")
    online.ask("a cat")
    online.until("'ProvenanceError' in p._results._message.widget.value")
    assert online.outputs() == []
    online.kernel.run(f"%config VnMagic.base_url = {gateway.url!r}")
    online.click("_results._neighbours._find")
    _heading(online, "nearest to “a cat”")
    assert online.said("_results._message.widget") == ""


@pytest.mark.parametrize(("view", "said"), [("Map", "Scatter of 5 rows"), ("Heatmap", "Heatmap of 5 rows")])
def test_a_picture_is_drawn_with_its_twins(panel: Desk, view: str, said: str) -> None:
    panel.type("_text._body", BODY)
    panel.run()
    panel.choose("_results._view", view)
    panel.until("len(p._results._picture.outputs)")
    kinds = panel.see("sorted(p._results._picture.outputs[0]['data'])")
    assert "application/vnd.vegalite.v5+json" in kinds
    assert said in panel.see("p._results._picture.outputs[0]['data']['text/plain']")


def test_a_model_without_tasks_has_none_on_the_cell_and_can_be_run(panel: Desk) -> None:
    panel.type("_text._body", "a")
    panel.choose("_settings._task", "CLUSTERING")
    panel.type("_settings._model", "gemini-embedding-2")
    assert panel.see("p._settings._task.disabled") is True
    assert panel.see("p._cell.code") == "%%embed vectors --model gemini-embedding-2\na"
    panel.type("_settings._model", "gemini-embedding-001")
    assert panel.see("p._cell.code") == "%%embed vectors --task CLUSTERING\na"


def test_a_name_that_exists_is_said_to_be_replaced(panel: Desk) -> None:
    panel.kernel.run("mine = pd.DataFrame({'a': [1, 2]})")
    panel.type("_settings._out", "mine")
    assert panel.said("_settings._remark") == "mine exists (DataFrame, 2 rows) and will be replaced."
    panel.type("_settings._out", "class")
    assert "is a Python keyword" in panel.said("_settings._remark")
    panel.type("_settings._out", "fresh")
    assert panel.said("_settings._remark") == "The result will be the new variable fresh."


@pytest.mark.parametrize("button", [0, 1, 2])
def test_a_recommended_dimension_is_a_click_away(panel: Desk, button: int) -> None:
    panel.click(f"_settings._recommended[{button}]")
    assert panel.see("p._settings._dimension.value") == [768, 1536, 3072][button]


def test_rows_on_view_say_whose_they_are_while_another_job_fails(online: Desk) -> None:
    online.type("_connect._offline", True)
    online.type("_text._body", BODY)
    online.run()
    online.type("_connect._offline", False)
    online.type("_settings._model", "nobody-serves-this")
    online.type("_settings._out", "second")
    online.run()
    assert online.trouble().startswith("ModelUnavailableError: ")
    for view in ("Table", "Neighbours"):
        online.choose("_results._view", view)
        what = online.said("_results._what.widget")
        assert what.startswith("vectors   5 × 768   offline-lexical")
        assert "lexical, not semantic" in what


def test_leaving_the_field_half_typed_asks_nothing(online: Desk, gateway: Served) -> None:
    online.type("_text._body", BODY)
    online.run()
    online.choose("_results._view", "Neighbours")
    sent = len(gateway.texts)
    online.type("_results._neighbours._query", "half a ques")  # what the browser says when people tab away
    online.ask("a cat")
    _heading(online, "nearest to “a cat”")
    assert gateway.texts[sent:] == ["a cat"]
