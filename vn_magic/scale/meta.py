"""What stands for frames with vectors while Dask has not computed them, and how they are written to Parquet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from dask.dataframe.dispatch import meta_nonempty, pyarrow_schema_dispatch

from vn_magic.exceptions import ProvenanceError
from vn_magic.frames import column_of, noted_columns


class EmbeddedMeta(pd.DataFrame):
    """An empty frame with the columns, dtypes, index and provenance of the partitions, which are plain frames.

    It has a type of its own because Dask asks by the type of a meta for the Arrow schema of what it writes. For a plain
    frame it would infer one from objects of its own invention, which Arrow refuses.
    """

    @property
    def _constructor(self) -> type[EmbeddedMeta]:
        """Let what Dask derives from a meta (of a filter, of fewer columns) be one, too."""
        return EmbeddedMeta


def meta_of(frame: pd.DataFrame) -> EmbeddedMeta:
    """Return the meta of partitions that are like this frame."""
    meta = EmbeddedMeta(frame)
    meta.attrs = frame.attrs
    return meta


@meta_nonempty.register(EmbeddedMeta)  # type: ignore[no-untyped-call, untyped-decorator]  # dask has no types
def with_invented_rows(meta: EmbeddedMeta) -> EmbeddedMeta:
    """Return rows as Dask invents them, with vectors where there are vectors, so that ``.vec`` works on them."""
    rows = EmbeddedMeta(meta_nonempty(pd.DataFrame(meta)))
    rows.attrs = meta.attrs
    for name, noted in noted_columns(meta).items():
        if name in rows.columns:
            rows[name] = column_of(np.eye(len(rows), noted["dimension"], dtype=np.float32), rows.index)
    return rows


@pyarrow_schema_dispatch.register(EmbeddedMeta)  # type: ignore[no-untyped-call, untyped-decorator]  # as above
def arrow_schema(rows: EmbeddedMeta) -> pa.Schema:
    """Return the schema that all partitions are written with: vectors are lists of float32, other objects are texts.

    Raises
    ------
    ProvenanceError
        When the note of the vectors' origin is lost, which the files would not have then; before anything is sent.
    """
    noted = noted_columns(rows)
    objects = [name for name, dtype in rows.dtypes.items() if dtype == np.dtype(object)]
    if objects and not set(noted) & set(objects):
        raise ProvenanceError(
            "Dask has lost the note of where these vectors come from: a merge drops it, and it goes by the column's "
            "name. Nothing was sent.\nNext: merge and rename first and embed last, or give to_parquet a whole schema=."
        )
    inferred = pa.Schema.from_pandas(pd.DataFrame(rows).drop(columns=objects))  # the index comes last
    types = {name: pa.list_(pa.float32()) if name in noted else pa.string() for name in objects}
    types |= {field.name: field.type for field in inferred}
    return pa.schema([(name, types[name]) for name in dict.fromkeys([*rows.columns, *inferred.names])])
