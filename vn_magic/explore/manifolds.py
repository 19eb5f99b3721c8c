"""Maps that keep neighbours together, and bend everything else: UMAP and t-SNE, where their libraries are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from vn_magic.exceptions import InputError
from vn_magic.explore.similarity import unit_rows

SEED = 0

Layout = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def umap_layout(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lay rows out on a plane by UMAP (McInnes, Healy and Melville, arXiv:1802.03426).

    Parameters
    ----------
    matrix
        Vectors with a direction, `(n, d)`.

    Returns
    -------
    numpy.ndarray
        float32 `(n, 2)`; the same for the same rows on the same machine.

    Raises
    ------
    InputError
        When umap-learn is not installed, or there are fewer than 4 rows.
    """
    _check_enough(matrix, "umap")
    try:
        from umap import UMAP  # noqa: PLC0415 - an extra, and ten seconds to import
    except ImportError:
        raise _not_installed("umap", "umap-learn") from None
    # Its spectral start needs more rows than axes; a single job is what makes a seed count.
    neighbors = min(15, len(matrix) - 1)
    start = "spectral" if len(matrix) > 10 else "random"
    layout = UMAP(n_neighbors=neighbors, metric="cosine", random_state=SEED, n_jobs=1, init=start)
    return np.asarray(layout.fit_transform(unit_rows(matrix)), dtype=np.float32)


def tsne_layout(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lay rows out on a plane by t-SNE (van der Maaten and Hinton, JMLR 9, 2008). As `umap_layout`, by scikit-learn."""
    _check_enough(matrix, "tsne")
    try:
        from sklearn.manifold import TSNE  # noqa: PLC0415 - an extra
    except ImportError:
        raise _not_installed("tsne", "scikit-learn") from None
    # Half the squared distance of unit vectors is 1 - cosine: the same neighbours, and quicker than metric="cosine".
    perplexity = min(30.0, (len(matrix) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="random", random_state=SEED)
    return np.asarray(layout.fit_transform(unit_rows(matrix)), dtype=np.float32)


LAYOUTS: Mapping[str, Layout] = {"umap": umap_layout, "tsne": tsne_layout}
"""What `method` names, beside PCA."""


def _check_enough(matrix: npt.NDArray[np.float32], method: str) -> None:
    if len(matrix) < 4:
        raise InputError(
            f"{method} needs at least 4 rows with vectors, and there are {len(matrix)}.\nNext: leave out the method."
        )


def _not_installed(method: str, package: str) -> InputError:
    return InputError(
        f"method={method!r} needs {package}, which is not installed here.\n"
        f"Next: `%pip install {package}`, or leave out the method for PCA."
    )
