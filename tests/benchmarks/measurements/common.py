"""What the measurements share: their options, vectors like real ones, and taking turns."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.embeddings import Provenance


def options() -> dict[str, Any]:
    """Return what the harness has asked for."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    return asked


def report(figures: Mapping[str, float]) -> None:
    """Hand the figures over: the last line of standard output."""
    sys.stdout.write(json.dumps(figures) + "\n")


def embeddings_like(rows: int, dimension: int = 768) -> NDArray[np.float32]:
    """Return unit vectors, float32 ``(rows, dimension)``, with a few strong directions, as embeddings have them."""
    rng = np.random.default_rng(rows)
    matrix = rng.standard_normal((rows, dimension), dtype=np.float32)
    matrix *= (1.0 + np.arange(dimension, dtype=np.float32)) ** -0.4
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix


def frame_of(matrix: NDArray[np.float32]) -> pd.DataFrame:
    """Return the vectors as a frame with its provenance stated, as somebody's own vectors come to have ``.vec``."""
    frame = pd.DataFrame({"text": [f"row {number}" for number in range(len(matrix))], "embedding": list(matrix)})
    accessor: Any = frame.vec
    accessor.provenance = Provenance("127.0.0.1", "gemini-embedding-001", None, matrix.shape[1], unit_length=True)
    return frame


def seconds(rounds: int, **functions: Callable[[], object]) -> dict[str, float]:
    """Return the median wall of each function in seconds: all in turn, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}
