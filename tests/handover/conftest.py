"""Rows to hand over, by the stand-in: a duplicate, a row that failed, and an index with the same label twice."""

from __future__ import annotations

import pandas as pd
import pytest

from vn_magic import Session

TEXTS = [
    "The cat sat on the mat.",
    "A cat was sitting on a mat.",
    None,
    "Stock markets fell sharply today.",
    "The cat sat on the mat.",
    "Bread is baked from flour and water.",
]
DIMENSION = 256


@pytest.fixture
def rows(offline: Session) -> pd.DataFrame:
    """Six rows, the third without a vector."""
    source = pd.DataFrame({"text": TEXTS, "stars": range(6)}, index=list("pqqrst"))
    frame = offline.embed(source, column="text", dimension=DIMENSION, on_error="keep")
    assert isinstance(frame, pd.DataFrame)
    return frame


@pytest.fixture
def whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The five rows that have a vector."""
    return rows[rows["error"].isna()].drop(columns="error")
