"""The nearest rows, beside one numpy product of matrix and vector with a selection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurements.common import embeddings_like, frame_of, options, report, seconds
from vn_magic.explore.neighbors import nearest

K = 10


def _product_and_selection(matrix: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.intp]:
    scores = matrix @ query
    best = np.argpartition(scores, -K)[-K:]
    ordered: NDArray[np.intp] = best[np.argsort(-scores[best])]
    return ordered


def main() -> None:
    matrix = embeddings_like(options()["rows"])
    query = matrix[17] + 0.1 * matrix[3]
    frame = frame_of(matrix)
    expected = _product_and_selection(matrix, query)
    if expected.tolist() != nearest(matrix, query, K)[0].tolist():
        raise SystemExit("neighbors and product disagree")
    report(
        seconds(
            15,
            product=lambda: _product_and_selection(matrix, query),
            neighbors=lambda: nearest(matrix, query, K),
            neighbors_unit=lambda: nearest(matrix, query, K, unit_length=True),
            accessor=lambda: frame.vec.nearest(query, k=K),
        )
    )


if __name__ == "__main__":
    main()
