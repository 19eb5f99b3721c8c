"""A live job of the panel in a real kernel, without a browser: how often it shows where it is, and what that costs."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from support.kernels import Kernel, kernel

from benchmarks.candidates.kernel import run_cell
from benchmarks.machine import client_cores, pin
from benchmarks.measurements.common import options, report
from benchmarks.measurements.liveness import liveness
from benchmarks.protocol import TOKEN

BEFORE = """
%load_ext vn_magic
import json, time, ipywidgets, vn_magic
from benchmarks import protocol
from benchmarks.measurements.liveness import Meter
from vn_magic.notebook.panel.text_source import VARIABLE
%config VnMagic.base_url = {url!r}
texts = protocol.texts({rows}, {tag!r})
panel = vn_magic.EmbedPanel()
panel._text._kind.value = VARIABLE
panel._text.refresh()
panel._text._name.value = "texts"
meter = Meter(ipywidgets.Widget, "notify_change")
before = protocol.cpu_seconds()
panel._runner._run.click()
print(panel._runner._bar.model_id)
"""
CELL = "while panel._runner._running: time.sleep(0.02)"
AFTER = """
said = panel._tasks.message.widget.value
print(json.dumps({"cpu": protocol.cpu_seconds() - before, "drawing": meter.seconds(), "said": said}))
"""


def _updates_until_idle(shell: Kernel, cell: str, widget: str) -> list[dict[str, Any]]:
    """Return a widget's messages until a cell ends; the panel's job belongs to the cell with the click."""
    updates: list[dict[str, Any]] = []
    while True:
        message = shell.client.get_iopub_msg(timeout=900)
        if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == widget:
            updates.append(message)
        mine = message["parent_header"].get("msg_id") == cell
        if mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return updates


def main() -> None:
    asked = options()
    pin(client_cores())
    with kernel(environ={**os.environ, "VECTORNODE_API_KEY": TOKEN}) as shell:
        bar = run_cell(shell, BEFORE.format(**asked)).strip()
        start = time.time()
        updates = _updates_until_idle(shell, shell.start(CELL), bar)
        end = time.time()
        figures = json.loads(run_cell(shell, AFTER))
    said = figures.pop("said")
    if f"{asked['rows']:,} new" not in said:
        raise SystemExit(f"the panel said {said!r}")
    report({**figures, "wall": end - start, **liveness(updates, start, end)})


if __name__ == "__main__":
    main()
