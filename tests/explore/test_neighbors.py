"""Nearest rows, against sorting all cosines one by one."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vn_magic.explore.neighbors import nearest


def random_rows(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def unit(matrix: np.ndarray) -> np.ndarray:
    wide = matrix.astype(np.float64)
    scaled: np.ndarray = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
    return scaled.astype(np.float32)


def plain_cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    squares = [math.fsum(float(x) ** 2 for x in v) for v in (a, b)]
    return dot / math.sqrt(squares[0] * squares[1]) if min(squares) > 0 else math.nan


def plain_nearest(matrix: np.ndarray, query: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """Sort every row by its cosine, equal ones (to six places) by their position."""
    scores = [plain_cosine(row, query) for row in matrix]
    order = sorted((i for i, s in enumerate(scores) if not math.isnan(s)), key=lambda i: (-round(scores[i], 6), i))
    return order[:k], [scores[i] for i in order[:k]]


# On a grid this coarse two cosines are either equal or far apart, so that there are many true ties and no near ones.
GRID = st.integers(-2, 2).map(float)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=GRID),
    hnp.arrays(np.float32, 3, elements=GRID).filter(np.any),
    st.integers(1, 45),
)
def test_nearest_is_the_head_of_all_rows_sorted_by_cosine_then_position(
    matrix: np.ndarray, query: np.ndarray, k: int
) -> None:
    indices, scores = nearest(matrix, query, k)
    expected_indices, expected_scores = plain_nearest(matrix, query, k)
    assert indices.dtype == np.int64
    assert scores.dtype == np.float32
    assert indices.tolist() == expected_indices
    np.testing.assert_allclose(scores, expected_scores, atol=1e-7)


@pytest.mark.parametrize("k", [1, 10, 500])
def test_nearest_agrees_with_a_full_sort_on_ordinary_vectors(k: int) -> None:
    matrix, query = random_rows(3000, 96), random_rows(1, 96, seed=1)[0]
    indices, scores = nearest(matrix, query, k)
    expected_indices, expected_scores = plain_nearest(matrix, query, k)
    assert indices.tolist() == expected_indices
    np.testing.assert_array_equal(scores, np.array(expected_scores, dtype=np.float32))


@pytest.mark.parametrize("dimension", [768, 769, 3])
def test_nearest_keeps_equal_rows_in_order_wherever_blas_puts_its_blocks(dimension: int) -> None:
    matrix = np.tile(random_rows(1, dimension), (5003, 1))
    indices, scores = nearest(matrix, random_rows(1, dimension, seed=1)[0], 4000)
    assert indices.tolist() == list(range(4000))
    assert len(set(scores.tolist())) == 1


def test_nearest_keeps_equal_rows_in_order_even_where_their_score_is_nothing_but_rounding() -> None:
    row, query = random_rows(2, 769).astype(np.float64)
    query -= (query @ row) / (row @ row) * row
    indices, scores = nearest(np.tile(row, (503, 1)), query, 503)
    assert indices.tolist() == list(range(503))
    assert np.abs(scores).max() < 1e-15


def test_nearest_settles_a_tie_at_the_cut_in_favour_of_the_earlier_rows() -> None:
    matrix = np.array([[0, 1], [1, 1], [1, 0], [2, 2], [1, 1]], dtype=np.float32)
    indices, _ = nearest(matrix, np.array([1.0, 0.0]), 3)
    assert indices.tolist() == [2, 1, 3]


def test_nearest_puts_close_rows_in_the_order_of_their_float64_scores() -> None:
    # 2e-7 apart: more than a float32 score resolves, less than a float32 product of 3072 terms is good for.
    query = unit(random_rows(1, 3072))[0].astype(np.float64)
    aside = random_rows(1, 3072, seed=1)[0].astype(np.float64)
    aside -= (aside @ query) * query
    aside /= np.sqrt(aside @ aside)
    cosines = 0.9 - 2e-7 * np.random.default_rng(2).permutation(400)
    matrix = cosines[:, np.newaxis] * query + np.sqrt(1 - cosines**2)[:, np.newaxis] * aside
    indices, _ = nearest(matrix, query, 50)
    assert indices.tolist() == np.argsort(-cosines)[:50].tolist()


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_nearest_never_returns_a_row_without_direction(bad: float) -> None:
    matrix = random_rows(20, 8)
    matrix[[0, 5, 19]] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        indices, scores = nearest(matrix, matrix[3], 20)
    assert sorted(indices.tolist()) == sorted(set(range(20)) - {0, 5, 19})
    assert np.isfinite(scores).all()


def test_nearest_returns_nothing_if_every_row_failed() -> None:
    indices, scores = nearest(np.full((4, 3), np.nan, dtype=np.float32), np.ones(3), 2)
    assert indices.shape == scores.shape == (0,)
    assert indices.dtype == np.int64
    assert scores.dtype == np.float32


def test_nearest_in_an_empty_matrix_returns_nothing() -> None:
    assert nearest(np.empty((0, 3), dtype=np.float32), np.ones(3), 2)[0].tolist() == []


def test_nearest_returns_all_rows_if_k_is_larger() -> None:
    assert sorted(nearest(random_rows(7, 4), np.ones(4), 100)[0].tolist()) == list(range(7))


@pytest.mark.parametrize("exclude", [3, [3], [3, 0, 8], []])
def test_nearest_leaves_out_excluded_rows_and_keeps_the_rest_in_order(exclude: Any) -> None:
    matrix = random_rows(10, 6)
    everything, _ = nearest(matrix, matrix[3], 10)
    left_out = {exclude} if isinstance(exclude, int) else set(exclude)
    indices, _ = nearest(matrix, matrix[3], 10, exclude=exclude)
    assert indices.tolist() == [i for i in everything.tolist() if i not in left_out]


def test_nearest_refuses_to_exclude_a_row_that_does_not_exist() -> None:
    with pytest.raises(IndexError, match="10"):
        nearest(random_rows(10, 6), np.ones(6), 1, exclude=10)


def test_nearest_gives_the_same_answer_with_and_without_the_callers_word_on_unit_length() -> None:
    matrix, query = unit(random_rows(2000, 48)), random_rows(1, 48, seed=3)[0]
    matrix[100] = np.nan
    slow, fast = nearest(matrix, query, 25), nearest(matrix, query, 25, unit_length=True)
    np.testing.assert_array_equal(slow[0], fast[0])
    np.testing.assert_array_equal(slow[1], fast[1])


@pytest.mark.parametrize("row", [2.0, 0.0, np.inf])
def test_nearest_notices_a_candidate_that_breaks_the_word_on_unit_length(row: float) -> None:
    matrix = unit(random_rows(5, 4))
    matrix[2] = row
    with pytest.raises(ValueError, match=r"unit_length=True.*\n.*unit_rows"):
        nearest(matrix, np.ones(4), 5, unit_length=True)


@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e25, 1e36])
def test_nearest_judges_direction_alone_however_long_or_short_a_row_is(scale: float) -> None:
    matrix, query = random_rows(30, 8), random_rows(1, 8, seed=1)[0]
    stretched = matrix.copy()
    stretched[::2] *= np.float32(scale)
    indices, scores = nearest(stretched, query, 30)
    expected_indices, expected_scores = nearest(matrix, query, 30)
    assert indices.tolist() == expected_indices.tolist()
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_nearest_does_not_mind_the_length_of_the_query(scale: float) -> None:
    matrix, query = random_rows(30, 8), random_rows(1, 8, seed=1)[0].astype(np.float64)
    assert nearest(matrix, query * scale, 30)[0].tolist() == nearest(matrix, query, 30)[0].tolist()


@pytest.mark.parametrize(
    "view",
    [
        lambda m: m.astype(np.float64),
        np.asfortranarray,
        lambda m: np.hstack([m, m])[:, : m.shape[1]],
        lambda m: np.repeat(m, 2, axis=0)[::2],
        lambda m: m.tolist(),
    ],
    ids=["float64", "columns first", "prefix of longer rows", "every second row", "lists"],
)
def test_nearest_takes_any_layout_of_the_same_numbers(view: Any) -> None:
    matrix, query = random_rows(200, 24), random_rows(1, 24, seed=1)[0]
    expected, result = nearest(matrix, query, 15), nearest(view(matrix), query, 15)
    np.testing.assert_array_equal(result[0], expected[0])
    np.testing.assert_array_equal(result[1], expected[1])


def test_nearest_leaves_its_arguments_alone() -> None:
    matrix, query = random_rows(20, 8), random_rows(1, 8, seed=1)[0]
    matrix.flags.writeable = query.flags.writeable = False
    assert nearest(matrix, query, 3, exclude=4)[0].shape == (3,)


def test_nearest_does_not_copy_the_matrix() -> None:
    matrix = random_rows(20_000, 256)
    tracemalloc.start()
    nearest(matrix, matrix[0], 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.1 * matrix.nbytes


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.ones(4), 0, r"k is 0.* at least 1"),
        (np.ones(4), -3, r"k is -3.* at least 1"),
        (np.ones(3), 1, r"\(3,\).* have 4 values"),
        (np.ones((1, 4)), 1, r"\(1, 4\).* \(4,\) is needed"),
        (np.array([1.0, np.nan, 1.0, np.inf]), 1, r"2 of the query's 4 values"),
        (np.zeros(4), 1, r"all 4 values of the query are 0"),
    ],
)
def test_nearest_says_what_is_wrong_with_a_request_it_cannot_answer(query: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest(random_rows(5, 4), query, k)
