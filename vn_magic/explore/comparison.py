"""How alike two sets of vectors of the same rows are, and how well vectors keep labels together: by cosine alone.

Vectors of different models and tasks cannot be compared with each other, but what is near to what among the rows can.

Rows without a direction (zero, or not finite in any value) take no part: they have no neighbours and are nobody's.
Cosines are summed in float64, and those that differ by less than about 1e-10 count as equal: BLAS may score equal rows
differently in the last bits, depending on where they stand and on how many threads add up, and then ties, which
duplicates make, would be broken by chance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vn_magic.explore.manifolds import SEED
from vn_magic.explore.similarity import as_matrix, row_chunks, row_norms

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MOST_ROWS = 2_000
"""Rows whose pairs, or neighbourhoods, are all looked at; of more rows a sample of so many stands for all."""

# A power of two: simple cosines, such as 1/8, then never lie on the edge between two steps.
_STEPS = 2.0**33
# Rows whose neighbours are looked for at a time.
_BLOCK = 1_024
# A mean distance below this is the rounding of equal rows, and stands for none.
_NO_DISTANCE = 1e-12


def sampled(count: int, most: int = MOST_ROWS) -> npt.NDArray[np.intp]:
    """Return the positions of all rows in order, or of a random sample of `most`, the same each time."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def have_direction(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Return which rows have a direction and so can be compared, bool `(n,)`."""
    norms = row_norms(matrix)
    usable: npt.NDArray[np.bool_] = np.isfinite(norms) & (norms > 0)
    return usable


def neighbor_overlap(first: npt.ArrayLike, other: npt.ArrayLike, k: int, *, most: int = MOST_ROWS) -> float:
    """Mean share of a row's `k` nearest rows that two sets of vectors of the same rows agree on.

    With ``N_k(i)`` for the `k` rows, other than ``i`` itself, of largest cosine to row ``i``::

        overlap@k = mean over i of |N_k(i) in first ∩ N_k(i) in other| / k

    The percent overlap of nearest neighbours by which Wendlandt, Kummerfeld and Mihalcea (NAACL 2018, section 3)
    measure how stable embeddings are. Chance alone gives about ``k / (rows - 1)``.

    Parameters
    ----------
    first, other
        Vectors of the same rows, `(n, d)` and `(n, e)`. A row takes part if it has a direction in both.
    k
        How many neighbours, at least 1. Where that is all other rows or more, all are neighbours, and the result is 1.
    most
        Of more rows a fixed random sample of so many is asked; its neighbours are still searched among all.

    Returns
    -------
    float
        0 to 1. Of equally near rows the earlier ones are taken, in both, so duplicates agree with each other.
        NaN where fewer than two rows take part.

    Raises
    ------
    ValueError
        If `k` is less than 1, or the numbers of rows differ.
    """
    _check_k(k)
    left, right = _common(first, other)
    rows = sampled(len(left), most)
    k = min(k, len(left) - 1)
    if k < 1:
        return math.nan
    both = np.sort(np.hstack([_neighbors(left, rows, k), _neighbors(right, rows, k)]), axis=1)
    return float(np.count_nonzero(both[:, 1:] == both[:, :-1]) / (len(rows) * k))


def rank_correlation(first: npt.ArrayLike, other: npt.ArrayLike, *, most: int = MOST_ROWS) -> float:
    """Spearman's rho between the similarities that two sets of vectors give to the pairs of the same rows.

    The cosines of all pairs ``i < j`` (the upper triangles of the two similarity matrices) are replaced by their ranks,
    equal ones by the mean of their ranks, and rho is the correlation of the ranks (Spearman, American Journal of
    Psychology 15, 1904)::

        rho = Σ (r - mean r)(s - mean s) / sqrt(Σ (r - mean r)² Σ (s - mean s)²)

    Comparing representations by the rank correlation of these triangles is representational similarity analysis
    (Kriegeskorte, Mur and Bandettini, Frontiers in Systems Neuroscience 2:4, 2008).

    Parameters
    ----------
    first, other
        As in `neighbor_overlap`.
    most
        Of more rows the pairs among a fixed random sample of so many are looked at.

    Returns
    -------
    float
        -1 to 1. NaN where fewer than three rows take part, or all pairs are equally similar on one side.

    Raises
    ------
    ValueError
        If the numbers of rows differ.
    """
    left, right = _common(first, other)
    rows = sampled(len(left), most)
    if len(rows) < 3:
        return math.nan
    one, two = (_centred_ranks(_pairs(matrix[rows])) for matrix in (left, right))
    spread = float(np.sum(one * one)) * float(np.sum(two * two))
    return float(np.sum(one * two)) / math.sqrt(spread) if spread > 0 else math.nan


