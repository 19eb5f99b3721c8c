"""The tables, as Markdown that can be read as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.catalogue import CANDIDATES, LOADS, OURS, Load
from benchmarks.local import Figures
from benchmarks.machine import description
from benchmarks.rounds import Results, Row
from benchmarks.targets import Target, targets

HEAD = ("", "CPU", "wall", "CPU ms", "texts/s", "wall/ideal", "MB more", "batch", "texts")


def report(results: Results, figures: Figures, rounds: int, *, judged: bool) -> str:
    """Return everything: the machine, a table for each load, the targets where they are judged, and who failed."""
    parts = [f"{description()}. Medians of {rounds} rounds."]
    parts += [_load_table(load, results) for load in LOADS if any(key[0] == load for key in results.rows)]
    parts.append(_target_table(targets(results, figures)) if judged else "Too little was run to judge a target.")
    cost = _gateway_cost(results)
    if cost is not None:
        parts.append(f"The gateway itself: {cost:.3f} ms of CPU a request, on a core of its own.")
    failures = {**results.failures, **figures.failures}
    parts += [f"FAILED {name}: {reason}" for name, reason in failures.items()]
    return "\n\n".join(parts) + "\n"


def _load_table(load: Load, results: Results) -> str:
    rows = [_cells(load, each.name, results) for each in CANDIDATES if (load, each.name) in results.rows]
    return f"**{load.name[0].upper()}{load.name[1:]}**\n\n" + table([HEAD, *rows])


def _cells(load: Load, name: str, results: Results) -> tuple[str, ...]:
    def middle(value: str, of: str = name) -> float:
        found = results.median(load, of, lambda row: float(getattr(row, value)))
        return float("nan") if found is None else found

    texts = int(middle("texts"))
    ideal = load.ideal_wall(texts)
    return (
        name,
        f"{middle('cpu_a_text') / middle('cpu_a_text', OURS):.2f}",
        f"{middle('wall_a_text') / middle('wall_a_text', OURS):.2f}",
        f"{middle('cpu_a_text'):.3f}",
        f"{1 / middle('wall_a_text'):,.0f}",
        f"{middle('wall') / ideal:.2f}" if ideal else "",
        f"{middle('memory'):.0f}",
        f"{middle('texts') / max(1, middle('requests')):.0f}" if middle("requests") >= 1 else "",
        f"{texts:,}",
    )


def _target_table(found: Sequence[Target]) -> str:
    rows = [("target (×: to what stands after the colon)", "measured", "bound", "")]
    for target in found:
        sign = "≥" if target.at_least else "≤"
        measured = "" if target.measured is None else f"{_number(target.measured)} {target.unit}".rstrip()
        bound = "" if target.bound is None else f"{sign} {_number(target.bound)} {target.unit}".rstrip()
        rows.append((target.what, measured, bound, target.verdict))
    return "**Targets**\n\n" + table(rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as their widest cell, names left and numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *others = (_line(row, widths) for row in rows)
    rule = "|".join("-" * (width + 1) + ("-" if number == 0 else ":") for number, width in enumerate(widths))
    return "\n".join([head, f"|{rule}|", *others])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (f"{cell:{'>' if n else '<'}{width}}" for n, (cell, width) in enumerate(zip(row, widths, strict=True)))
    return f"| {' | '.join(cells)} |"


def _gateway_cost(results: Results) -> float | None:
    costs = sorted(row.gateway_cpu for row in _singles(results))
    return costs[len(costs) // 2] if costs else None


def _singles(results: Results) -> Iterator[Row]:
    for rows in results.rows.values():
        yield from (row for row in rows if row.requests >= row.texts)
