"""Principal component analysis: the plane in which vectors differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vn_magic.explore.similarity import as_matrix, row_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_EXACT_LIMIT = 512
"""Up to this size of the smaller side an eigendecomposition is quicker than the randomized method."""

_OVERSAMPLING = 10
_PASSES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Rows seen along their principal axes.

    Parameters
    ----------
    coordinates
        float32 `(n, components)`. NaN for rows that are not finite.
    explained
        float64 `(components,)`: the share of the total variance along each axis, in [0, 1], largest first.
    """

    coordinates: npt.NDArray[np.float32]
    explained: npt.NDArray[np.float64]


def pca(matrix: npt.ArrayLike, components: int = 2) -> Projection:
    """Project rows onto their principal axes.

    Exact if the smaller side of the matrix is at most 512 or the components are more than a tenth of it: the
    eigenvectors of the covariance or the Gram matrix in float64, whichever is smaller. Otherwise a randomized block
    Krylov method in float32 with a fixed seed. The same input gives the same picture: the loading of largest absolute
    value on each axis is positive.

    Parameters
    ----------
    matrix
        Vectors, `(n, d)`. Rows with a value that is not finite do not take part. The rows are centred a chunk at
        a time, so that no second matrix is needed.
    components
        How many axes, from 1 to `d`.

    Returns
    -------
    Projection
        Coordinates and explained shares. Both are zero where there is nothing to see: all of them if fewer than two
        rows take part or all of these are equal, the last ones if the rows span fewer than `components` axes.

    Raises
    ------
    ValueError
        If `components` is not in 1 to `d`, or `matrix` does not have two axes.
    """
    values = as_matrix(matrix)
    dimension = values.shape[1]
    if not 1 <= components <= dimension:
        raise ValueError(
            f"{components} components were asked for, but vectors of {dimension} values have 1 to {dimension}. "
            "Use components=2 for a picture."
        )
    rows = _finite_rows(values)
    coordinates = np.full((len(values), components), np.nan, dtype=np.float32)
    coordinates[rows] = 0.0
    explained = np.zeros(components)
    # Apple's Accelerate raises false floating-point flags in matrix products (numpy issue 28687).
    with np.errstate(all="ignore"):
        mean, variation = _mean_and_variation(values, rows)
        if variation == 0.0:
            return Projection(coordinates, explained)

        smaller = min(rows.size, dimension)
        exact = smaller <= _EXACT_LIMIT or components > smaller // 10
        # Squares of very large or very small values do not fit into float32.
        fits = 1e-9 < np.sqrt(variation / rows.size) < 1e9
        centred = _Centred(values, rows, mean, np.dtype(np.float32 if fits and not exact else np.float64))
        axes = _exact_axes(centred, components) if exact else _randomized_axes(centred, components)
        axes = _with_positive_loadings(axes)
        for part, chunk in centred:
            shadow = chunk @ axes
            coordinates[part] = shadow
            explained += np.square(shadow, dtype=np.float64).sum(axis=0)
    return Projection(coordinates, np.minimum(explained / variation, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Centred:
    """Some rows of a matrix with their mean taken off, made a chunk at a time on each pass."""

    values: npt.NDArray[np.floating]
    rows: npt.NDArray[np.intp]
    mean: npt.NDArray[np.float64]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.size, self.values.shape[1]

    def __iter__(self) -> Iterator[tuple[slice | npt.NDArray[np.intp], npt.NDArray[np.floating]]]:
        # Subtract in the wider of the two dtypes: after rounding a large mean would drown small differences.
        mean = self.mean.astype(np.result_type(self.values.dtype, self.dtype))
        everything = self.rows.size == len(self.values)
        for chunk in row_chunks(*self.shape):
            # Rows picked by their indices are copied first, which takes as long again as taking off the mean.
            part = chunk if everything else self.rows[chunk]
            yield part, (self.values[part] - mean).astype(self.dtype, copy=False)


def _finite_rows(values: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return the indices of the rows in which every value is finite."""
    finite = np.empty(len(values), dtype=np.bool_)
    for part in row_chunks(*values.shape):
        finite[part] = np.isfinite(values[part]).all(axis=1)
    return np.flatnonzero(finite)


def _mean_and_variation(
    values: npt.NDArray[np.floating], rows: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], float]:
    """Mean of the rows, float64 `(d,)`, and the sum of their squared distances from it: 0.0 if all are equal."""
    # Distances from the first row, not from the origin: equal rows then give exactly zero, and nothing cancels.
    origin = values[rows[0]].astype(np.float64) if rows.size else np.zeros(values.shape[1])
    total = np.zeros(values.shape[1])
    squares = 0.0
    for _, chunk in _Centred(values, rows, origin, np.dtype(np.float64)):
        total += chunk.sum(axis=0)
        squares += float(np.einsum("ij,ij->", chunk, chunk))
    offset = total / max(rows.size, 1)
    return origin + offset, squares - rows.size * float(offset @ offset)


def _exact_axes(centred: _Centred, components: int) -> npt.NDArray[np.floating]:
    """Principal axes, unit columns `(d, components)`; zero columns beyond the rank of the rows."""
    count, dimension = centred.shape
    if dimension <= count:
        covariance = np.zeros((dimension, dimension), dtype=centred.dtype)
        for _, chunk in centred:
            covariance += chunk.T @ chunk
        variances, vectors = np.linalg.eigh(covariance)
    else:
        everything = np.concatenate([chunk for _, chunk in centred])
        variances, vectors = np.linalg.eigh(everything @ everything.T)
        vectors = everything.T @ vectors[:, -components:]
    variances, vectors = variances[: -components - 1 : -1], vectors[:, : -components - 1 : -1]
    axes = np.zeros((dimension, components), dtype=centred.dtype)
    real = np.flatnonzero(variances > variances[0] * max(count, dimension) * np.finfo(centred.dtype).eps)
    axes[:, real] = vectors[:, real] / np.linalg.norm(vectors[:, real], axis=0)
    return axes


def _randomized_axes(centred: _Centred, components: int) -> npt.NDArray[np.floating]:
    """Principal axes, nearly, by a block Krylov method on the covariance from a random start: `(d, components)`.

    Musco and Musco, "Randomized block Krylov methods for stronger and faster approximate singular value decomposition",
    NIPS 2015, algorithm 2, with both products of a step taken chunk by chunk, so that a step reads the matrix once. It
    keeps what every step has seen, and is nearer to the exact plane after six than subspace iteration after eight.
    """
    start = np.random.default_rng(0).standard_normal((centred.shape[1], components + _OVERSAMPLING))
    image = start.astype(centred.dtype)
    basis = images = np.empty((len(image), 0), dtype=centred.dtype)
    for _ in range(_PASSES):
        # The basis comes along, so that the new columns are orthogonal to it even where they have nothing new to say.
        block = np.linalg.qr(np.hstack([basis, image]))[0][:, basis.shape[1] :]
        image = np.zeros_like(block)
        for _, chunk in centred:
            image += chunk.T @ (chunk @ block)
        basis, images = np.hstack([basis, block]), np.hstack([images, image])
    # Within the span the problem is small, and exact (Rayleigh-Ritz).
    _, vectors = np.linalg.eigh(basis.T @ images)
    axes: npt.NDArray[np.floating] = basis @ vectors[:, : -components - 1 : -1]
    return axes


def _with_positive_loadings(axes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Turn each column so that its entry of largest absolute value is positive."""
    sizes = np.abs(axes)
    # The first of several equal ones: otherwise rounding would choose between equal loadings of opposite sign.
    largest = np.argmax(sizes >= sizes.max(axis=0) * (1.0 - 1e-6), axis=0)
    signs = np.where(axes[largest, np.arange(axes.shape[1])] < 0.0, -1.0, 1.0)
    return axes * signs.astype(axes.dtype)
