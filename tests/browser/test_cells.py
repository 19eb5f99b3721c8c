"""The cells of a first hour, in a real browser: cards, progress, Stop, the hidden prompt, saving and reopening."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, expect
from support.engine import behind
from support.gateways import Served, served
from support.page import OpenNotebook
from support.turnstile import Turnstile, rows_done

from vn_magic.offline import create_app

OFFLINE = "%load_ext vn_magic\n%vn offline"
POEMS = "%%embed poems --dim 256\n" + "\n".join(f"line {number} of a <b>poem</b>" for number in range(12))


def _said_on_stderr(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [output for output in outputs if output.get("name") == "stderr"]


def test_the_first_cells_show_a_card_with_three_rows_and_ask_nothing_of_the_network(notebook: OpenNotebook) -> None:
    page = notebook(OFFLINE, POEMS, "poems")
    assert _said_on_stderr([output for index in range(3) for output in page.run(index)]) == []
    expect(page.output(1)).to_contain_text("poems   12 × 256", use_inner_text=True)
    expect(page.output(1).locator("tr")).to_have_count(3)
    expect(page.output(1)).to_contain_text("line 0 of a <b>poem</b>")
    expect(page.output(2).locator("tbody tr")).to_have_count(12)
    assert page.foreign == []


def test_progress_grows_in_place_and_stop_ends_it_with_a_short_error(notebook: OpenNotebook) -> None:
    gate = Turnstile()
    with served(behind(gate, create_app())) as server:
        page = notebook(
            "%load_ext vn_magic",
            "%embed -o df --dim 128 [f'text {i}' for i in range(2500)]",
            environ={"VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": "for-the-stand-in"},
        )
        page.run(0)
        page.start(1)
        gate.allowed = 100
        before = rows_done(page.output(1), 2500, more_than=0)
        gate.allowed = 200
        assert before < rows_done(page.output(1), 2500, more_than=before) <= 200
        page.interrupt()
        card, error = page.finish(1)
        assert card["output_type"] == "display_data"
        assert "stopped at" in card["data"]["text/plain"]
        assert error["ename"] == "EmbeddingInterruptedError"
        assert 1 <= len("\n".join(error["traceback"]).splitlines()) <= 3
        expect(page.output(1)).to_contain_text("EmbeddingInterruptedError: Stopped.")
    assert page.foreign == []


def test_a_login_leaves_no_trace_in_notebook_messages_page_or_files(
    notebook: OpenNotebook, gateway: Served, token: str
) -> None:
    page = notebook("%load_ext vn_magic", "%vn login", POEMS, environ={"VN_MAGIC_BASE_URL": gateway.url})
    with page.second_client() as bystander:
        page.run(0)
        page.start(1)
        prompt = page.output(1).locator("input")
        expect(prompt).to_have_attribute("type", "password")
        prompt.fill(token)
        assert token in page.everything_stored()  # what the hunt would find is found while it is being typed
        prompt.press("Enter")
        page.finish(1)
        expect(prompt).to_have_count(0)  # JupyterLab keeps the field in view for half a second more
        expect(page.output(1)).to_contain_text(f"sk-…0c93 for {gateway.url.removeprefix('http://')}: accepted")
        page.run(2)
        expect(page.output(2)).to_contain_text("12 new, 0 from cache")
        page.save()
        messages = json.dumps(bystander.drain(), default=str, ensure_ascii=False)
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"
    saved = json.dumps(page.saved(), ensure_ascii=False)
    for place in (saved, messages, page.everything_stored()):
        assert "sk-…0c93 for 127.0.0.1" in place
        assert token not in place
        assert token[:-4] not in place
    assert page.lab.traces("sk-…0c93 for 127.0.0.1") != []
    assert page.lab.traces(token[:-4]) == []


def test_card_and_table_are_there_when_the_notebook_is_opened_again(notebook: OpenNotebook) -> None:
    page = notebook(OFFLINE, POEMS, "poems")
    for index in range(3):
        page.run(index)
    page.save()
    page.reopen()
    expect(page.output(1)).to_contain_text("poems   12 × 256", use_inner_text=True)
    expect(page.output(1).locator("tr")).to_have_count(3)
    expect(page.output(2).locator("tbody tr")).to_have_count(12)
    assert page.foreign == []


def test_a_card_has_no_serious_barrier_in_light_and_dark(
    notebook: OpenNotebook, axe: Callable[[Locator], list[str]]
) -> None:
    page = notebook(OFFLINE, POEMS)
    page.run(0)
    page.run(1)
    expect(page.output(1).locator("tr")).to_have_count(3)
    assert axe(page.output(1)) == []
    page.set_theme("JupyterLab Dark")
    assert axe(page.output(1)) == []
