"""A live job in a real kernel with an empty cache: how its card lives meanwhile, and what it all costs."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from support.kernels import kernel

from benchmarks.candidates.kernel import run_cell
from benchmarks.machine import client_cores, pin
from benchmarks.measurements.common import options, report
from benchmarks.measurements.liveness import liveness
from benchmarks.protocol import TOKEN

BEFORE = """
%load_ext vn_magic
import json, time
from benchmarks import protocol
from benchmarks.measurements.liveness import Meter
from vn_magic.notebook.card import Card
%config VnMagic.base_url = {url!r}
texts, first = protocol.texts({rows}, {tag!r}), protocol.texts(8, {tag!r} + " first")
%embed -o result --dim 768 first
meter = Meter(Card, "draw")
base, before = protocol.reset_peak(), protocol.cpu_seconds()
"""
CELL = "%embed -o result --dim 768 --concurrency 64 texts"
AFTER = """
figures = {"cpu": protocol.cpu_seconds() - before, "memory": (protocol.peak() - base) / 1e6, "drawing": meter.seconds()}
matrix = result.vec.matrix
protocol.check(matrix, texts, 768)
print(json.dumps({**figures, "matrix": matrix.nbytes / 1e6}))
"""


def main() -> None:
    asked = options()
    pin(client_cores())
    with kernel(environ={**os.environ, "VECTORNODE_API_KEY": TOKEN}) as shell:
        run_cell(shell, BEFORE.format(**asked))
        start = time.time()
        reply = shell.run(CELL, timeout=900)
        end = time.time()
        if reply.status != "ok":
            raise SystemExit(" ".join(reply.error))
        figures: dict[str, Any] = json.loads(run_cell(shell, AFTER))
    updates = [message for message in reply.messages if message["msg_type"] in ("display_data", "update_display_data")]
    report({**figures, "wall": end - start, **liveness(updates, start, end)})


if __name__ == "__main__":
    main()
