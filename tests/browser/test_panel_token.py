"""The panel's token: it works, it is seen by nobody, and a wrong one changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from support.gateways import Served
from support.panel_page import OpenPanel

LINES = "\n".join(f"line {number}" for number in range(12))
UNDO = "() => document.execCommand('undo')"  # as the menu of a field does


@pytest.fixture
def serving(token: str) -> Iterator[str]:
    """The address of a `vn-magic serve` that asks for the token."""
    with subprocess.Popen(
        [sys.executable, "-m", "vn_magic", "serve", "--port", "0"],
        env={**os.environ, "VECTORNODE_API_KEY": token},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = "export VN_MAGIC_BASE_URL="
        yield next(line.removeprefix(said).strip() for line in process.stdout if line.startswith(said))
        process.terminate()


def test_a_token_embeds_leaves_no_trace_and_is_forgotten(panel: OpenPanel, gateway: Served, token: str) -> None:
    page = panel(environ={"VN_MAGIC_BASE_URL": gateway.url})
    notebook = page.notebook
    with notebook.second_client() as bystander:
        page.token.press_sequentially("undo")
        page.token.evaluate(UNDO)
        expect(page.token).to_have_value("")  # so undoing works in this field
        page.token.press_sequentially(token)
        assert token in notebook.everything_stored()  # what the hunt would find is found while it is being typed
        page.token.press("Enter")
        expect(page.token).to_have_value("")
        page.token.press("Control+z")
        page.token.evaluate(UNDO)
        expect(page.token).to_have_value("")
        page.says("token: sk-…0c93 from panel")
        page.button("Check").click()
        page.says("answers and accepts the token.")
        page.embed(LINES)
        page.says("12 new, 0 from cache")
        notebook.save()
        messages = json.dumps(bystander.drain(), default=str, ensure_ascii=False)
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"
    saved = json.dumps(notebook.saved(), ensure_ascii=False)
    for place in (saved, messages, notebook.everything_stored()):
        assert "sk-…0c93 from panel" in place
        assert token not in place
        assert token[:-4] not in place
    assert notebook.lab.traces("sk-…0c93 from panel") != []
    assert notebook.lab.traces(token[:-4]) == []
    assert notebook.complaints == notebook.foreign == []

    sent = len(gateway.texts)
    page.button("Forget token").click()
    page.says("token: none; enter it above")
    page.type_text("another line")
    page.button("Run").click()
    expect(page.alerts).to_contain_text("There is no token")
    assert len(gateway.texts) == sent


def test_the_panel_connects_to_a_typed_address_where_vn_magic_serve_asks_for_its_token(
    panel: OpenPanel, serving: str, token: str
) -> None:
    page = panel()
    page.field("Base URL").fill(serving)
    page.field("Base URL").press("Enter")
    page.says(f"Token for {serving}")
    page.button("Check").click()
    expect(page.alerts).to_contain_text("There is no token")
    page.give_token(token)
    page.says(f"sk-…0c93 for {serving.removeprefix('http://')}: accepted.")
    page.embed(LINES)
    page.says("12 new, 0 from cache")
    page.field("Base URL").fill("http://127.0.0.1:9")
    page.field("Base URL").press("Enter")
    page.says(f"token: none for this base URL (the session's belongs to {serving})")


def test_a_wrong_token_is_refused_in_the_panel_alone_and_an_earlier_one_stays(
    panel: OpenPanel, gateway: Served, token: str
) -> None:
    page = panel(environ={"VN_MAGIC_BASE_URL": gateway.url})
    page.give_token(token)
    page.says("accepted.")
    page.give_token("sk-wrong-0c1d2e3f")
    expect(page.alerts).to_contain_text("TokenRefusedError")
    assert 1 <= len(page.alerts.inner_text().splitlines()) <= 3
    expect(page.token).to_have_value("")
    page.says("token: sk-…0c93 from panel")
    page.embed(LINES)
    expect(page.alerts).to_have_count(1)
    assert {request.headers["authorization"] for request in gateway.received if request.method == "POST"} == {
        f"Bearer {token}"
    }
    assert [output["output_type"] for output in page.notebook.outputs(0)] == ["display_data", "display_data"]
