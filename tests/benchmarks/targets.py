"""What vn_magic has promised of its speed, each promise held against the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.catalogue import (
    BATCHES,
    BY_HAND,
    COLD,
    FLOOR,
    GENAI,
    GENAI_AIO,
    HTTPX_GATHER,
    LANGCHAIN,
    LITELLM,
    OURS,
    SLOW_64,
    SLOW_128,
    ZERO_768,
    ZERO_3072,
    Load,
)
from benchmarks.local import CARDS, FILE, Figures
from benchmarks.rounds import Results


@dataclass(frozen=True)
class Target:
    """A promise and what was measured.

    Parameters
    ----------
    measured
        None where what it needs did not run.
    bound
        None for a figure that is told, but not promised.
    """

    what: str
    measured: float | None
    bound: float | None
    unit: str = "×"
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Return ``met``, ``missed``, or why it is neither."""
        if self.measured is None:
            return "not run"
        if self.bound is None:
            return ""
        met = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        return "met" if met else "missed"


def targets(results: Results, figures: Figures) -> list[Target]:
    """Return all promises in the order of their statement."""
    return [
        *_walls(results),
        *_cpu(results),
        *_cache(results, figures),
        *_files(figures),
        *_start(figures),
        *_explore(figures),
        *_growth(figures),
        *_liveness(figures),
        *_batches(results),
    ]


def _ratio(mine: float | None, theirs: float | None) -> float | None:
    return None if mine is None or not theirs else mine / theirs


def _cpu_ratio(results: Results, load: Load, name: str, other: str) -> float | None:
    return _ratio(*(results.median(load, each, lambda row: row.cpu_a_text) for each in (name, other)))


def _wall_ratio(results: Results, load: Load, name: str, other: str) -> float | None:
    return _ratio(*(results.median(load, each, lambda row: row.wall_a_text) for each in (name, other)))


def _walls(results: Results) -> Iterator[Target]:
    yield Target("wall, 100 ms, 64 workers: floor", _wall_ratio(results, SLOW_64, OURS, FLOOR), 1.08)
    yield Target("wall, 100 ms, 128 workers: floor", _wall_ratio(results, SLOW_128, OURS, FLOOR), 1.15)


def _cpu(results: Results) -> Iterator[Target]:
    single = [_cpu_ratio(results, ZERO_768, OURS, name) for name in (GENAI, GENAI_AIO)]
    best = max((ratio for ratio in single if ratio is not None), default=None)
    yield Target("CPU, 768 values: aiohttp + msgspec by hand", _cpu_ratio(results, ZERO_768, OURS, BY_HAND), 2.0)
    yield Target("CPU, 768 values: google-genai's best, text by text", best, 0.5)
    yield Target("CPU, 768 values: litellm", _cpu_ratio(results, ZERO_768, OURS, LITELLM), 0.2)
    yield Target("CPU, 768 values: httpx, 64 connections", _cpu_ratio(results, ZERO_768, OURS, HTTPX_GATHER), 0.08)
    yield Target("CPU, 3072 values: aiohttp + msgspec by hand", _cpu_ratio(results, ZERO_3072, OURS, BY_HAND), 1.6)


def _cache(results: Results, figures: Figures) -> Iterator[Target]:
    yield Target("CPU with an empty cache: without the cache", _cpu_ratio(results, ZERO_768, COLD, OURS), 1.25)
    for rows, bound in ((10_000, 0.6), (100_000, 6.0)):
        name = f"warm, {rows} texts"
        yield Target(f"{rows:,} texts from the cache", figures.get(name, "wall"), bound, "s")
        yield Target(f"{rows:,} texts from the cache: requests sent", figures.get(name, "requests"), 0, "")
    for name, what in (("warm, 100000 texts", "from the cache"), (CARDS[100_000], "live, in a kernel")):
        matrix = figures.get(name, "matrix")
        most = None if matrix is None else 1.3 * matrix + 60
        yield Target(f"memory above base, 100,000 × 768, {what}", figures.get(name, "memory"), most, "MB")


