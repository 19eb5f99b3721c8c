"""Callbacks run where the kernel runs them: after the cell, or at once beside it in a subshell."""

from __future__ import annotations

import pytest
from support.gateways import Served
from support.panels import Desk

_BUSY = """\
import time
begun = time.monotonic()
print('busy')
while 'vectors' not in globals() and time.monotonic() < begun + {seconds}:
    time.sleep(0.01)
print('vectors' in globals())
"""
_CLICK = {"method": "custom", "content": {"event": "click"}}


def _subshell(desk: Desk) -> str:
    client = desk.kernel.client
    client.kernel_info()
    info = client.get_shell_msg(timeout=30)
    while info["msg_type"] != "kernel_info_reply":
        info = client.get_shell_msg(timeout=30)
    if "kernel subshells" not in info["content"].get("supported_features", ()):
        pytest.skip("this ipykernel has no subshells")
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    reply = client.get_control_msg(timeout=30)
    assert reply["content"]["status"] == "ok"
    subshell: str = reply["content"]["subshell_id"]
    return subshell


def test_a_click_in_a_subshell_starts_a_job_and_a_cell_that_runs_is_left_alone(online: Desk, gateway: Served) -> None:
    subshell = _subshell(online)
    online.type("_text._body", "a text\nanother")
    message = online.prepared("_runner._run", _CLICK, subshell_id=subshell)
    cell = online.kernel.start(_BUSY.format(seconds=2))
    online.kernel.wait_for(cell, "stream")
    online.post(message)
    reply = online.kernel.finish(cell)
    # ipykernel 7.1 to 7.3 hear the click while the cell runs, others after it.
    assert reply.stdout.removeprefix("busy\n") in ("True\n", "False\n")
    assert reply.stderr == ""
    assert [output for output in reply.messages if output["msg_type"] == "display_data"] == []
    online.until("'vectors' in globals()")
    online.done()
    assert sorted(gateway.texts) == ["a text", "another"]
    assert online.trouble() == ""


def test_clicks_in_a_subshell_and_in_the_main_shell_start_one_job(online: Desk, gateway: Served) -> None:
    subshell = _subshell(online)
    texts = [f"text {number}" for number in range(40)]
    online.type("_text._body", "\n".join(texts))
    messages = [online.prepared("_runner._run", _CLICK, subshell_id=subshell), online.prepared("_runner._run", _CLICK)]
    for message in messages:
        online.post(message)
    online.until("'vectors' in globals()")
    online.done()
    assert sorted(gateway.texts) == sorted(texts)


def test_a_click_that_the_main_shell_hears_waits_for_the_cell(online: Desk, gateway: Served) -> None:
    online.type("_text._body", "a text")
    message = online.prepared("_runner._run", _CLICK)
    cell = online.kernel.start(_BUSY.format(seconds=0.5))
    online.kernel.wait_for(cell, "stream")
    online.post(message)
    assert online.kernel.finish(cell).status == "ok"
    online.until("'vectors' in globals()")
    online.done()
    assert gateway.texts == ["a text"]