def neighbor_purity(matrix: npt.ArrayLike, labels: Sequence[object], k: int, *, most: int = MOST_ROWS) -> float:
    """Mean share of a row's `k` nearest rows that have its label.

    ::

        purity@k = mean over i of |{j in N_k(i): label j = label i}| / k

    Also called neighbourhood hit (Paulovich, Nonato, Minghim and Levkowitz, IEEE TVCG 14, 2008). It is no purity of
    clusters: nothing is clustered. Chance alone gives about the sum of the labels' squared shares of the rows.

    Parameters
    ----------
    matrix
        Vectors, `(n, d)`.
    labels
        A hashable value a row. Rows whose label is None take no part, neither as rows nor as neighbours.
    k, most
        As in `neighbor_overlap`, ties and duplicates too. Where `k` is all other rows or more, it is what chance gives.

    Returns
    -------
    float
        0 to 1. NaN where fewer than two rows take part.

    Raises
    ------
    ValueError
        If `k` is less than 1, or there is not one label a row.
    """
    _check_k(k)
    vectors, codes = _labelled(matrix, labels)
    rows = sampled(len(vectors), most)
    k = min(k, len(vectors) - 1)
    if k < 1:
        return math.nan
    return float(np.mean(codes[_neighbors(vectors, rows, k)] == codes[rows, np.newaxis]))


def silhouette(matrix: npt.ArrayLike, labels: Sequence[object]) -> float:
    """Mean silhouette of labelled rows, with the cosine distance 1 - cos.

    For each row ``a`` is its mean distance to the other rows of its label, and ``b`` the smallest of its mean distances
    to the rows of every other label (Rousseeuw, Journal of Computational and Applied Mathematics 20, 1987)::

        silhouette = mean over i of (b - a) / max(a, b)

    As in scikit-learn, a row that is alone with its label counts 0, and so does one with ``a = b = 0``. Exact for any
    number of rows: the mean cosine to a label's rows is the product with their mean unit vector, so no pairs are made.

    Parameters
    ----------
    matrix
        Vectors, `(n, d)`.
    labels
        As in `neighbor_purity`.

    Returns
    -------
    float
        -1 to 1. NaN where it is not defined: a single label, or a label for every row.

    Raises
    ------
    ValueError
        If there is not one label a row.
    """
    vectors, codes = _labelled(matrix, labels)
    sizes = np.bincount(codes)
    if not 2 <= len(sizes) < len(vectors):
        return math.nan
    chunks = list(row_chunks(len(vectors), max(vectors.shape[1], len(sizes))))
    sums = np.zeros((len(sizes), vectors.shape[1]))
    every = np.arange(len(sizes))
    for part in chunks:
        sums += _product((codes[part] == every[:, np.newaxis]).astype(np.float64), _directions(vectors[part]).T)
    total = 0.0
    for part in chunks:
        own, place = codes[part], np.arange(len(codes[part]))
        distances = sizes - _product(_directions(vectors[part]), sums)
        others = sizes[own] - 1
        a = distances[place, own] / np.maximum(others, 1)  # the distance to itself, zero, is in the sum
        distances /= sizes
        distances[place, own] = np.inf
        b = distances.min(axis=1)
        a[a < _NO_DISTANCE] = b[b < _NO_DISTANCE] = 0.0
        larger = np.maximum(a, b)
        counts = (others > 0) & (larger > 0)
        total += float(np.sum((b - a)[counts] / larger[counts]))
    return total / len(vectors)