def _files(figures: Figures) -> Iterator[Target]:
    what = "a Parquet file of 1,000,000 × 128 from the cache"
    yield Target(what, figures.get(FILE, "wall"), 60, "s")
    yield Target("the same: requests sent", figures.get(FILE, "requests"), 0, "")
    yield Target("the same: memory above base", figures.get(FILE, "memory"), 200, "MB")
    growth = _ratio(figures.get(FILE, "memory"), figures.get(FILE, "memory_of_tenth"))
    yield Target("the same: memory beside 100,000 rows'", growth, 1.4)


def _start(figures: Figures) -> Iterator[Target]:
    yield Target("%load_ext, over importing pandas and httpx", figures.get("start", "load_ext"), 0.15, "s")
    yield Target("the first %%embed of three lines, offline", figures.get("start", "first_cell"), 0.5, "s")


def _explore(figures: Figures) -> Iterator[Target]:
    rows: list[tuple[str, str, float | None]] = [
        ("neighbors_unit", "explore.neighbors, 100,000 unit rows", 1.3),
        ("neighbors", "the same, rows of any length", None),
        ("accessor", ".nearest(), 100,000 rows", None),
    ]
    for figure, what, bound in rows:
        ratio = _ratio(figures.get("neighbors", figure), figures.get("neighbors", "product"))
        yield Target(f"{what}: product + selection", ratio, bound)
    similarity = _ratio(figures.get("similarity", "accessor"), figures.get("similarity", "product"))
    yield Target(".similarity(), 5,000 rows: the product", similarity, 1.2)
    projection = _ratio(figures.get("projection", "accessor"), figures.get("projection", "sklearn"))
    yield Target(".project(), 10,000 rows: scikit-learn's randomized PCA", projection, 1.0)
    yield Target(".project(): angle to the exact plane", figures.get("projection", "angle"), 1.0, "°")
    yield Target("the same of scikit-learn's randomized PCA", figures.get("projection", "angle_sklearn"), None, "°")


def _growth(figures: Figures) -> Iterator[Target]:
    for figure, what in (("cpu", "CPU"), ("memory", "memory")):
        values = [figures.get(name, figure) for name in CARDS.values()]
        yield Target(f"{what} at 10k texts: off the line from 1k to 100k", _off_the_line(values), 15, "%")


def _off_the_line(values: Sequence[float | None]) -> float | None:
    """Return how far the middle one is from the line through the others, in percent of it."""
    few, middle, many = values
    if few is None or middle is None or many is None:
        return None
    sizes = list(CARDS)
    expected = few + (many - few) * (sizes[1] - sizes[0]) / (sizes[2] - sizes[0])
    return abs(middle / expected - 1) * 100


def _liveness(figures: Figures) -> Iterator[Target]:
    for name, what in ((CARDS[100_000], "card"), ("panel", "panel")):
        drawing = _ratio(figures.get(name, "drawing"), figures.get(name, "cpu"))
        share = None if drawing is None else drawing * 100
        rate = figures.get(name, "updates_a_second")
        yield Target(f"the {what} at 100,000 texts: updates a second", rate, 4, "", at_least=True)
        yield Target(f"the {what}: longest time without one", figures.get(name, "longest_gap"), None, "s")
        yield Target(f"the {what}: share of the CPU", share, 3, "%")


def _batches(results: Results) -> Iterator[Target]:
    for other, what in ((OURS, "text by text"), (LANGCHAIN, "langchain's batches")):
        yield Target(f"batches of 100, CPU: {what}", _cpu_ratio(results, ZERO_768, BATCHES, other), None)
        yield Target(f"batches of 100, wall at 100 ms: {what}", _wall_ratio(results, SLOW_64, BATCHES, other), None)
