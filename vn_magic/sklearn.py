"""Embeddings as a step of scikit-learn: ``from vn_magic.sklearn import Embedder``. Needs the extra ``sklearn``."""

from __future__ import annotations

from vn_magic.exceptions import MissingExtraError

__all__ = ["Embedder"]


def _is_of_sklearn(error: ImportError) -> bool:
    """Whether scikit-learn is missing, or too old to have what is asked for: anything else is not cured by an extra."""
    return (error.name or "").partition(".")[0] == "sklearn"


try:
    from vn_magic.scale.estimator import Embedder
except ImportError as _error:
    if not _is_of_sklearn(_error):
        raise
    _cure = 'Next: pip install "vn_magic[sklearn]"'
    raise MissingExtraError(f"vn_magic.sklearn needs scikit-learn 1.6 or newer.\n{_cure}") from None
