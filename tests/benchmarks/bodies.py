"""What the benchmark's gateway answers: bodies rendered once, and which of them belongs to which text."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = (768, 3072)
VARIANTS = 16  # so that no client can get by with parsing one body


def variant_of(text: str) -> int:
    """Return which of the vectors is the text's: a client that mixes up its rows is found out."""
    return crc32(text.encode()) % VARIANTS


def vectors(dimension: int) -> NDArray[np.float32]:
    """Return the unit vectors that are answered, float32 ``(VARIANTS, dimension)``."""
    rows = np.random.default_rng(dimension).standard_normal((VARIANTS, dimension))
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def rendered_values(dimension: int) -> list[bytes]:
    """Return each vector as the service prints one: the shortest decimals that give the float32 back."""
    return [f"[{', '.join(str(value) for value in row)}]".encode() for row in vectors(dimension)]
