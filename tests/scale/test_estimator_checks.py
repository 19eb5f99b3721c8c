"""scikit-learn's own checks of an estimator, on an Embedder whose texts are rows of numbers, written out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from vn_magic import Session
from vn_magic.sklearn import Embedder


@pytest.fixture(autouse=True)
def current(offline: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vn_magic.current._default_session", [offline])


class OfNumbers(Embedder):
    """The checks have little else than matrices of numbers: here, each of their rows is written out as a text."""

    def fit(self, X: Any, y: object = None) -> Self:  # noqa: N803 - scikit-learn's name
        return super().fit(written(X), y)

    def transform(self, X: Any) -> Any:  # noqa: N803 - as above
        return super().transform(written(X))

    def fit_transform(self, X: Any, y: object = None) -> Any:  # noqa: N803 - as above
        return super().fit_transform(written(X), y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Without this none of the checks is run: they are for matrices.
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags


def written(X: Any) -> Any:  # noqa: N803 - as above
    cells = np.asarray(X)
    is_matrix = cells.ndim == 2 and cells.size > 0 and cells.dtype.kind in "fiuO"
    if not is_matrix or (cells.dtype.kind == "f" and not np.isfinite(cells).all()):
        return X
    return [" ".join(map(str, row)) for row in cells.tolist()]


# The name of a check, and why it cannot pass where a row is a text.
NOT_OF_TEXT = {
    "check_n_features_in": "wants n_features_in_ to be the width of its matrix; a column of texts is one feature",
    "check_n_features_in_after_fitting": "as check_n_features_in",
    "check_complex_data": "wants to read that complex numbers are not supported; the error says that no numbers are",
    "check_estimators_nan_inf": "wants to read of NaN and inf; of texts the one is called missing, the other is none",
    "check_fit2d_predict1d": "wants one dimension to be refused; one dimension is what a list of texts has",
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [OfNumbers(dimension=128)],
    expected_failed_checks=lambda _estimator: NOT_OF_TEXT,
    xfail_strict=True,
)
def test_an_embedder_passes_scikit_learns_check(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)


def test_as_it_is_published_scikit_learn_has_no_other_check_for_an_embedder_than_that_it_can_be_cloned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        results = check_estimator(Embedder())
    assert [(result["check_name"], result["status"]) for result in results] == [("check_estimator_cloneable", "passed")]


def test_the_tags_say_that_texts_are_read_and_that_no_fit_is_needed() -> None:
    tags = get_tags(Embedder())
    assert (tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array) == (True, True, False)
    assert (tags.requires_fit, tags.input_tags.sparse, tags.input_tags.allow_nan) == (False, False, False)
    assert tags.transformer_tags is not None
    assert tags.transformer_tags.preserves_dtype == []
