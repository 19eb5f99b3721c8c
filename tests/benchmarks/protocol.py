"""What every candidate does around its own few lines: read jobs, warm up, measure, check, answer.

A candidate is a process. It says ``ready`` when its imports are done, then answers each line of JSON on its standard
input, a `Job`, by a line with its `Outcome` or an error. Runs in the peers' environments: standard library and numpy.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from benchmarks.bodies import variant_of, vectors
from benchmarks.machine import client_cores, pin

MODEL = "gemini-embedding-001"
TOKEN = "sk-benchmark"


@dataclass(frozen=True)
class Job:
    """What a candidate is asked for."""

    base_url: str
    count: int
    dimension: int
    concurrency: int
    tag: str  # makes the texts of this job unlike any other's

    @property
    def texts(self) -> list[str]:
        """The texts to embed, of a sentence each."""
        return texts(self.count, self.tag)


@dataclass(frozen=True)
class Outcome:
    """What a candidate measured.

    Parameters
    ----------
    count
        How many texts the figures are from.
    cpu, wall
        Seconds; ``cpu`` is user + system of the whole process.
    memory
        Peak in bytes above the memory before, less the result matrix.
    """

    count: int
    cpu: float
    wall: float
    memory: int


# From texts to float32 (n, dimension), in their order.
Embed = Callable[[list[str]], NDArray[np.float32]]
Candidate = Callable[[Job], AbstractContextManager[Embed]]
Run = Callable[[Job], Outcome]


def texts(count: int, tag: str) -> list[str]:
    """Return texts of about 70 characters, all different."""
    return [f"{tag} {number}: the quick brown fox reviews a lazy dog, four stars of five" for number in range(count)]


def warm_up_texts(job: Job) -> list[str]:
    """Return the texts that come before the measurement: enough to open every connection."""
    return texts(min(job.concurrency, job.count), f"{job.tag} warm-up")


def cpu_seconds() -> float:
    """Return the CPU that this process has used, user + system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def reset_peak() -> int:
    """Forget the peak of memory so far; return what is in use now, in bytes."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _maxrss_unit()
    clear.write_text("5", encoding="ascii")
    return _status("VmRSS")


def peak() -> int:
    """Return the peak of memory since `reset_peak`, in bytes."""
    # Not ru_maxrss where it can be avoided: Linux hands a parent's peak on to its children, and it never falls.
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _maxrss_unit()


def _maxrss_unit() -> int:
    return 1 if sys.platform == "darwin" else 1024


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def check(matrix: NDArray[np.float32], asked: list[str], dimension: int) -> None:
    """Raise ValueError unless each row is the vector of its own text."""
    if matrix.shape != (len(asked), dimension) or matrix.dtype != np.float32:
        raise ValueError(f"got {matrix.dtype} {matrix.shape} for {len(asked)} texts of {dimension} values")
    expected = vectors(dimension)[[variant_of(text) for text in asked]]
    if not np.allclose(matrix, expected, atol=1e-6):
        raise ValueError("rows are not the vectors of their texts")


def measured(candidate: Candidate) -> Run:
    """Return what runs a job of a candidate in this process and checks its result."""

    def run(job: Job) -> Outcome:
        with candidate(job) as embed:
            asked, first = job.texts, warm_up_texts(job)
            check(embed(first), first, job.dimension)
            base = reset_peak()
            cpu, wall = cpu_seconds(), time.perf_counter()
            matrix = embed(asked)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            above = peak() - base - matrix.nbytes
            check(matrix, asked, job.dimension)
            return Outcome(len(asked), cpu, wall, max(0, above))

    return run


def serve(run: Run) -> None:
    """Answer jobs until standard input ends."""
    pin(client_cores())
    answers = _own_stdout()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        try:
            answer = asdict(run(Job(**json.loads(line))))
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is its row in the table
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _own_stdout() -> TextIO:
    """Return standard output, and let whatever else is printed go to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers
