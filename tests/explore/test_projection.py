"""Principal components, against a singular value decomposition of the whole centred matrix in float64."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vn_magic.explore.projection import pca
from vn_magic.explore.similarity import row_chunks

EXACT_TALL, EXACT_WIDE, RANDOMIZED = (300, 40), (40, 300), (700, 540)


@cache
def cloud(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Rows with a mean and a falling spectrum, turned any way, as embeddings have them; float32, read-only."""
    random = np.random.default_rng(seed)
    spread = np.arange(1, dimension + 1) ** -0.7
    turn, _ = np.linalg.qr(random.standard_normal((dimension, dimension)))
    rows: np.ndarray = (random.standard_normal((count, dimension)) * spread) @ turn
    rows = (rows + random.standard_normal(dimension)).astype(np.float32)
    rows.flags.writeable = False
    return rows


def plain_pca(matrix: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates, explained shares and axes (as columns) by SVD, signs as they come."""
    centred = matrix.astype(np.float64) - matrix.astype(np.float64).mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    shares = singular**2 / (singular**2).sum()
    return (left * singular)[:, :components], shares[:components], right[:components].T


def loadings(matrix: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Axes that belong to coordinates: the covariance of each with every value, scaled to unit length."""
    centred = matrix.astype(np.float64) - matrix.astype(np.float64).mean(axis=0)
    axes = centred.T @ coordinates.astype(np.float64)
    unit: np.ndarray = axes / np.sqrt((axes**2).sum(axis=0))
    return unit


@pytest.mark.parametrize("shape", [EXACT_TALL, EXACT_WIDE, RANDOMIZED])
@pytest.mark.parametrize("components", [1, 2, 3])
def test_pca_agrees_with_a_full_decomposition_up_to_sign(shape: tuple[int, int], components: int) -> None:
    matrix = cloud(*shape)
    projection = pca(matrix, components)
    coordinates, shares, _ = plain_pca(matrix, components)
    signs = np.sign((projection.coordinates * coordinates).sum(axis=0))
    assert projection.coordinates.dtype == np.float32
    assert projection.explained.dtype == np.float64
    np.testing.assert_allclose(projection.coordinates, coordinates * signs, atol=2e-3)
    np.testing.assert_allclose(projection.explained, shares, rtol=1e-4)


@pytest.mark.parametrize("shape", [EXACT_TALL, EXACT_WIDE])
def test_pca_of_a_small_matrix_is_exact_to_float32(shape: tuple[int, int]) -> None:
    matrix = cloud(*shape)
    projection = pca(matrix)
    coordinates, shares, _ = plain_pca(matrix, 2)
    np.testing.assert_allclose(np.abs(projection.coordinates), np.abs(coordinates), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(projection.explained, shares, rtol=1e-10)


def groups(count: int, dimension: int) -> np.ndarray:
    """Twenty groups of rows around middles at random: several directions in which they differ nearly as much."""
    random = np.random.default_rng(0)
    middles = random.standard_normal((20, dimension))
    rows: np.ndarray = middles[random.integers(0, 20, count)] + random.standard_normal((count, dimension))
    return rows.astype(np.float32)


@pytest.mark.parametrize("matrix", [cloud(*RANDOMIZED), groups(*RANDOMIZED)], ids=["falling spectrum", "groups"])
def test_pca_of_a_large_matrix_spans_the_same_plane_as_the_exact_one(matrix: np.ndarray) -> None:
    _, _, exact = plain_pca(matrix, 2)
    found = loadings(matrix, pca(matrix).coordinates)
    found, _ = np.linalg.qr(found)
    sine_of_largest_angle = np.linalg.norm(found - exact @ (exact.T @ found), ord=2)
    assert sine_of_largest_angle < 1e-4


def test_pca_reads_a_large_matrix_nine_times(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int]] = []

    def counted(count: int, dimension: int) -> Iterator[slice]:
        reads.append((count, dimension))
        return row_chunks(count, dimension)

    monkeypatch.setattr("vn_magic.explore.projection.row_chunks", counted)
    pca(cloud(*RANDOMIZED))
    assert reads == [RANDOMIZED] * 9  # what is finite, the mean, six passes for the axes, the coordinates


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_pca_of_a_large_matrix_of_few_directions_sees_these_and_no_others(rank: int, turned: bool) -> None:
    count, dimension = RANDOMIZED
    random = np.random.default_rng(0)
    directions = random.standard_normal((rank, dimension)) if turned else np.eye(rank, dimension)
    matrix = (random.standard_normal((count, rank)) @ directions).astype(np.float32)
    projection = pca(matrix, 5)
    coordinates, shares, _ = plain_pca(matrix, 5)
    np.testing.assert_allclose(projection.explained, shares, rtol=1e-6, atol=1e-12)
    scale = np.abs(coordinates).max()
    np.testing.assert_allclose(np.abs(projection.coordinates), np.abs(coordinates), atol=1e-5 * scale)


def test_pca_of_points_on_a_slanted_line_gives_their_places_on_it() -> None:
    places = np.array([-2.0, -1.0, 0.0, 3.0])
    projection = pca(np.array([7.0, -1.0]) + places[:, np.newaxis] * np.array([0.6, 0.8]))
    np.testing.assert_allclose(projection.coordinates[:, 0], places, atol=1e-6)
    np.testing.assert_allclose(projection.coordinates[:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(projection.explained, [1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("shape", [EXACT_TALL, EXACT_WIDE, RANDOMIZED])
@pytest.mark.parametrize("seed", range(3))
def test_pca_makes_the_largest_loading_of_each_axis_positive(shape: tuple[int, int], seed: int) -> None:
    matrix = cloud(*shape, seed=seed)
    axes = loadings(matrix, pca(matrix).coordinates)
    assert (axes[np.abs(axes).argmax(axis=0), [0, 1]] > 0).all()


def test_pca_of_a_mirrored_cloud_has_the_same_axes_and_mirrored_coordinates() -> None:
    matrix = cloud(*EXACT_TALL)
    np.testing.assert_allclose(pca(-matrix).coordinates, -pca(matrix).coordinates, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_pca_makes_the_first_of_equally_large_loadings_positive(seed: int) -> None:
    # Loadings that are equal but for rounding: without care the noise of the last bit would choose the sign.
    random = np.random.default_rng(seed)
    signs = random.choice([-1.0, 1.0], size=30)
    rows = np.outer(random.standard_normal(50), signs)
    axis = loadings(rows, pca(rows, 1).coordinates)[:, 0]
    assert axis[0] > 0


@pytest.mark.parametrize("shape", [EXACT_TALL, EXACT_WIDE, RANDOMIZED])
def test_pca_gives_nan_to_rows_that_are_not_finite_and_ignores_them_otherwise(shape: tuple[int, int]) -> None:
    matrix = cloud(*shape)
    broken = np.insert(matrix, [0, 10, 20], np.nan, axis=0)
    broken[0, 1:] = 1.0
    broken[11] = np.inf
    lost = [0, 11, 22]
    result, expected = pca(broken), pca(matrix)
    assert np.isnan(result.coordinates[lost]).all()
    np.testing.assert_array_equal(np.delete(result.coordinates, lost, axis=0), expected.coordinates)
    np.testing.assert_array_equal(result.explained, expected.explained)


@pytest.mark.parametrize(
    "matrix",
    [
        np.empty((0, 5), dtype=np.float32),
        np.ones((1, 5), dtype=np.float32),
        np.full((9, 5), 0.1, dtype=np.float32),
        np.tile(np.random.default_rng(0).standard_normal(5) * 1e6, (1001, 1)),
        np.tile(cloud(1, 700), (600, 1)),
    ],
    ids=["no row", "one row", "equal rows", "many equal rows", "large equal rows"],
)
def test_pca_is_all_zero_where_there_is_nothing_to_see(matrix: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        projection = pca(matrix)
    np.testing.assert_array_equal(projection.coordinates, np.zeros((len(matrix), 2)))
    np.testing.assert_array_equal(projection.explained, [0.0, 0.0])


def test_pca_of_one_good_row_among_failed_ones_is_zero_for_it_and_nan_for_them() -> None:
    matrix = np.full((3, 4), np.nan, dtype=np.float32)
    matrix[1] = 2.0
    np.testing.assert_array_equal(pca(matrix).coordinates, [[np.nan] * 2, [0.0] * 2, [np.nan] * 2])


@pytest.mark.parametrize("dimension", [3, 600])
def test_pca_of_two_rows_has_one_axis_and_zeros_for_the_second(dimension: int) -> None:
    matrix = cloud(2, dimension)
    projection = pca(matrix)
    half = np.sqrt(((matrix[0].astype(np.float64) - matrix[1]) ** 2).sum()) / 2
    np.testing.assert_allclose(np.sort(projection.coordinates[:, 0]), [-half, half], rtol=1e-6)
    np.testing.assert_array_equal(projection.coordinates[:, 1], [0.0, 0.0])
    np.testing.assert_allclose(projection.explained, [1.0, 0.0], atol=1e-12)


@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(-50, 50).map(float)
    )
)
def test_pca_with_as_many_axes_as_values_keeps_every_distance_and_all_variance(matrix: np.ndarray) -> None:
    projection = pca(matrix, matrix.shape[1])
    for a, b in zip(matrix, projection.coordinates.astype(np.float64), strict=True):
        before = np.sqrt(((matrix - a) ** 2).sum(axis=1))
        after = np.sqrt(((projection.coordinates - b) ** 2).sum(axis=1))
        np.testing.assert_allclose(after, before, atol=1e-4)
    varied = not (matrix == matrix[0]).all()
    assert projection.explained.sum() == pytest.approx(1.0 if varied else 0.0)
    assert (np.diff(projection.explained) <= 1e-12).all()


@pytest.mark.parametrize("shape", [EXACT_WIDE, RANDOMIZED])
@pytest.mark.parametrize("scale", [1e-25, 1e18])
def test_pca_copes_with_values_whose_squares_do_not_fit_into_float32(shape: tuple[int, int], scale: float) -> None:
    matrix = cloud(*shape)
    scaled = pca(matrix * np.float32(scale))
    np.testing.assert_allclose(scaled.explained, pca(matrix).explained, rtol=1e-4)
    np.testing.assert_allclose(scaled.coordinates / scale, pca(matrix).coordinates, atol=1e-3)


@pytest.mark.parametrize("shape", [EXACT_TALL, RANDOMIZED])
def test_pca_sees_small_differences_around_a_large_mean(shape: tuple[int, int]) -> None:
    matrix = cloud(*shape).astype(np.float64)
    np.testing.assert_allclose(pca(matrix + 1e7).coordinates, pca(matrix).coordinates, atol=1e-3)


def test_pca_of_the_same_matrix_is_the_same_to_the_last_bit() -> None:
    matrix = cloud(*RANDOMIZED)
    assert pca(matrix).coordinates.tobytes() == pca(matrix.copy()).coordinates.tobytes()


def test_pca_does_not_touch_numpys_global_random_state() -> None:
    np.random.seed(1)  # noqa: NPY002 - the global state is what this test watches
    expected = np.random.random()  # noqa: NPY002
    matrix = cloud(*RANDOMIZED)
    np.random.seed(1)  # noqa: NPY002
    pca(matrix)
    assert np.random.random() == expected  # noqa: NPY002


def test_pca_of_a_large_matrix_needs_a_fraction_of_its_memory() -> None:
    matrix = np.random.default_rng(0).standard_normal((12_000, 640), dtype=np.float32)
    tracemalloc.start()
    pca(matrix)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.3 * matrix.nbytes


@pytest.mark.parametrize("shape", [EXACT_TALL, EXACT_WIDE, RANDOMIZED])
def test_pca_leaves_its_argument_alone(shape: tuple[int, int]) -> None:
    matrix = cloud(*shape).copy()
    pca(matrix)
    assert matrix.tobytes() == cloud(*shape).tobytes()


def test_a_projection_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        pca(cloud(*EXACT_TALL)).explained = np.ones(2)  # type: ignore[misc] # assigning is the test


@pytest.mark.parametrize("components", [0, -1, 41])
def test_pca_names_the_components_that_are_possible(components: int) -> None:
    with pytest.raises(ValueError, match=rf"^{components} components .* 40 values have 1 to 40"):
        pca(cloud(*EXACT_TALL), components)
