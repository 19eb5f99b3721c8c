"""What stays in a saved notebook where no widget is alive, and what a notebook without a front end shows."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree as ET

import nbformat
from nbclient import NotebookClient
from support.panels import Desk

_RUN = """\
import time
panel._text._body.value = 'a text\\nanother'
panel._runner._run.click()
begun = time.monotonic()
while panel._runner._running and time.monotonic() < begun + 30:
    time.sleep(0.02)
vectors.shape
"""
# The record is written once the map for it is drawn: a task of the session's loop, the last one of a run.
_UNTIL_KEPT = """\
import asyncio, time
async def left():
    return len(asyncio.all_tasks()) - 1
portal = vn_magic.current_session().runtime.portal
begun = time.monotonic()
while (p._runner._running or portal.run(left())) and time.monotonic() < begun + 30:
    time.sleep(0.02)
"""
_WIDGET = "application/vnd.jupyter.widget-view+json"


def test_without_a_run_the_record_is_empty(panel: Desk) -> None:
    reply = panel.kernel.run("display(p)")
    widget, record = reply.displays
    assert widget[_WIDGET]
    assert re.fullmatch(r'<div class="vn-record-\w+"></div>', record["text/html"])
    assert record["text/plain"] == ""


def test_a_run_leaves_card_picture_and_cell_in_the_panels_own_output(panel: Desk) -> None:
    panel.kernel.run("display(p)")
    panel.type("_text._body", "roses <b>are</b> red\nviolets & co")
    panel.run()
    panel.settled()  # the record is written once more when its map is drawn
    record = panel.record()
    assert "vectors   2 × 768" in record["text/html"]
    assert "roses &lt;b&gt;are&lt;/b&gt; red" in record["text/html"]
    assert "<b>are" not in record["text/html"]
    assert "%%embed vectors\nroses &lt;b&gt;" in record["text/html"]
    *_, encoded = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', record["text/html"])
    assert ET.fromstring(b64decode(encoded)).tag.endswith("svg")
    assert "%%embed vectors\nroses <b>are</b> red\nviolets & co" in record["text/plain"]
    assert "Scatter of 2 rows" in record["text/plain"]
    outputs = [content for content in panel.outputs() if "transient" in content]
    assert len(outputs) == 2  # the panel and its record: the run has added none


def test_a_cell_that_captures_its_output_does_not_take_the_record(panel: Desk) -> None:
    panel.kernel.run("display(p)")
    panel.type("_text._body", "a text")
    reply = panel.kernel.run(f"%%capture captured\np._runner._run.click()\n{_UNTIL_KEPT}")
    assert reply.status == "ok"
    assert panel.see("[captured.stdout, captured.stderr, len(captured.outputs)]") == ["", "", 0]
    assert "vectors   1 × 768" in panel.record()["text/plain"]


def test_the_style_of_a_panel_hides_its_own_record_alone(panel: Desk) -> None:
    panel.kernel.run("q = vn_magic.EmbedPanel()")
    mine, other = panel.see("[x._record._identity for x in (p, q)]")
    style = panel.see("p.widget.children[0].value")
    assert f".{mine} {{ display: none; }}" in style
    assert other not in style


def test_a_notebook_without_a_front_end_runs_and_shows_the_twin_in_magics(tmp_path: Path) -> None:
    sources = [
        "import vn_magic\nvn_magic.EmbedPanel()",
        "%vn panel",
        "%vn offline\npanel = vn_magic.EmbedPanel()\ndisplay(panel)",
        _RUN,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    assert [output for cell in outputs for output in cell if output.output_type in ("error", "stream")] == []
    for shown in outputs[:3]:
        [data] = [output.data for output in shown if _WIDGET in output.get("data", {})]
        for kind in ("text/plain", "text/html"):
            assert "%vn login" in data[kind]
            assert "%%embed vectors" in data[kind]
    assert outputs[3][-1].data["text/plain"] == "(2, 2)"
    assert "a text" not in str(outputs[:2])
    nbformat.validate(notebook)


def test_a_panel_that_is_shown_again_shows_its_record_again(panel: Desk) -> None:
    panel.kernel.run("display(p)")
    panel.type("_text._body", "a text\nanother")
    panel.run()
    panel.kernel.run(_UNTIL_KEPT)
    _, record = panel.kernel.run("display(p)").displays
    assert "vectors   2 × 768" in record["text/html"]
    assert "After <code>%vn offline</code>" in record["text/html"]
