"""A vector as a tiny picture: one for HTML, one for text."""

from __future__ import annotations

from base64 import b64encode

import numpy as np
from numpy.typing import NDArray

CELLS = 48
_CELL_WIDTH, _HEIGHT = 4, 12
_NEGATIVE, _POSITIVE = "#2f7fd0", "#e07b1a"  # blue and orange: told apart by most eyes, on light and on dark
_BLOCKS = " ▁▂▃▄▅▆▇█"


def strip_html(vector: NDArray[np.float32]) -> str:
    """Return an ``<img>`` of the first values: blue below zero, orange above, the stronger the larger.

    An inline ``<svg>`` would be stripped from untrusted notebooks; a data URI stays.
    """
    if not np.isfinite(vector).all():
        return ""
    cells = "".join(
        f'<rect x="{place * _CELL_WIDTH}" width="{_CELL_WIDTH}" height="{_HEIGHT}" '
        f'fill="{_POSITIVE if value > 0 else _NEGATIVE}" fill-opacity="{abs(value):.2f}"/>'
        for place, value in enumerate(_scaled(vector))
    )
    size = f'width="{CELLS * _CELL_WIDTH}" height="{_HEIGHT}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{cells}</svg>'
    encoded = b64encode(svg.encode()).decode()
    return f'<img alt="the first {min(CELLS, len(vector))} values" {size} src="data:image/svg+xml;base64,{encoded}">'


def strip_text(vector: NDArray[np.float32]) -> str:
    """Return the sizes of the first values as a row of block characters; a failed row has none."""
    if not np.isfinite(vector).all():
        return ""
    return "".join(_BLOCKS[round(abs(value) * (len(_BLOCKS) - 1))] for value in _scaled(vector)[: CELLS // 2])


def _scaled(vector: NDArray[np.float32]) -> list[float]:
    first = vector[:CELLS].astype(np.float64)
    largest = float(np.abs(first).max(initial=0.0))
    return [float(value) for value in first / largest] if largest > 0 else [0.0] * len(first)
