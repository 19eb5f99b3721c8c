"""Unit rows and cosine similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

UNIT_TOLERANCE = 1e-6
"""How far from 1 the norm of a row may be for the row to count as unit length."""

_CHUNK_VALUES = 2**18


def as_matrix(matrix: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Return `matrix` as a 2-D array of float32 or float64, without a copy if it is one.

    Raises
    ------
    ValueError
        If `matrix` does not have two axes.
    """
    array = np.asarray(matrix)
    if array.ndim != 2:
        raise ValueError(
            f"expected a matrix with 2 axes (rows, dimension), not an array with {array.ndim}. "
            "For a single vector pass vector[np.newaxis, :]."
        )
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def row_chunks(count: int, dimension: int) -> Iterator[slice]:
    """Yield slices that cover `count` rows, for steps that need a temporary copy of the rows.

    A slice covers about 260,000 values: a copy of them stays in the processor's cache. Measured at 768 and 3072 values
    a row, larger chunks were up to six times slower.
    """
    step = max(1, _CHUNK_VALUES // max(1, dimension))
    for start in range(0, count, step):
        yield slice(start, start + step)


def row_norms(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the Euclidean norm of each row, float64 `(n,)`, summed in float64 whatever the dtype."""
    norms = np.empty(len(matrix))
    with np.errstate(over="ignore", under="ignore"):
        for part in row_chunks(*matrix.shape):
            chunk = matrix[part].astype(np.float64, order="C")
            norms[part] = np.sqrt(np.einsum("ij,ij->i", chunk, chunk))
    return norms


def unit_rows(matrix: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Scale every row to Euclidean length 1.

    Parameters
    ----------
    matrix
        Vectors, `(n, d)`.

    Returns
    -------
    numpy.ndarray
        float32 `(n, d)`. `matrix` itself, not a copy, if it is float32 and each of its rows is either unit length
        within 1e-6 or NaN throughout. Rows without a direction (zero, or not finite in any value) are NaN throughout.
        A row's result does not depend on the other rows.

    Raises
    ------
    ValueError
        If `matrix` does not have two axes.
    """
    rows = as_matrix(matrix)
    norms = row_norms(rows)
    unit = np.abs(norms - 1.0) <= UNIT_TOLERANCE
    if rows.dtype == np.float32 and np.isnan(norms[~unit]).all() and np.isnan(rows[~unit]).all():
        return rows.astype(np.float32, copy=False)
    norms[unit] = 1.0
    norms[~np.isfinite(norms) | (norms == 0.0)] = np.nan
    scaled = np.empty(rows.shape, dtype=np.float32)
    with np.errstate(under="ignore"):
        np.divide(rows, norms[:, np.newaxis], out=scaled, casting="same_kind")
    return scaled


def cosine_similarity(a: npt.ArrayLike, b: npt.ArrayLike | None = None) -> npt.NDArray[np.float32]:
    """Cosine of the angle between each row of `a` and each row of `b`.

    Parameters
    ----------
    a
        Vectors, `(n, d)`, of any length.
    b
        Vectors, `(m, d)`. The rows of `a` among themselves if left out.

    Returns
    -------
    numpy.ndarray
        float32 `(n, m)` in [-1, 1]; NaN where either row has no direction (see `unit_rows`).

    Raises
    ------
    ValueError
        If the two dimensions differ, or an argument does not have two axes.
    """
    left = unit_rows(a)
    right = left if b is None else unit_rows(b)
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"the vectors of a have {left.shape[1]} values and those of b have {right.shape[1]}. "
            "Only vectors of one model and one dimension can be compared: embed both with the same settings."
        )
    # Apple's Accelerate raises false floating-point flags in matrix products (numpy issue 28687).
    with np.errstate(all="ignore"):
        scores = left @ right.T
    return np.clip(scores, -1.0, 1.0, out=scores)
