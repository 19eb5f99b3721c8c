"""Two axes for a map, beside scikit-learn's randomized PCA, and whether both draw the same plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from benchmarks.measurements.common import embeddings_like, frame_of, options, report, seconds


def _angle(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """Return the larger angle between the planes that two maps draw, in degrees."""
    bases = [np.linalg.qr(points - points.mean(axis=0))[0] for points in (ours.astype(float), theirs.astype(float))]
    cosine = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).min()
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def main() -> None:
    matrix = embeddings_like(options()["rows"])
    frame = frame_of(matrix)

    def randomized() -> NDArray[np.floating]:
        points: NDArray[np.floating] = PCA(2, svd_solver="randomized", random_state=0).fit_transform(matrix)
        return points

    exact = PCA(2, svd_solver="covariance_eigh").fit_transform(matrix.astype(np.float64))
    figures = seconds(5, sklearn=randomized, accessor=frame.vec.project)
    figures["angle"] = _angle(frame.vec.project().to_numpy(), exact)
    figures["angle_sklearn"] = _angle(randomized(), exact)
    report(figures)


if __name__ == "__main__":
    main()
