"""The processes of a run: the gateway, and a worker for each candidate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.protocol import Job

TESTS = Path(__file__).parents[1]
PATIENCE = 900  # seconds until a process hangs


def environ(home: Path) -> dict[str, str]:
    """Return the variables for what is measured: our modules in reach, everything that is written below ``home``."""
    ours = ("VN_MAGIC_", "VECTORNODE_", "VECTOR_ENGINE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "PYTHONPATH": str(TESTS),
        "VN_MAGIC_CACHE": str(home / "cache"),
        "IPYTHONDIR": str(home / "ipython"),
        "NO_PROXY": "127.0.0.1",
    }


@dataclass(frozen=True)
class Count:
    """What the gateway has answered so far, and its CPU in seconds."""

    requests: int
    texts: int
    cpu: float

    def __sub__(self, other: Count) -> Count:
        return Count(self.requests - other.requests, self.texts - other.texts, self.cpu - other.cpu)


@dataclass(frozen=True)
class Gateway:
    """The gateway's process: a base URL for each latency in milliseconds."""

    urls: Mapping[int, str]

    def count(self) -> Count:
        """Ask what it has answered so far."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever the environment says
        with direct.open(f"{self.urls[0]}/_count", timeout=10) as answer:
            return Count(**json.load(answer))


@contextmanager
def gateway(home: Path) -> Iterator[Gateway]:
    """Start the gateway and end it."""
    command = [sys.executable, "-m", "benchmarks.gateway"]
    with _started(command, home, None) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        yield Gateway({int(latency): url for latency, url in urls.items()})


class Worker:
    """A candidate's process, which has imported what it needs."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors
        if self._line() != "ready":
            raise RuntimeError(self._last_words())

    def run(self, job: Job) -> dict[str, Any]:
        """Return what the candidate measured; RuntimeError with its reason when it failed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asdict(job)) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._last_words()) from None
        line = self._line()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _line(self) -> str:
        assert self._process.stdout is not None
        killer = threading.Timer(PATIENCE, self._process.kill)  # then there is no line, and the rest goes on
        killer.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            killer.cancel()

    def _last_words(self) -> str:
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"ended with {self._process.wait(10)}: {lines[-1] if lines else 'no word'}"


@contextmanager
def worker(python: Path | str, command: str, home: Path) -> Iterator[Worker]:
    """Start a candidate and end it."""
    errors = home / f"{command.replace(' ', '-')}.err"
    with _started([str(python), "-m", *f"benchmarks.candidates.{command}".split()], home, errors) as process:
        yield Worker(process, errors)


def measurement(module: str, options: Mapping[str, Any], home: Path) -> dict[str, float]:
    """Run a measurement in a process of its own and return its figures; RuntimeError when it fails."""
    command = [sys.executable, "-m", f"benchmarks.measurements.{module}", json.dumps(options)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environ(home), cwd=home, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done after {PATIENCE} s") from None
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise RuntimeError(f"ended with {ended.returncode}: {lines[-1] if lines else 'no word'}")
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures


@contextmanager
def _started(command: list[str], home: Path, errors: Path | None) -> Iterator[subprocess.Popen[str]]:
    home.mkdir(parents=True, exist_ok=True)
    with (errors or home / "gateway.err").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, env=environ(home), cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, with a job unread
            process.stdin.close()  # every process of ours ends with its standard input
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
