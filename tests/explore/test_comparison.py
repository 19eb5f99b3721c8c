"""Figures of a comparison, against scipy, scikit-learn and sums written out plainly."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from vn_magic.explore.comparison import (
    have_direction,
    neighbor_overlap,
    neighbor_purity,
    neighbors_of_each,
    rank_correlation,
    sampled,
    silhouette,
)
from vn_magic.explore.neighbors import nearest

Matrix = NDArray[Any]

# On a grid this coarse two cosines are either equal or far apart, so that there are many true ties and no near ones.
GRID = st.integers(-2, 2).map(float)
LABELS = ["a", "b", "c", "d"]


def grids(rows: int = 14) -> st.SearchStrategy[Matrix]:
    return hnp.arrays(np.float32, st.tuples(st.integers(3, rows), st.just(3)), elements=GRID)


def pairs_of_grids() -> st.SearchStrategy[tuple[Matrix, Matrix]]:
    return st.integers(3, 14).flatmap(
        lambda rows: st.tuples(
            hnp.arrays(np.float32, (rows, 3), elements=GRID), hnp.arrays(np.float32, (rows, 4), elements=GRID)
        )
    )


def random_rows(count: int, dimension: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def noisy(matrix: Matrix, noise: float = 0.7) -> Matrix:
    changed: Matrix = matrix + noise * random_rows(*matrix.shape, seed=9)
    return changed


def random_labels(count: int) -> list[str]:
    return [LABELS[number] for number in np.random.default_rng(3).integers(0, 4, count)]


def plain_cosines(matrix: Matrix) -> list[list[float]]:
    """Every cosine, rounded so that equal ones are equal."""
    rows = matrix.astype(float).tolist()

    def cosine(one: Sequence[float], other: Sequence[float]) -> float:
        norms = math.sqrt(math.fsum(x * x for x in one) * math.fsum(x * x for x in other))
        return round(math.fsum(x * y for x, y in zip(one, other, strict=True)) / norms, 9) + 0.0

    return [[cosine(one, other) for other in rows] for one in rows]


def plain_neighbors(matrix: Matrix, k: int) -> list[set[int]]:
    """The k nearest rows of each; of equal ones those that come first."""
    return [
        set(sorted((j for j in range(len(scores)) if j != i), key=lambda j: (-scores[j], j))[:k])
        for i, scores in enumerate(plain_cosines(matrix))
    ]


def plain_triangle(matrix: Matrix) -> list[float]:
    return [score for i, scores in enumerate(plain_cosines(matrix)) for score in scores[i + 1 :]]


def sklearn_neighbors(matrix: Matrix, k: int) -> list[set[int]]:
    found = NearestNeighbors(n_neighbors=k, metric="cosine").fit(matrix.astype(float)).kneighbors()
    return [set(row) for row in found[1].tolist()]


def triangle(matrix: Matrix) -> Matrix:
    wide = matrix.astype(float)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    scores: Matrix = (unit @ unit.T)[np.triu_indices(len(unit), k=1)]
    return scores


# Overlap of neighbours; 700 rows are more than one block


@pytest.mark.parametrize("k", [1, 5, 10])
def test_overlap_is_the_mean_share_of_neighbours_that_scikit_learn_finds_in_both(k: int) -> None:
    first, other = random_rows(700, 24), noisy(random_rows(700, 24))
    shares = [
        len(mine & theirs) / k
        for mine, theirs in zip(sklearn_neighbors(first, k), sklearn_neighbors(other, k), strict=True)
    ]
    assert 0.05 < neighbor_overlap(first, other, k) < 0.9
    assert neighbor_overlap(first, other, k) == pytest.approx(np.mean(shares), abs=1e-12)


@given(pairs_of_grids(), st.integers(1, 16))
def test_overlap_takes_the_earlier_of_equally_near_rows_and_counts_only_rows_with_a_direction_in_both(
    pair: tuple[Matrix, Matrix], k: int
) -> None:
    first, other = pair
    usable = first.any(axis=1) & other.any(axis=1)
    count = int(usable.sum())
    overlap = neighbor_overlap(first, other, k)
    if count < 2:
        assert math.isnan(overlap)
        return
    k = min(k, count - 1)
    both = zip(plain_neighbors(first[usable], k), plain_neighbors(other[usable], k), strict=True)
    assert overlap == pytest.approx(sum(len(mine & theirs) for mine, theirs in both) / (k * count), abs=1e-12)


def test_duplicates_agree_with_each_other_in_every_other_order_of_the_values() -> None:
    copies = np.random.default_rng(5).permutation(np.repeat(random_rows(29, 37), 7, axis=0))
    turned = np.ascontiguousarray(copies[:, np.random.default_rng(6).permutation(37)])
    assert neighbor_overlap(copies, turned, 10) == 1.0
    assert rank_correlation(copies, turned) == 1.0
    assert neighbor_purity(copies, random_labels(203), 10) == neighbor_purity(turned, random_labels(203), 10)


@pytest.mark.parametrize("k", [4, 5, 100])
def test_where_all_other_rows_are_neighbours_overlap_is_one(k: int) -> None:
    assert neighbor_overlap(random_rows(5, 8), random_rows(5, 8, seed=1), k) == 1.0


# Rank correlation


def test_rank_correlation_is_spearmans_rho_of_the_two_triangles() -> None:
    first, other = random_rows(700, 24), noisy(random_rows(700, 24))
    expected = spearmanr(triangle(first), triangle(other)).statistic
    assert 0.3 < expected < 0.9
    assert rank_correlation(first, other) == pytest.approx(expected, abs=1e-8)


@given(pairs_of_grids())
def test_equal_similarities_share_the_mean_of_their_ranks(pair: tuple[Matrix, Matrix]) -> None:
    first, other = pair
    usable = first.any(axis=1) & other.any(axis=1)
    rho = rank_correlation(first, other)
    one, two = (plain_triangle(matrix[usable]) for matrix in pair)
    if len(set(one)) < 2 or len(set(two)) < 2:  # scipy warns, and says NaN too
        assert math.isnan(rho)
    else:
        assert rho == pytest.approx(spearmanr(one, two).statistic, abs=1e-12)


def test_opposite_similarities_have_a_rank_correlation_of_minus_one() -> None:
    angles, mirrored = np.radians([0, 10, 30]), np.radians([0, 30, 10])
    first, other = (np.column_stack([np.cos(a), np.sin(a)]) for a in (angles, mirrored))
    # Pairs by angle: 10, 30, 20 on one side; 30, 10, 20 on the other.
    assert rank_correlation(first, other) == -1.0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_rows_are_one_pair_and_have_no_rank_correlation(count: int) -> None:
    assert math.isnan(rank_correlation(random_rows(count, 4), random_rows(count, 4, seed=1)))


# Purity of neighbourhoods


@pytest.mark.parametrize("k", [1, 10])
def test_purity_is_the_mean_share_of_scikit_learns_neighbours_with_the_rows_label(k: int) -> None:
    matrix, labels = random_rows(700, 24), random_labels(700)
    matrix[:, 0] += np.array([3.0 * (label == "a") for label in labels])
    shares = [
        np.mean([labels[other] == label for other in near])
        for near, label in zip(sklearn_neighbors(matrix, k), labels, strict=True)
    ]
    assert neighbor_purity(matrix, labels, k) == pytest.approx(np.mean(shares), abs=1e-12)


@given(grids(), st.integers(1, 16), st.data())
def test_rows_without_a_label_or_a_direction_are_nobodys_neighbours(
    matrix: Matrix, k: int, data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.sampled_from(["a", "b", None]), min_size=len(matrix), max_size=len(matrix)))
    usable = [row for row, label in enumerate(labels) if label is not None and matrix[row].any()]
    purity = neighbor_purity(matrix, labels, k)
    if len(usable) < 2:
        assert math.isnan(purity)
        return
    k = min(k, len(usable) - 1)
    near = plain_neighbors(matrix[usable], k)
    shares = [sum(labels[usable[i]] == labels[usable[j]] for j in near[i]) / k for i in range(len(usable))]
    assert purity == pytest.approx(np.mean(shares), abs=1e-12)


def test_where_all_other_rows_are_neighbours_purity_is_what_chance_gives() -> None:
    labels = ["a"] * 3 + ["b"] * 2
    assert neighbor_purity(random_rows(5, 8), labels, 99) == pytest.approx((3 * 2 + 2 * 1) / (5 * 4))


# Silhouette


def test_silhouette_is_scikit_learns_with_cosine_distance() -> None:
    matrix, labels = random_rows(700, 400), random_labels(700)
    matrix[:, 0] += np.array([30.0 * (label == "a") for label in labels])
    expected = silhouette_score(matrix.astype(float), labels, metric="cosine")
    assert silhouette(matrix, labels) == pytest.approx(expected, abs=1e-12)


@given(grids(), st.data())
def test_silhouette_is_scikit_learns_for_ties_duplicates_and_labels_that_stand_alone(
    matrix: Matrix, data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.sampled_from([*LABELS, None]), min_size=len(matrix), max_size=len(matrix)))
    usable = [row for row, label in enumerate(labels) if label is not None and matrix[row].any()]
    value = silhouette(matrix, labels)
    kept = [labels[row] for row in usable]
    if not 2 <= len(set(kept)) < len(kept):  # scikit-learn refuses what is not defined
        assert math.isnan(value)
        return
    distances = 1 - np.array(plain_cosines(matrix[usable]))  # exactly 0 between equal directions
    assert value == pytest.approx(silhouette_score(distances, kept, metric="precomputed"), abs=1e-7)


@pytest.mark.parametrize("seed", range(10))
def test_equal_rows_are_in_no_group_more_than_in_another(seed: int) -> None:
    row = random_rows(1, 64, seed)
    assert silhouette(np.repeat(row, 36, axis=0), [*LABELS, *LABELS, "a"] * 4) == 0.0


@pytest.mark.parametrize("labels", [["a"] * 5, list("abcde"), [None] * 5, [*"ab", None, None, None]])
def test_a_single_label_or_one_for_every_row_has_no_silhouette(labels: list[str | None]) -> None:
    assert math.isnan(silhouette(random_rows(5, 8), labels))


# All figures

FIGURES: dict[str, Callable[[Matrix, Matrix, list[str]], float]] = {
    "overlap": lambda matrix, other, _: neighbor_overlap(matrix, other, 5),
    "overlap with": lambda matrix, other, _: neighbor_overlap(other, matrix, 5),
    "rank correlation": lambda matrix, other, _: rank_correlation(matrix, other),
    "rank correlation with": lambda matrix, other, _: rank_correlation(other, matrix),
    "purity": lambda matrix, _, labels: neighbor_purity(matrix, labels, 5),
    "silhouette": lambda matrix, _, labels: silhouette(matrix, labels),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_rows_without_a_direction_never_count(name: str, bad: float) -> None:
    matrix, labels = random_rows(60, 8), random_labels(60)
    other, good = noisy(matrix), [row for row in range(60) if row not in (0, 7, 59)]
    broken = matrix.copy()
    broken[[0, 7, 59]] = bad
    expected = FIGURES[name](matrix[good], other[good], [labels[row] for row in good])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert FIGURES[name](broken, other, labels) == pytest.approx(expected, abs=1e-12)
    assert have_direction(broken).tolist() == [row in good for row in range(60)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_same_whatever_the_number_of_threads(name: str) -> None:
    # Pairs of equal rows, so that there are ties to be broken by the last bits.
    matrix = np.repeat(random_rows(150, 384), 2, axis=0)
    values = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            values.append(FIGURES[name](matrix, noisy(matrix), random_labels(300)))
    assert values[0] == pytest.approx(values[1], abs=1e-9)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_does_not_depend_on_the_length_of_vectors(name: str) -> None:
    matrix, labels = random_rows(80, 8), random_labels(80)
    longer = (matrix * 2.0 ** np.random.default_rng(0).integers(-20, 20, (80, 1))).astype(np.float32)
    expected = FIGURES[name](matrix, noisy(matrix), labels)
    assert FIGURES[name](longer, noisy(matrix), labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in FIGURES if "rank" not in name])
def test_the_memory_of_a_figure_does_not_grow_with_the_pairs_of_rows(name: str) -> None:
    matrix, labels = random_rows(6000, 16), random_labels(6000)
    assert peak_of(lambda: FIGURES[name](matrix, matrix, labels)) < 6000 * 6000 * 8 / 10


def test_the_memory_of_a_rank_correlation_grows_with_the_pairs_of_its_sample_alone() -> None:
    matrix = random_rows(6000, 16)
    assert peak_of(lambda: rank_correlation(matrix, matrix, most=500)) < 6000 * 6000 * 8 / 10


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_of_many_rows_a_sample_is_asked_and_its_neighbours_are_searched_among_all() -> None:
    first, other, labels = random_rows(90, 12), noisy(random_rows(90, 12)), random_labels(90)
    rows = sampled(90, 40).tolist()
    mine, theirs = sklearn_neighbors(first, 5), sklearn_neighbors(other, 5)
    shares = [len(mine[row] & theirs[row]) / 5 for row in rows]
    assert neighbor_overlap(first, other, 5, most=40) == pytest.approx(np.mean(shares), abs=1e-12)
    alike = [np.mean([labels[near] == labels[row] for near in mine[row]]) for row in rows]
    assert neighbor_purity(first, labels, 5, most=40) == pytest.approx(np.mean(alike), abs=1e-12)
    expected = spearmanr(triangle(first[rows]), triangle(other[rows])).statistic
    assert rank_correlation(first, other, most=40) == pytest.approx(expected, abs=1e-8)


def test_a_sample_is_the_same_each_time_in_the_order_of_the_rows_and_without_repetition() -> None:
    rows = sampled(10_000, 500).tolist()
    assert rows == sampled(10_000, 500).tolist() == sorted(set(rows))
    assert (len(rows), rows[-1] > 9_000) == (500, True)
    assert sampled(500, 500).tolist() == list(range(500))


@pytest.mark.parametrize("k", [0, -3])
def test_no_neighbours_are_nothing_to_ask_for(k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}, but at least 1 neighbour"):
        neighbor_overlap(random_rows(5, 3), random_rows(5, 3), k)
    with pytest.raises(ValueError, match=f"k is {k}, but at least 1 neighbour"):
        neighbor_purity(random_rows(5, 3), list("aabba"), k)


def test_other_numbers_of_rows_or_labels_are_errors_that_name_both() -> None:
    with pytest.raises(ValueError, match="first has 5 rows and other has 4"):
        neighbor_overlap(random_rows(5, 3), random_rows(4, 3), 1)
    with pytest.raises(ValueError, match="first has 4 rows and other has 5"):
        rank_correlation(random_rows(4, 3), random_rows(5, 3))
    with pytest.raises(ValueError, match="2 labels for 5 rows"):
        silhouette(random_rows(5, 3), ["a", "b"])


# The neighbours of each


@given(grids(), st.integers(1, 20))
def test_the_neighbours_of_each_row_are_those_that_a_search_for_it_finds(matrix: Matrix, k: int) -> None:
    rows = matrix[have_direction(matrix)]
    indices, cosines = neighbors_of_each(rows, k)
    assert indices.shape == cosines.shape == (len(rows), max(0, min(k, len(rows) - 1)))
    for row in range(len(rows) if len(rows) > 1 else 0):
        found, scores = nearest(rows, rows[row], k, exclude=row)
        assert indices[row].tolist() == found.tolist()
        assert np.allclose(cosines[row], scores, atol=1e-6)


def test_rows_of_several_blocks_have_their_neighbours_too() -> None:
    matrix = random_rows(2_500, 8)
    indices, cosines = neighbors_of_each(matrix, 4)
    expected = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(matrix).kneighbors(matrix)
    assert np.array_equal(indices, expected[1][:, 1:])
    assert np.allclose(1 - cosines, expected[0][:, 1:], atol=1e-6)


def test_the_cosine_of_a_duplicate_is_one_to_the_last_bit() -> None:
    indices, cosines = neighbors_of_each(np.repeat(random_rows(3, 50), 2, axis=0), 1)
    assert indices.ravel().tolist() == [1, 0, 3, 2, 5, 4]
    assert (cosines == 1).all()


def test_no_neighbours_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        neighbors_of_each(random_rows(3, 3), 0)
