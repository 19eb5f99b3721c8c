"""The rows as points, for neighbours that draw: the columns that come along, ``x`` and ``y``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.exceptions import InputError
from vn_magic.explore.comparison import have_direction
from vn_magic.handover.vectors import Vectors
from vn_magic.pictures import lay_out, rows_with

X, Y = "x", "y"


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """What is drawn.

    Parameters
    ----------
    frame
        A row a point, in the order and with the index of the rows; names of columns are texts.
    rows
        Which rows have a vector and so are points, int ``(len(frame),)``.
    axes
        What the axes are, ``("", "")`` where they mean nothing by themselves.
    """

    frame: pd.DataFrame
    rows: NDArray[np.intp]
    axes: tuple[str, str]


def points_of(
    what: str,
    vectors: Vectors,
    texts: tuple[str, Sequence[str | None]],
    *,
    method: str,
    added: Collection[str] = (),
) -> Points:
    """Lay the rows out on a plane, as ``df.vec.scatter`` does, and leave out those without a vector.

    Parameters
    ----------
    what
        Who asks, for messages.
    vectors
        The rows.
    texts
        The name of their column and the texts; it is added where there is none.
    method
        ``pca``, ``umap`` or ``tsne``.
    added
        Columns beside ``x`` and ``y`` that must be free, as the caller will add them.

    Raises
    ------
    InputError
        When no row has a vector, there is no such method, or a column is in the way.
    """
    others = vectors.frame.drop(columns=[vectors.column])
    others.columns = pd.Index([str(name) for name in others.columns], dtype=object)
    for name in (X, Y, *added):
        # Upper and lower case are one to DuckDB.
        taken = next((other for other in others.columns if other.casefold() == name.casefold()), None)
        if taken is not None:
            raise InputError(
                f"{what}: there is a column {taken!r} already, and {name!r} is what it will add.\n"
                f"Next: df.rename(columns={{{taken!r}: 'other'}}) first."
            )
    rows = rows_with(what, have_direction(vectors.matrix))
    coordinates, axes, _ = lay_out(what, vectors.matrix, rows, method)
    name, values = texts
    if name not in others.columns:
        others[name] = pd.Series(list(values), index=others.index, dtype=object)
    points = others.iloc[rows].copy()
    points[X], points[Y] = coordinates.T
    return Points(points, rows, axes)
