"""The widget of embedding-atlas: a map with search, a table and charts of the other columns."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.exceptions import InputError
from vn_magic.explore.comparison import neighbors_of_each
from vn_magic.handover.neighbour import installed, refusals
from vn_magic.handover.plane import X, Y, points_of
from vn_magic.handover.vectors import Vectors
from vn_magic.models import OFFLINE_MODEL
from vn_magic.pictures import origin_of

NEIGHBORS = "neighbors"
ORIGIN = "vectors"
_ROW_ID = "__row_index__"  # the widget's own, which it takes from the frame if it is there


def to_atlas(
    vectors: Vectors,
    texts: tuple[str, Sequence[str | None]],
    method: str,
    k: int,
    options: dict[str, Any],
) -> Any:  # noqa: ANN401 - embedding-atlas's own widget; it has no types
    """Return the rows as an ``EmbeddingAtlasWidget``; see ``df.vec.to_atlas``."""
    with installed("embedding-atlas", "atlas", brings="PyTorch, some gigabytes"):
        from embedding_atlas.widget import EmbeddingAtlasWidget  # noqa: PLC0415 - paid for by those who use it

    _check_text(vectors.frame, texts[0])
    added = (NEIGHBORS, ORIGIN, _ROW_ID)
    points = points_of("to_atlas", vectors, texts, method=method, added=added)
    told = points.frame
    ours = {"x": X, "y": Y, "text": texts[0]}
    if NEIGHBORS not in options and len(told) > 1:
        row_id = options.get("row_id")
        ids = np.arange(len(told)) if row_id is None else _row_ids(told, row_id)
        told[NEIGHBORS] = pd.Series(_neighbors(vectors.matrix[points.rows], ids, k), index=told.index)
        ours[NEIGHBORS] = NEIGHBORS
    if not told.index.equals(pd.RangeIndex(len(told))):  # DuckDB, which keeps the rows, has no index
        told = told.reset_index(allow_duplicates=True)
    # The widget has no title, but a table: what is not semantic says so in the first column, which is always in sight.
    place = 0 if vectors.provenance.model == OFFLINE_MODEL else len(told.columns)
    told.insert(place, ORIGIN, origin_of(vectors.provenance), allow_duplicates=True)
    _check_names(told)
    with refusals("embedding-atlas", "correct that option, or convert or drop that column."):
        return EmbeddingAtlasWidget(told, **(ours | options))


def _check_text(frame: pd.DataFrame, name: str) -> None:
    """Refuse to add a column of texts beside one whose name differs in upper and lower case only."""
    names = [str(column) for column in frame.columns]
    other = next((column for column in names if column.casefold() == name.casefold()), None)
    if other is not None and name not in names:
        raise InputError(
            f"to_atlas: there is no column {name!r}, but {other!r}, and the two are one to DuckDB, which keeps the "
            f"rows.\nNext: text={other!r}"
        )


def _row_ids(frame: pd.DataFrame, name: object) -> NDArray[Any]:
    if not isinstance(name, str) or name not in frame.columns:
        raise InputError(f"to_atlas: there is no column {name!r} for row_id.\nNext: name a column of the frame.")
    return frame[name].to_numpy()


def _neighbors(matrix: NDArray[np.float32], ids: NDArray[Any], k: object) -> list[dict[str, NDArray[Any]]]:
    """Return for every row its nearest ones, best first, in the widget's own form; itself left out."""
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise InputError(f"to_atlas: k is {k!r}, expected a whole number from 1 on.\nNext: k=15, or neighbors=None.")
    try:
        rows, cosines = neighbors_of_each(matrix, int(k))
    except ValueError as error:
        raise InputError(f"to_atlas: {error}") from None
    return [
        {"ids": near, "distances": distances}
        for near, distances in zip(ids[rows], (1 - cosines).astype(np.float32), strict=True)
    ]


def _check_names(frame: pd.DataFrame) -> None:
    names = [str(name) for name in frame.columns]
    folded = [name.casefold() for name in names]
    same = [name for name, one in zip(names, folded, strict=True) if folded.count(one) > 1]
    if same:
        raise InputError(
            f"to_atlas: the columns {', '.join(map(repr, same))} are one to DuckDB, which keeps the rows.\n"
            "Next: rename them apart; an index becomes a column, too."
        )
