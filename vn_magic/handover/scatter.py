"""The widget of jupyter-scatter: points by the million, drawn by the browser's graphics card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vn_magic.handover.neighbour import installed, refusals
from vn_magic.handover.plane import X, Y, points_of
from vn_magic.handover.vectors import Vectors
from vn_magic.pictures import origin_of

# As pandas.api.types.infer_dtype calls them. Truth values are not among them: jupyter-scatter would say a warning on
# stderr, and hand the kernel something that is no JSON, so that nothing was shown at all.
_SAYABLE = ("string", "integer", "floating", "categorical", "datetime64", "date")
_BINS = 20  # of jupyter-scatter's histograms


def to_scatter(
    vectors: Vectors,
    texts: tuple[str, Sequence[str | None]],
    method: str,
    options: dict[str, Any],
) -> Any:  # noqa: ANN401 - jupyter-scatter's own Scatter; it has no types
    """Return the rows as a ``jscatter.Scatter``; see ``df.vec.to_scatter``."""
    with installed("jupyter-scatter", "scatter"):
        import jscatter  # noqa: PLC0415 - paid for by those who use it

    points = points_of("to_scatter", vectors, texts, method=method)
    ours_of = (title or f"{method} {number}" for number, title in enumerate(points.axes, start=1))
    first, second = (_title(options.get(axis, title), axis) for axis, title in zip((X, Y), ours_of, strict=True))
    text = texts[0]
    if not _can_be_said(points.frame[text]):
        points.frame[text] = pd.Series([texts[1][row] for row in points.rows], index=points.frame.index, dtype=object)
    ours = {
        "data": points.frame,
        # Selections then are labels of the index, which hold for the whole frame, failed rows or not.
        "data_use_index": True,
        "x": X,
        "y": Y,
        # There is no title, but there are axes.
        "axes_labels": [f"{first} · {origin_of(vectors.provenance)}", second],
        "tooltip": True,
        "tooltip_preview": text,
        "tooltip_properties": [
            name for name, values in points.frame.items() if name not in (X, Y, text) and _can_be_said(values)
        ],
    }
    with refusals("jupyter-scatter", "correct that option, or convert or drop that column."):
        return jscatter.Scatter(**(ours | options))


def _title(of: object, axis: str) -> str:
    """Return what an axis is called: a column's name, or `axis` where the user has given the numbers themselves."""
    return of if isinstance(of, str) else axis


def _can_be_said(values: pd.Series[Any]) -> bool:
    # On hovering a missing number would be shown as 0, and what is no JSON would be an error in the kernel.
    said = pd.api.types.infer_dtype(values, skipna=False) in _SAYABLE and not values.hasnans
    return said and (not pd.api.types.is_numeric_dtype(values) or _has_histogram(values))


def _has_histogram(values: pd.Series[Any]) -> bool:
    """Whether numbers are finite and far enough apart, which those of tweets or times in nanoseconds may not be."""
    try:
        with np.errstate(all="ignore"):
            np.histogram(values, bins=_BINS)
    except ValueError:
        return False
    return True