def neighbors_of_each(
    matrix: npt.NDArray[np.floating], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Find the `k` rows nearest to every row, itself left out.

    Parameters
    ----------
    matrix
        Vectors that all have a direction, `(n, d)`.
    k
        How many neighbours, at least 1; all other rows where there are fewer.

    Returns
    -------
    indices
        int64 `(n, k)`, best first, of equally near rows the earlier one first.
    cosines
        float64 `(n, k)`, in [-1, 1].

    Raises
    ------
    ValueError
        If `k` is less than 1.
    """
    _check_k(k)
    count = len(matrix)
    keys = np.empty((count, max(0, min(k, count - 1))), dtype=np.int64)
    for start in range(0, count if keys.size else 0, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        keys[rows] = np.sort(_neighbor_keys(matrix, rows, keys.shape[1]), axis=1)[:, ::-1]
    return -keys % count, np.clip(-(-keys // count) / _STEPS, -1.0, 1.0)


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k is {k}, but at least 1 neighbour has to be asked for, such as k=10.")


def _common(first: npt.ArrayLike, other: npt.ArrayLike) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Return the rows that have a direction in both."""
    left, right = as_matrix(first), as_matrix(other)
    if len(left) != len(right):
        raise ValueError(f"first has {len(left)} rows and other has {len(right)}; both must be of the same rows.")
    usable = have_direction(left) & have_direction(right)
    return (left, right) if usable.all() else (left[usable], right[usable])


def _labelled(matrix: npt.ArrayLike, labels: Sequence[object]) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.intp]]:
    """Return the rows that have a direction and a label, and the labels as numbers from 0 on."""
    vectors = as_matrix(matrix)
    if len(labels) != len(vectors):
        raise ValueError(f"there are {len(labels)} labels for {len(vectors)} rows.")
    usable = have_direction(vectors) & np.array([label is not None for label in labels], dtype=bool)
    numbers: dict[object, int] = {}
    codes = [numbers.setdefault(label, len(numbers)) for label, used in zip(labels, usable, strict=True) if used]
    return vectors if usable.all() else vectors[usable], np.array(codes, dtype=np.intp)


def _directions(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return rows as float64 unit vectors."""
    directions: npt.NDArray[np.float64] = rows / row_norms(rows)[:, np.newaxis]
    return directions


def _product(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Apple's Accelerate raises false floating-point flags in matrix products (numpy issue 28687).
    with np.errstate(all="ignore"):
        products: npt.NDArray[np.float64] = left @ right.T
    return products


def _steps(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the cosine of every pair of unit vectors as a whole number of steps, so that equal is equal."""
    return np.rint(_product(left, right) * _STEPS).astype(np.int64)


def _neighbors(matrix: npt.NDArray[np.floating], rows: npt.NDArray[np.intp], k: int) -> npt.NDArray[np.int64]:
    """Return the `k` nearest of all rows for each of some, itself left out, int64 ``(len(rows), k)`` in no order."""
    return -_neighbor_keys(matrix, rows, k) % len(matrix)


def _neighbor_keys(matrix: npt.NDArray[np.floating], rows: npt.NDArray[np.intp], k: int) -> npt.NDArray[np.int64]:
    """Return a number for each neighbour: ``cosine in steps * len(matrix) - row``."""
    count, queries = len(matrix), _directions(matrix[rows])
    best = np.empty((len(rows), 0), dtype=np.int64)
    for part in row_chunks(count, max(matrix.shape[1], len(rows))):
        columns = np.arange(count)[part]
        # One number tells both: the nearer row is larger, and of equally near ones the earlier row.
        keys = _steps(queries, _directions(matrix[part])) * count - columns
        keys[rows[:, np.newaxis] == columns] = np.iinfo(np.int64).min
        best = np.hstack([best, keys])
        if best.shape[1] > k:
            best = np.partition(best, -k, axis=1)[:, -k:]
    return best


def _pairs(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Return the similarity of every pair of rows, the upper triangle line by line, in steps."""
    directions, lines = _directions(matrix), []
    for part in row_chunks(len(matrix), len(matrix)):
        block = _steps(directions[part], directions)
        lines += [scores[row + 1 :].copy() for row, scores in enumerate(block, part.start)]
    return np.concatenate(lines)


def _centred_ranks(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how far the rank of each value is above the mean; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return ranks[places] - (len(values) + 1) / 2
