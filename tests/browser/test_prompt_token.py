"""A token that was typed at the prompt of `%vn login` in a real JupyterLab: saved, stored and told nowhere."""

from __future__ import annotations

import json

from playwright.sync_api import expect
from support.gateways import Served
from support.hunt import Hunt
from support.page import OpenNotebook

CELL = "%load_ext vn_magic\n%vn login"
EMBED = "%%embed vectors\nroses are red\nviolets are blue"


def test_a_login_at_the_prompt_leaves_no_trace_in_the_notebook_the_page_or_what_others_hear(
    notebook: OpenNotebook, gateway: Served, token: str
) -> None:
    page = notebook(CELL, EMBED, environ={"VN_MAGIC_BASE_URL": gateway.url})
    hunt = Hunt(token)
    with page.second_client() as bystander:
        page.start(0)
        prompt = page.output(0).locator("input.jp-Stdin-input")
        expect(prompt).to_have_attribute("type", "password")
        prompt.press_sequentially(token)
        assert hunt.finds(page.everything_stored())  # what the hunt would find is found while it is being typed
        prompt.press("Enter")
        outputs = page.finish(0)
        expect(prompt).to_have_count(0)  # JupyterLab keeps the field in view for half a second more
        assert "sk-…0c93 for 127.0.0.1" in str(outputs)
        assert [output["output_type"] for output in page.run(1)] == ["display_data"]
        page.save()
        heard = json.dumps(bystander.drain(), default=str, ensure_ascii=False)
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"
    for place in (json.dumps(page.saved(), ensure_ascii=False), heard, page.everything_stored()):
        assert "sk-…0c93 for 127.0.0.1" in place
        assert not hunt.finds(place)
    assert "input_request" not in heard
    assert page.lab.traces("sk-…0c93 for 127.0.0.1") != []
    assert hunt.files(page.lab.home) == []
    assert page.complaints == page.foreign == []
