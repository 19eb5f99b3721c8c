"""The nearest rows to a query vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vn_magic.explore.similarity import as_matrix, row_chunks, row_norms

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def nearest(
    matrix: npt.ArrayLike,
    query: npt.ArrayLike,
    k: int,
    *,
    exclude: int | Sequence[int] | None = None,
    unit_length: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find the `k` rows with the largest cosine similarity to `query`.

    One fast product in the matrix's own precision picks the candidates, with a margin for its rounding; their scores
    are then computed again in float64. The first step alone would not do: BLAS may score equal rows differently
    in the last bit, depending on where they stand, and then ties would not be in the order of the rows.

    Parameters
    ----------
    matrix
        Vectors, `(n, d)`; not copied if float32 or float64.
    query
        One vector, `(d,)`, of any length but zero.
    k
        How many rows to return, at least 1.
    exclude
        Index or indices of rows to leave out, such as the row the query was taken from.
    unit_length
        The caller's word that every row is unit length or NaN, which saves computing the norms: that takes longer than
        the product itself. Rows that are not unit length may then be missed.

    Returns
    -------
    indices
        int64, best first, rows of equal score in the order of the matrix. `(k,)`, or shorter if there are fewer rows
        to choose from: rows without a direction (zero, or not finite in any value) are never among them.
    scores
        float32, the cosine similarity of each in [-1, 1].

    Raises
    ------
    ValueError
        If `k` is less than 1; if `query` is zero, not finite, or not a vector of the dimension of `matrix`; or if
        `unit_length` was given and a candidate turned out not to be unit length.
    IndexError
        If `exclude` names a row that does not exist.
    """
    rows = as_matrix(matrix)
    dimension = rows.shape[1]
    direction = _direction(query, dimension)
    if k < 1:
        raise ValueError(f"k is {k}, but at least 1 neighbour has to be asked for, such as k=5.")

    coarse = _coarse_scores(rows, direction, unit_length=unit_length)
    if exclude is not None:
        coarse[exclude] = np.nan
    count = min(k, int(np.count_nonzero(~np.isnan(coarse))))
    if count == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)

    # d * eps / 2 bounds the error of a float32 dot product of unit vectors in any order of summation (Higham,
    # Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). The norm adds half as much, the 16 covers
    # the other roundings and the unit tolerance.
    error = (dimension + 16) * float(np.finfo(np.float32).eps)
    cut = -np.partition(-coarse, count - 1)[count - 1]
    candidates = np.flatnonzero(coarse >= cut - 2 * error)
    scores = _exact_scores(rows, candidates, direction)
    if not (np.abs(scores - coarse[candidates]) <= error).all():
        raise ValueError(
            "unit_length=True was given, but the matrix has rows that are not unit length.\n"
            "Leave unit_length out, or scale the matrix first with unit_rows(matrix)."
        )
    best = np.argsort(-scores, kind="stable")[:count]
    return candidates[best].astype(np.int64, copy=False), scores[best]


def _direction(query: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float64]:
    """Return `query` as a float64 unit vector of `dimension` values, or say why it cannot be one."""
    vector: npt.NDArray[np.float64] = np.asarray(query, dtype=np.float64)
    if vector.shape != (dimension,):
        raise ValueError(
            f"the query has shape {vector.shape}, but the rows have {dimension} values, so ({dimension},) is needed. "
            "Embed the query with the model and dimension of the rows."
        )
    strays = np.count_nonzero(~np.isfinite(vector))
    if strays:
        raise ValueError(
            f"{strays} of the query's {dimension} values are NaN or infinite, so it is not near to anything. "
            "If it comes from a row that failed, embed that row again."
        )
    largest = np.abs(vector).max(initial=0.0)
    if largest == 0.0:
        raise ValueError(f"all {dimension} values of the query are 0, so it points nowhere and nothing is near to it.")
    vector = vector / largest
    norm = np.sqrt(vector @ vector)
    return vector / norm


def _coarse_scores(
    rows: npt.NDArray[np.floating], direction: npt.NDArray[np.float64], *, unit_length: bool
) -> npt.NDArray[np.floating]:
    """Cosines in the precision of `rows`, `(n,)`; NaN for rows without a direction."""
    # Not only overflow: Apple's Accelerate raises false floating-point flags in products (numpy issue 28687).
    with np.errstate(all="ignore"):
        scores: npt.NDArray[np.floating] = rows @ direction.astype(rows.dtype)
        if unit_length:
            return scores
        squares = np.einsum("ij,ij->i", rows, rows)
        scores /= np.sqrt(squares)
    # float32 has no room for the squares of very long or very short rows; zero and NaN rows come along.
    extreme = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    scores[extreme] = _exact_scores(rows, extreme, direction)
    return scores


def _exact_scores(
    rows: npt.NDArray[np.floating], indices: npt.NDArray[np.intp], direction: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Cosines of the rows at `indices`, summed in float64 and the same for equal rows, rounded to float32."""
    scores = np.empty(len(indices), dtype=np.float32)
    with np.errstate(all="ignore"):
        for part in row_chunks(len(indices), rows.shape[1]):
            chunk = rows[indices[part]].astype(np.float64, order="C")
            # einsum and not @: it treats every row alike, wherever it stands.
            cosines = np.einsum("ij,j->i", chunk, direction) / row_norms(chunk)
            scores[part] = np.clip(cosines, -1.0, 1.0)
    return scores
