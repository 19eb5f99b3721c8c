"""The measurements beside the candidates: which there are, at which size, and running them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.processes import Gateway, measurement


@dataclass(frozen=True)
class Measurement:
    """A module below ``benchmarks.measurements``, run in processes of its own.

    Parameters
    ----------
    name
        What its figures are found under.
    rows, smoke_rows
        How large it is, and how large in a smoke run.
    texts_of
        The measurement whose texts it takes, and finds in the cache.
    repeats
        Processes; the figures are their medians.
    """

    name: str
    module: str
    rows: int = 3
    smoke_rows: int = 3
    texts_of: str = ""
    repeats: int = 1


FILE = "file, 1000000 rows"
CARDS = {rows: f"card, {rows} texts" for rows in (1_000, 10_000, 100_000)}
MEASUREMENTS = (
    Measurement("start", "start", repeats=5),
    Measurement("neighbors", "neighbors", 100_000, 1_000),
    Measurement("similarity", "similarity", 5_000, 500),
    Measurement("projection", "projection", 10_000, 500),
    Measurement(CARDS[1_000], "card", 1_000, 100, repeats=3),
    Measurement(CARDS[10_000], "card", 10_000, 200, repeats=1),
    Measurement(CARDS[100_000], "card", 100_000, 400),
    Measurement("warm, 10000 texts", "warm", 10_000, 100, texts_of=CARDS[100_000], repeats=3),
    Measurement("warm, 100000 texts", "warm", 100_000, 400, texts_of=CARDS[100_000], repeats=3),
    Measurement("panel", "panel", 100_000, 400),
    Measurement(FILE, "file", 1_000_000, 400),  # last: it fills the cache that all share
)


@dataclass
class Figures:
    """What the measurements brought, and which failed with which reason."""

    values: dict[str, Mapping[str, float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def get(self, name: str, figure: str) -> float | None:
        """Return a figure of a measurement; None where it did not run."""
        return self.values.get(name, {}).get(figure)


def run_measurements(
    measurements: Iterable[Measurement], gateway: Gateway, home: Path, *, smoke: bool, figures: Figures
) -> None:
    """Run the measurements into ``figures``; they share a cache."""
    for each in measurements:
        sys.stderr.write(f"{each.name}\n")
        try:
            runs = [_run(each, number, gateway, home, smoke=smoke) for number in range(1 if smoke else each.repeats)]
        except RuntimeError as error:
            figures.failures[each.name] = str(error)
            continue
        figures.values[each.name] = {name: median(run[name] for run in runs) for name in runs[0]}


def _run(each: Measurement, number: int, gateway: Gateway, home: Path, *, smoke: bool) -> dict[str, float]:
    options = {
        "url": gateway.urls[0],
        "rows": each.smoke_rows if smoke else each.rows,
        "tag": f"{each.name} {number}",
        "texts_of": f"{each.texts_of} 0",
    }
    before = gateway.count()
    figures = measurement(each.module, options, home)
    if not all(math.isfinite(value) and value >= 0 for value in figures.values()):
        raise RuntimeError(f"figures that cannot be: {figures}")
    return {**figures, "requests": (gateway.count() - before).requests}
