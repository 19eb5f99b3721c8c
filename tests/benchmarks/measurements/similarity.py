"""All similarities of rows among themselves, beside the product of the matrix with itself."""

from __future__ import annotations

import numpy as np

from benchmarks.measurements.common import embeddings_like, frame_of, options, report, seconds
from vn_magic.explore.similarity import cosine_similarity


def main() -> None:
    matrix = embeddings_like(options()["rows"])
    frame = frame_of(matrix)
    if not np.allclose(frame.vec.similarity(), matrix @ matrix.T, atol=1e-5):
        raise SystemExit("similarity and product disagree")
    report(
        seconds(
            5,
            product=lambda: matrix @ matrix.T,
            cosine_similarity=lambda: cosine_similarity(matrix),
            accessor=frame.vec.similarity,
        )
    )


if __name__ == "__main__":
    main()
