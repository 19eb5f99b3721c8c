"""Unit rows and cosine similarity, against sums written out plainly."""

from __future__ import annotations

import math
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vn_magic.explore.similarity import cosine_similarity, unit_rows

MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
)


def plain_norm(row: np.ndarray) -> float:
    return math.sqrt(math.fsum(float(x) ** 2 for x in row))


def plain_cosine(a: np.ndarray, b: np.ndarray) -> float:
    product = math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return product / (plain_norm(a) * plain_norm(b))


def random_rows(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


@given(MATRICES)
def test_unit_rows_divides_each_row_by_its_norm(matrix: np.ndarray) -> None:
    result = unit_rows(matrix)
    assert result.dtype == np.float32
    assert result.shape == matrix.shape
    for row, scaled in zip(matrix, result, strict=True):
        norm = plain_norm(row)
        if norm == 0:
            assert np.isnan(scaled).all()
        else:
            np.testing.assert_allclose(scaled, [float(x) / norm for x in row], rtol=2e-6, atol=1e-37)


@given(MATRICES)
def test_unit_rows_a_second_time_returns_the_very_same_array(matrix: np.ndarray) -> None:
    once = unit_rows(matrix)
    assert unit_rows(once) is once


@given(MATRICES)
def test_unit_rows_gives_a_row_the_same_result_alone_and_in_company(matrix: np.ndarray) -> None:
    together = unit_rows(matrix)
    for i in range(len(matrix)):
        assert unit_rows(matrix[i : i + 1]).tobytes() == together[i].tobytes()


def test_unit_rows_returns_unit_rows_without_a_copy_even_beside_nan_rows() -> None:
    matrix = unit_rows(random_rows(50, 768))
    matrix[7] = np.nan
    assert unit_rows(matrix) is matrix


def test_unit_rows_leaves_its_argument_alone() -> None:
    matrix = random_rows(5, 16)
    before = matrix.tobytes()
    result = unit_rows(matrix)
    assert matrix.tobytes() == before
    assert not np.shares_memory(matrix, result)


def test_unit_rows_scales_the_one_row_that_is_not_unit_and_keeps_the_bits_of_the_rest() -> None:
    matrix = unit_rows(random_rows(4, 32)) * np.array([[1.0], [1 + 6e-7], [1.0001], [1 - 6e-7]], dtype=np.float32)
    result = unit_rows(matrix)
    assert plain_norm(result[2]) == pytest.approx(1.0, abs=1e-6)
    assert result[[0, 1, 3]].tobytes() == matrix[[0, 1, 3]].tobytes()


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf])
def test_unit_rows_makes_a_row_without_direction_nan_without_a_warning(bad: float) -> None:
    matrix = random_rows(3, 4)
    matrix[1] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = unit_rows(matrix)
    assert np.isnan(result[1]).all()
    assert np.isfinite(result[[0, 2]]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_unit_rows_makes_the_whole_row_nan_for_one_value_that_is_not_finite(bad: float) -> None:
    matrix = unit_rows(random_rows(3, 4))
    matrix[1, 2] = bad
    assert np.isnan(unit_rows(matrix)).tolist() == [[False] * 4, [True] * 4, [False] * 4]


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30, 1e38])
def test_unit_rows_copes_with_rows_whose_squares_do_not_fit_into_float32(scale: float) -> None:
    row = np.full((1, 4), scale, dtype=np.float32)
    np.testing.assert_allclose(unit_rows(row), np.full((1, 4), 0.5), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64])
def test_unit_rows_takes_other_number_types_and_returns_float32(dtype: type[np.generic]) -> None:
    result = unit_rows(np.array([[3, 4], [0, 5]], dtype=dtype))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.array([[0.6, 0.8], [0, 1]], dtype=np.float32))


def test_unit_rows_of_no_rows_is_no_rows() -> None:
    assert unit_rows(np.empty((0, 8), dtype=np.float32)).shape == (0, 8)


def test_unit_rows_says_how_to_pass_a_single_vector() -> None:
    with pytest.raises(ValueError, match=r"2 axes .*not an array with 1.*\n?.*newaxis"):
        unit_rows(np.ones(3))


@given(MATRICES, st.data())
def test_cosine_similarity_is_the_cosine_of_every_pair(a: np.ndarray, data: st.DataObject) -> None:
    b = data.draw(hnp.arrays(np.float32, (3, a.shape[1]), elements=st.floats(-9, 9, width=32, allow_subnormal=False)))
    result = cosine_similarity(a, b)
    assert result.dtype == np.float32
    assert result.shape == (len(a), len(b))
    for i, row in enumerate(a):
        for j, other in enumerate(b):
            if plain_norm(row) == 0 or plain_norm(other) == 0:
                assert np.isnan(result[i, j])
            else:
                assert result[i, j] == pytest.approx(plain_cosine(row, other), abs=2e-6)


@given(MATRICES)
def test_cosine_similarity_of_one_matrix_compares_its_rows_with_each_other(matrix: np.ndarray) -> None:
    alone = cosine_similarity(matrix)
    np.testing.assert_allclose(alone, cosine_similarity(matrix, matrix.copy()), atol=1e-6)
    np.testing.assert_array_equal(alone, alone.T)


def test_cosine_similarity_never_leaves_minus_one_to_one() -> None:
    # As far from unit length as unit rows may be: of one value each, so that no processor adds up to something else.
    longest = np.float32(1 + 4 * 2.0**-23)
    rows = np.array([[longest, 0, 0], [-longest, 0, 0]], dtype=np.float32)
    assert unit_rows(rows) is rows
    assert (np.abs(rows @ rows.T) > 1).all(), "the bare product must overshoot for this test to mean anything"
    np.testing.assert_array_equal(cosine_similarity(rows), [[1, -1], [-1, 1]])


def test_cosine_similarity_is_nan_exactly_in_the_lines_of_nan_rows() -> None:
    a, b = random_rows(6, 5), random_rows(4, 5, seed=1)
    a[2] = np.nan
    b[3] = np.nan
    expected = np.zeros((6, 4), dtype=bool)
    expected[2, :] = expected[:, 3] = True
    np.testing.assert_array_equal(np.isnan(cosine_similarity(a, b)), expected)


def test_cosine_similarity_names_both_dimensions_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"768 values.* 256\."):
        cosine_similarity(random_rows(2, 768), random_rows(2, 256))


def test_cosine_similarity_of_unit_rows_needs_little_more_memory_than_its_result() -> None:
    rows = unit_rows(random_rows(1500, 64))
    tracemalloc.start()
    result = cosine_similarity(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * result.nbytes
