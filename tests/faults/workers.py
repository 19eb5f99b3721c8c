"""Other processes with a session of their own, told what to do line by line, interrupted and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from faults.answers import vector_of
from faults.gateway import FaultGateway

DIMENSION = 128
CONCURRENCY = 8

# Everything is loaded before the first order, so that a job's time is the job's. An order is a line of JSON, and so is
# what is told about it. Ctrl-C is heard while an order is carried out, as it is in a cell.
_SCRIPT = f"""
import json, os, signal, sys
from hashlib import blake2b
import vn_magic, vn_magic.cache, vn_magic.gateway.client, vn_magic.journal

if os.environ["JOURNAL_MODE"]:
    vn_magic.cache.journal_mode_for = lambda path, version: os.environ["JOURNAL_MODE"]
session = vn_magic.Session()

def embed(texts):
    request = session.prepare(texts, dimension={DIMENSION}, unit_length=False, concurrency={CONCURRENCY})
    done = session.run_request(request)
    told = {{"digest": blake2b(done.matrix.tobytes()).hexdigest(), "notices": done.summary.notices}}
    return told | {{"new": done.summary.new, "cached": done.summary.cached}}

def use_token(token):
    os.environ["VECTORNODE_API_KEY"] = token
    return {{}}

def fork_and_embed(texts):
    if (child := os.fork()) == 0:
        embed(texts)
        os._exit(0)
    return {{"child": child}}

def wait_for(child):
    return {{"status": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}}

def carried_out(order, argument):
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return globals()[order](argument)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return {{"error": type(error).__name__, "message": str(error)}}

signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(carried_out(*json.loads(line))), flush=True)
session.close()
"""


def digest_of(texts: Sequence[str]) -> str:
    """Return what a worker tells about the right vectors of these texts, in this order."""
    return blake2b(np.stack([vector_of(text, DIMENSION) for text in texts]).tobytes()).hexdigest()


class Worker:
    """A process that carries out one order at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def order(self, order: str, argument: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps([order, argument]), file=self._process.stdin, flush=True)

    def told(self) -> dict[str, Any]:
        """Wait for what the process tells about its last order."""
        told: dict[str, Any] = json.loads(self._read_line())
        return told

    def do(self, order: str, argument: Any) -> dict[str, Any]:
        self.order(order, argument)
        return self.told()

    def press_stop(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended: {self._process.stderr and self._process.stderr.read()}"
        return line


@contextmanager
def worker(gateway: FaultGateway, cache: Path, *, journal_mode: str = "") -> Iterator[Worker]:
    """Start a process with a session for this gateway and this cache; at its end nothing may be on its stderr.

    ``journal_mode`` has it choose this one, whatever is right for its SQLite.
    """
    environ = {
        **{name: value for name, value in os.environ.items() if not name.upper().startswith(("VN_", "VECTOR"))},
        "NO_PROXY": "127.0.0.1",
        "OPENBLAS_NUM_THREADS": "1",  # a fork in the middle of a product would leave the child without its threads
        "VN_MAGIC_BASE_URL": gateway.base_url,
        "VN_MAGIC_CACHE": str(cache),
        "VECTORNODE_API_KEY": "sk-faults",
        "JOURNAL_MODE": journal_mode,
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # From 3.12 on Python warns of a fork beside other threads. pyarrow has one, for memory, which pandas brings along.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _SCRIPT]
    with subprocess.Popen(command, env=environ, text=True, **pipes) as process:
        working = Worker(process)
        try:
            assert working._read_line() == "ready\n"
            yield working
            _, errors = process.communicate(timeout=60)  # the end of its input is its end
            assert (errors, process.returncode) == ("", 0)
        finally:
            process.kill()
