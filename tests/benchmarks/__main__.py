"""One command: ``python tests/benchmarks``. See README.md beside this file."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started by its folder, Python sees what is in it but not itself

from benchmarks.catalogue import CANDIDATES, OURS, SLOW_128, Candidate
from benchmarks.environments import default_folder, python_of
from benchmarks.local import MEASUREMENTS, Figures, run_measurements
from benchmarks.processes import gateway
from benchmarks.report import report
from benchmarks.rounds import Results, run_rounds

SMOKE_TEXTS = 128


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description="vn_magic beside its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is run (default: 5)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows and measurements whose names contain this")
    parser.add_argument("--smoke", action="store_true", help="no peers, few texts, one round: does all of it work?")
    parser.add_argument("--envs", type=Path, default=default_folder(), help="where the peers are installed")
    parser.add_argument("--markdown", metavar="FILE", default="-", help="where the tables go (default: the terminal)")
    return parser.parse_args(arguments)


def _small(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return what can be run anywhere in little time."""
    return [
        replace(each, texts={load: SMOKE_TEXTS for load in each.texts if load is not SLOW_128})
        for each in candidates
        if not each.environment
    ]


def _wanted(parts: Sequence[str]) -> set[str]:
    """Return the names that contain one of these parts, and the names that those need beside them."""
    everything = [each.name for each in (*CANDIDATES, *MEASUREMENTS)]
    names = {name for name in everything if any(part.lower() in name.lower() for part in parts)}
    if any(each.name in names for each in CANDIDATES):
        names.add(OURS)
    return names | {each.texts_of for each in MEASUREMENTS if each.name in names}


def main(arguments: Sequence[str]) -> int:
    """Run it all; 1 when anything failed."""
    asked = _arguments(arguments)
    names = _wanted(asked.only or [""])
    candidates = [each for each in CANDIDATES if each.name in names]
    measurements = [each for each in MEASUREMENTS if each.name in names]
    rounds = 1 if asked.smoke else asked.rounds
    if asked.smoke:
        candidates = _small(candidates)
    results, figures = Results(), Figures()
    pythons: dict[str, Path | str] = {"": sys.executable}
    for each in candidates:
        if each.environment and each.environment not in pythons:
            try:
                pythons[each.environment] = python_of(each.environment, asked.envs)
            except RuntimeError as error:
                results.failures[each.environment] = str(error)
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder)) as served:
        home = Path(folder)
        run_rounds(candidates, pythons, served, home, rounds=rounds, results=results)
        run_measurements(measurements, served, home, smoke=asked.smoke, figures=figures)
    text = report(results, figures, rounds, judged=not asked.smoke)
    if asked.markdown == "-":
        sys.stdout.write(text)
    else:
        Path(asked.markdown).write_text(text, encoding="utf-8")
    return 1 if results.failures or figures.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
