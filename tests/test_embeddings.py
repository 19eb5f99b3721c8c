"""The last look at vectors before they are bound: lengths, failures, and that what is at unit length stays as it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from vn_magic.embeddings import finish
from vn_magic.exceptions import VectorError

VALUES = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=VALUES).filter(
    lambda matrix: bool((np.abs(matrix).max(axis=1) > 1e-6).all())
)


def finished(matrix: NDArray[np.float32], *, unit_length: bool = True) -> NDArray[np.float32]:
    done = matrix.copy()
    finish(done, failed={}, unit_length=unit_length)
    return done


@given(MATRICES)
def test_rows_come_out_at_length_one_in_their_own_direction(matrix: NDArray[np.float32]) -> None:
    wide = matrix.astype(np.float64)
    expected = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(finished(matrix), expected, rtol=2e-7, atol=1e-12)


@given(MATRICES)
def test_what_was_finished_once_is_left_as_it_is_bit_for_bit(matrix: NDArray[np.float32]) -> None:
    once = finished(matrix)
    assert finished(once).tobytes() == once.tobytes()


def test_a_length_that_is_off_by_more_than_float32_rounds_is_mended() -> None:
    row = finished(np.arange(1, 769, dtype=np.float32)[np.newaxis])
    for factor in (1 + 4e-7, 1 - 4e-7, 0.5, 3.0):
        off = (row * np.float32(factor)).astype(np.float32)
        assert finished(off).tobytes() != off.tobytes()
        np.testing.assert_allclose(finished(off), row, rtol=2e-7)


@given(MATRICES)
def test_a_row_is_finished_alike_wherever_it_stands(matrix: NDArray[np.float32]) -> None:
    together = finished(matrix)
    assert all(
        finished(row[np.newaxis]).tobytes() == done.tobytes() for row, done in zip(matrix, together, strict=True)
    )


def test_a_row_of_thousands_is_finished_as_it_is_alone() -> None:
    matrix = np.random.default_rng(6).standard_normal((9000, 131)).astype(np.float32)
    together = finished(matrix)
    for row in (0, 1, 4095, 4096, 8191, 8999):
        assert finished(matrix[row : row + 1]).tobytes() == together[row].tobytes()


@given(MATRICES)
def test_raw_rows_are_not_touched_and_their_lengths_are_returned(matrix: NDArray[np.float32]) -> None:
    raw = matrix.copy()
    norms = finish(raw, failed={}, unit_length=False)
    assert raw.tobytes() == matrix.tobytes()
    assert not raw.flags.writeable
    expected = [math.sqrt(math.fsum(float(value) ** 2 for value in row)) for row in matrix]
    np.testing.assert_allclose(norms, expected, rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_row_that_is_no_vector_is_an_error_unless_it_has_failed(value: float) -> None:
    matrix = np.ones((3, 4), dtype=np.float32)
    matrix[1] = value
    with pytest.raises(VectorError, match="Row 1 came out as no usable vector"):
        finish(matrix.copy(), failed={}, unit_length=True)
    finish(matrix, failed={1: "why"}, unit_length=True)
    assert np.isnan(matrix).all(axis=1).tolist() == [False, True, False]
