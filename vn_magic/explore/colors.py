"""Colours that hold on white and for colour-blind eyes, and what they stand for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from vn_magic.explore.labels import shortened

# Paul Tol's "muted" scheme (SRON/EPS/TN/09-002, 2021), made for colour-blind eyes, its darker colours first.
CATEGORY_COLORS = (
    "#332288",
    "#cc6677",
    "#44aa99",
    "#ddcc77",
    "#882255",
    "#117733",
    "#88ccee",
    "#aa4499",
    "#999933",
)
# matplotlib's viridis at nine equal steps: even in lightness, and readable without telling red from green.
SEQUENCE_COLORS = (
    "#440154",
    "#472d7b",
    "#3b528b",
    "#2c728e",
    "#21918c",
    "#28ae80",
    "#5ec962",
    "#addc30",
    "#fde725",
)
ONE_COLOR = "#3b528b"
OTHER_COLOR = "#777777"
GREY = "#dddddd"

NO_VALUE = "(no value)"
_CATEGORY_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Hues:
    """What colours the points, one value a point.

    Parameters
    ----------
    name
        What the values are called.
    is_numeric
        Whether they are numbers on a scale, and not categories.
    values
        Floats, with None where there is none; or categories, as the legend names them.
    domain
        The smallest and the largest number; or the categories in the order of the legend.
    colors
        The steps of the scale; or a colour for each category of the domain.
    """

    name: str
    is_numeric: bool
    values: Sequence[float | str | None]
    domain: Sequence[float | str]
    colors: Sequence[str]

    def of_points(self) -> list[str]:
        """Return the colour of each point."""
        if not self.is_numeric:
            color_of = dict(zip(self.domain, self.colors, strict=True))
            return [color_of[str(value)] for value in self.values]
        low, high = map(float, self.domain)
        return [GREY if value is None else blended((float(value) - low) / ((high - low) or 1)) for value in self.values]


def hues_of(name: str, values: Sequence[object]) -> Hues:
    """Return what colours the points: numbers become a scale, everything else categories.

    The most frequent categories keep a colour each, the others share one. None and NaN are grey.
    """
    present = [value for value in values if not _is_missing(value)]
    on_scale = [_finite(value) for value in values]
    finite = [number for number in on_scale if number is not None]
    if finite and all(isinstance(value, Real) and not isinstance(value, bool) for value in present):
        return Hues(name, is_numeric=True, values=on_scale, domain=(min(finite), max(finite)), colors=SEQUENCE_COLORS)
    return _categories(name, [None if _is_missing(value) else str(value) for value in values])


def blended(share: float) -> str:
    """Return the colour at a share of the way, 0 to 1, along `SEQUENCE_COLORS`."""
    place = min(max(share, 0.0), 1.0) * (len(SEQUENCE_COLORS) - 1)
    left = min(int(place), len(SEQUENCE_COLORS) - 2)
    pairs = zip(_channels(SEQUENCE_COLORS[left]), _channels(SEQUENCE_COLORS[left + 1]), strict=True)
    mixed = (round(here + (there - here) * (place - left)) for here, there in pairs)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _categories(name: str, values: Sequence[str | None]) -> Hues:
    counts = Counter(value for value in values if value is not None)
    most = len(CATEGORY_COLORS)
    kept = sorted(sorted(counts), key=lambda category: -counts[category])[:most]
    others = len(counts) - len(kept)
    label_of: dict[str | None, str] = {}
    colors = list(CATEGORY_COLORS[: len(kept)])
    for category in sorted(kept):
        label_of[category] = _unlike(label_of.values(), shortened(category, _CATEGORY_WIDTH))
    rest = [_unlike(label_of.values(), label) for label in (f"other ({others:,} values)", NO_VALUE)]
    domain = [*label_of.values()]
    if others:
        domain.append(rest[0])
        colors.append(OTHER_COLOR)
    if None in values:
        label_of[None] = rest[1]
        domain.append(rest[1])
        colors.append(GREY)
    shown = [label_of.get(value, rest[0]) for value in values]
    return Hues(name, is_numeric=False, values=shown, domain=domain, colors=colors)


def _unlike(taken: Iterable[str], label: str) -> str:
    """Return the label, with a number where another category looks the same when it is shortened."""
    number = 2
    unique = label
    while unique in taken:
        unique, number = f"{label} ({number})", number + 1
    return unique


def _finite(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:  # an int may have any length
        return None
    return number if math.isfinite(number) else None


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
