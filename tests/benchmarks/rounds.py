"""The rounds: every candidate under every load, one after the other, again and again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.catalogue import LOADS, Candidate, Load
from benchmarks.processes import Count, Gateway, Worker, worker
from benchmarks.protocol import Job, warm_up_texts


@dataclass(frozen=True)
class Row:
    """A candidate under a load, once: per text or in all, as the names say. Times in milliseconds and seconds."""

    texts: int
    cpu_a_text: float  # ms
    wall: float  # s
    memory: float  # MB above the base, less the matrix
    requests: int
    gateway_cpu: float  # ms a request

    @property
    def wall_a_text(self) -> float:
        """Seconds a text."""
        return self.wall / self.texts


@dataclass
class Results:
    """What the rounds brought: rows by load and candidate, and who failed with which reason."""

    rows: dict[tuple[Load, str], list[Row]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def median(self, load: Load, name: str, value: Callable[[Row], float]) -> float | None:
        """Return the median of a value over the rounds; None where the candidate did not run."""
        rows = self.rows.get((load, name))
        return median(map(value, rows)) if rows else None


def run_rounds(
    candidates: Sequence[Candidate],
    pythons: Mapping[str, Path | str],
    gateway: Gateway,
    home: Path,
    *,
    rounds: int,
    results: Results,
) -> None:
    """Run all rounds into ``results``. A round has fresh processes and an empty cache; who failed once is left out."""
    for number in range(rounds):
        left = [each for each in candidates if each.name not in results.failures and each.environment in pythons]
        sys.stderr.write(f"round {number + 1} of {rounds}\n")
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for each in left:
                try:
                    workers[each.name] = stack.enter_context(
                        worker(pythons[each.environment], each.command, home / f"round-{number}")
                    )
                except RuntimeError as error:
                    results.failures[each.name] = str(error)
            for load in LOADS:
                for each in _in_turn(left, number):
                    if each.name in workers and each.name not in results.failures and load in each.texts:
                        _run_one(each, workers[each.name], load, gateway, f"round {number}", results)


def _in_turn(candidates: Sequence[Candidate], number: int) -> list[Candidate]:
    """Return the candidates in another order each round: nobody always runs behind the same neighbour."""
    start = number * 5 % max(1, len(candidates))
    return [*candidates[start:], *candidates[:start]]


def _run_one(each: Candidate, worker: Worker, load: Load, gateway: Gateway, tag: str, results: Results) -> None:
    url, tag = gateway.urls[load.latency], f"{tag}, {load.name}, {each.name}"  # nobody shares a text, or a cached one
    job = Job(url, each.texts[load], load.dimension, load.workers, tag)
    before = gateway.count()
    try:
        told = worker.run(job)
    except RuntimeError as error:
        results.failures[each.name] = f"{load.name}: {error}"
        return
    answered = gateway.count() - before
    trouble = _doubts(each, job, told, answered)
    if trouble:
        results.failures[each.name] = f"{load.name}: {trouble}"
        return
    row = Row(
        texts=job.count,
        cpu_a_text=told["cpu"] / job.count * 1000,
        wall=told["wall"],
        memory=told["memory"] / 1e6,
        requests=answered.requests,
        gateway_cpu=answered.cpu / max(1, answered.requests) * 1000,
    )
    results.rows.setdefault((load, each.name), []).append(row)


def _doubts(each: Candidate, job: Job, told: Mapping[str, float], answered: Count) -> str:
    """Return what cannot be right about a result: nobody gets by with fewer texts, or pays for some twice."""
    asked = job.count + len(warm_up_texts(job))
    if answered.texts != asked:
        return f"the gateway answered {answered.texts} texts instead of {asked}"
    if each.batched != (answered.requests < asked / 4):
        return f"{asked} texts went in {answered.requests} requests"
    if min(told["cpu"], told["wall"]) <= 0:
        return f"it took no time: {told}"
    return ""
