"""What a picture shows, before it is drawn in one form or another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vn_magic.explore.colors import Hues

ASPECT = 4 / 3
"""Width by height of a map."""

LABEL_WIDTH = 28
"""Characters of a text beside its row of a heat map."""


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Rows as points of a plane.

    Parameters
    ----------
    rows
        Position of each point's row in what was given.
    coordinates
        float `(points, 2)`, finite.
    texts
        What appears on hovering; None where a row has no text.
    axes
        Titles of the horizontal and the vertical axis.
    title
        The headline.
    caption
        Sentences below the headline.
    hues
        What colours the points.
    """

    rows: Sequence[int]
    coordinates: npt.NDArray[np.floating]
    texts: Sequence[str | None]
    axes: tuple[str, str]
    title: str
    caption: tuple[str, ...]
    hues: Hues | None = None

    def domains(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the smallest and largest value of both axes: a unit is equally long on both, with a margin."""
        low = self.coordinates.min(axis=0).astype(np.float64)
        high = self.coordinates.max(axis=0).astype(np.float64)
        middle_x, middle_y = ((low + high) / 2).tolist()
        width, height = (high - low).tolist()
        half = 0.54 * max(width, height * ASPECT) or 1.0
        return (middle_x - half, middle_x + half), (middle_y - half / ASPECT, middle_y + half / ASPECT)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The similarity of rows to one another.

    Parameters
    ----------
    rows
        Position of each row in what was given.
    scores
        float32 `(rows, rows)` in [-1, 1].
    texts
        A text a row; None where it has none.
    lowest
        The score at which the colours begin; they end at 1.
    title
        The headline.
    caption
        Sentences below the headline.
    """

    rows: Sequence[int]
    scores: npt.NDArray[np.floating]
    texts: Sequence[str | None]
    lowest: float
    title: str
    caption: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Dots:
    """Figures of several settings side by side.

    Parameters
    ----------
    names
        What each line is called, no two alike.
    panels
        The name of each figure and its values, one a line; None where it is not defined.
    title
        The headline.
    caption
        Sentences below the headline.
    """

    names: Sequence[str]
    panels: Sequence[tuple[str, Sequence[float | None]]]
    title: str
    caption: tuple[str, ...]

    def ends(self) -> list[tuple[float, ...]]:
        """Return the lowest and the highest value of each panel: one where all are equal, none where there are none."""
        present = [sorted({value for value in values if value is not None}) for _, values in self.panels]
        return [tuple(values[:1] + values[1:][-1:]) for values in present]

    def domains(self) -> list[tuple[float, float]]:
        """Return where the axis of each panel begins and ends: around its own values, for figures differ in size."""
        domains = []
        for ends in self.ends():
            low, high = min(ends, default=0.0), max(ends, default=1.0)
            margin = 0.08 * (high - low) or 0.05
            domains.append((low - margin, high + margin))
        return domains


def point_size(count: int) -> int:
    """Return the area of a point in square pixels: smaller where many have to fit."""
    return 60 if count <= 200 else 30 if count <= 2000 else 15
