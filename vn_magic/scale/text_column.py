"""The texts of what scikit-learn hands over: a column of them, in any container."""

from __future__ import annotations

import numpy as np

from vn_magic.exceptions import InputError
from vn_magic.texts import checked_texts

_NAMED_ROWS = 5


def texts_of(X: object) -> list[str]:  # noqa: N803 - scikit-learn's name
    """Return the texts of a list, tuple, array, Series or Index of them, or of a frame or array with one column.

    Raises
    ------
    InputError
        When it is something else, or a row has no text; names the rows.
    """
    column = _column_of(X)
    texts, refused = checked_texts(column, "keep")
    if refused:
        rows = ", ".join(f"row {row} ({reason})" for row, reason in list(refused.items())[:_NAMED_ROWS])
        more = f" and {len(refused) - _NAMED_ROWS} more" if len(refused) > _NAMED_ROWS else ""
        raise InputError(
            f"{len(refused)} of {len(texts)} rows of X cannot be embedded: {rows}{more}. Nothing was sent.\n"
            "Next: leave these rows out of X and of y, or fill them with a text."
        )
    return [text for text in texts if text is not None]


def _column_of(X: object) -> list[object]:  # noqa: N803 - as above
    kind = type(X).__name__
    if isinstance(X, str):
        raise InputError("X is a single text, expected a list of them.\nNext: put it into a list: [text].")
    if hasattr(X, "toarray"):
        raise InputError(f"X is a sparse matrix ({kind}), expected texts.\nNext: put the Embedder first in a pipeline.")
    try:
        cells = np.asarray(X, dtype=object)
    except ValueError:  # lists of different length
        raise InputError(f"X is a {kind} of unequal rows, expected a text a row.") from None
    if cells.ndim == 0:
        raise InputError(f"X is {'None' if X is None else f'of type {kind}'}, expected a list or a column of texts.")
    if len(cells) == 0:
        raise InputError("X has no rows, expected at least one text.")
    if cells.size != len(cells):
        # In the words of scikit-learn's check_array, which its own checks look for.
        raise InputError(
            f"X has {cells.size // len(cells)} feature(s) (shape={cells.shape}) while a minimum of 1 is required, and "
            "no more: a column of texts.\nNext: choose it, e.g. ColumnTransformer([('text', Embedder(), 'review')])."
        )
    column: list[object] = cells.ravel().tolist()
    return column
