"""A pyarrow Table, whose column of vectors is a fixed-size list."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from vn_magic.explore.similarity import row_norms
from vn_magic.frames import ATTRS_KEY
from vn_magic.handover.neighbour import installed, refusals
from vn_magic.handover.note import NOTE_KEY, note_of
from vn_magic.handover.vectors import Vectors


def to_arrow(
    vectors: Vectors,
    *,
    preserve_index: bool | None = None,
) -> Any:  # noqa: ANN401 - pyarrow's own Table; without its types
    """Return the frame as a ``pyarrow.Table``; see ``df.vec.to_arrow``."""
    with installed("pyarrow", "parquet"):
        import pyarrow as pa  # noqa: PLC0415 - paid for by those who use it

    frame, column, name = vectors.frame, vectors.column, str(vectors.column)
    place = list[Hashable](frame.columns).index(column)
    others = frame.copy(deep=False)
    # A column of nothing keeps the place, so that pyarrow's note for pandas knows of it. Its own way to convert a
    # column of arrays would copy every value, into lists of any length.
    others[column] = pd.Series([None] * len(frame), index=frame.index, dtype=object)
    if others.columns.inferred_type.startswith("mixed"):  # pyarrow makes texts of them too, with a warning on stderr
        others.columns = others.columns.map(str)
    # Of the attrs only what is JSON for certain: for anything else pyarrow warns on stderr and drops them all.
    others.attrs = {ATTRS_KEY: {name: vectors.provenance.as_json()}}
    with refusals("pyarrow", "drop, rename or convert that column."):
        table = pa.Table.from_pandas(others, preserve_index=preserve_index)
        missing = ~np.isfinite(row_norms(vectors.matrix))
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.matrix.reshape(-1), from_pandas=False),  # the very memory of the matrix
            vectors.provenance.dimension,
            mask=pa.array(missing) if missing.any() else None,
        )
        table = table.set_column(place, pa.field(name, lists.type), lists)
        note = json.dumps(note_of(name, vectors.provenance), ensure_ascii=False)
        # Before version 22 pyarrow leaves attrs alone; pandas looks for them here when it reads a Parquet file.
        attrs = json.dumps(others.attrs)
        return table.replace_schema_metadata({NOTE_KEY: note, **(table.schema.metadata or {}), "PANDAS_ATTRS": attrs})
