"""vn_magic through ``%embed`` in a real kernel, with its card: what a cell of a notebook costs.

CPU and memory are the kernel's, asked for in the cells before and after; the wall is a front end's, from the request
to the idle kernel. The result is bound as a frame.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from typing import Any

from support.kernels import Kernel, kernel

from benchmarks.machine import client_cores, pin
from benchmarks.protocol import TOKEN, Job, Outcome, serve

BEFORE = """
%config VnMagic.base_url = {base_url!r}
job = protocol.Job(**{job!r})
texts, first = job.texts, protocol.warm_up_texts(job)
%embed -o result --no-cache --dim {dimension} first
base, before = protocol.reset_peak(), protocol.cpu_seconds()
"""
CELL = "%embed -o result --no-cache --dim {dimension} --concurrency {concurrency} texts"
AFTER = """
cpu, peak, matrix = protocol.cpu_seconds() - before, protocol.peak(), result.vec.matrix
protocol.check(matrix, texts, job.dimension)
print(json.dumps({"count": job.count, "cpu": cpu, "memory": max(0, peak - base - matrix.nbytes)}))
"""


def run_cell(shell: Kernel, code: str) -> str:
    """Run a cell and return what it printed; RuntimeError when it fails."""
    reply = shell.run(code, timeout=600)
    if reply.status != "ok":
        raise RuntimeError(" ".join(reply.error) or reply.status)
    return reply.stdout


def run_job(shell: Kernel, job: Job) -> Outcome:
    """Run one job in the kernel, which checks its result."""
    names: dict[str, Any] = {**asdict(job), "job": asdict(job)}
    run_cell(shell, BEFORE.format(**names))
    start = time.perf_counter()
    run_cell(shell, CELL.format(**names))
    wall = time.perf_counter() - start
    return Outcome(wall=wall, **json.loads(run_cell(shell, AFTER)))


if __name__ == "__main__":
    pin(client_cores())  # the kernel inherits it
    with kernel(environ={**os.environ, "VECTORNODE_API_KEY": TOKEN}) as started:
        run_cell(started, "%load_ext vn_magic\nimport json\nfrom benchmarks import protocol")
        serve(lambda job: run_job(started, job))
