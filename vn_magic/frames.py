"""Texts out of a Series, frame or list; Embeddings into a frame or array.

Vectors stand in an object column of row views into one contiguous float32 matrix. Of the ways to keep them in
pandas it is the one that gives the matrix back without a copy and survives Parquet and pickle by default calls.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import InputError, ProvenanceError
from vn_magic.explore.similarity import row_chunks
from vn_magic.rows import DEFAULT_COLUMN, Rows

EMBEDDING_COLUMN = "embedding"
ERROR_COLUMN = "error"
# DataFrame.attrs keep plain JSON under this name: {column: provenance}.
ATTRS_KEY = "vn_magic"

Frame = pd.DataFrame
Column = pd.Series


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What was given to embed, taken apart so that the result can be put together in the same shape.

    Parameters
    ----------
    values
        A row each, of any type.
    frame
        The columns and the index that come along: a copy, without vectors.
    """

    values: Sequence[object]
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)


def source_of(data: object, column: str | None = None) -> Source:
    """Take the texts out of what a user has.

    Parameters
    ----------
    data
        A str, a list or tuple, a Series, an Index, a one-dimensional array of numpy or pandas, a DataFrame with
        ``column``, or the `Rows` of a cell.
    column
        The column of a DataFrame that holds the texts.

    Raises
    ------
    InputError
        When it is of another kind, or the column is missing, ambiguous or in the way.
    """
    _check_container(data, column)
    if isinstance(data, pd.DataFrame):
        return _from_frame(data, column)
    if isinstance(data, Rows):
        columns = {name: _held(values) for name, values in data.columns.items()}
        return Source(
            data.values, _free_of_results(pd.DataFrame({data.column: _held(data.values, "object"), **columns}))
        )
    if isinstance(data, pd.Series):
        # A column out of several levels is named by a tuple, which would make levels of its own.
        name = DEFAULT_COLUMN if data.name is None or isinstance(data.name, tuple) else data.name
        return Source(data.tolist(), _free_of_results(data.to_frame(name)))
    if isinstance(data, pd.Index) and not isinstance(data, pd.MultiIndex):
        return Source(data.tolist(), data.to_frame(index=False, name=DEFAULT_COLUMN))
    if isinstance(data, str):
        data = [data]
    if isinstance(data, np.ndarray | pd.api.extensions.ExtensionArray):
        if data.ndim != 1:
            raise InputError(f"The array has {data.ndim} dimensions, expected one: a text each.")
        data = data.tolist()
    if not isinstance(data, list | tuple):
        raise InputError(
            f"A {_kind(data)} cannot be embedded.\nNext: give a str, a list of str, a Series, an Index, an array of "
            "str, or a DataFrame and the column of its texts (-c)."
        )
    return Source(data, pd.DataFrame({DEFAULT_COLUMN: _held(data, "object")}))


def is_dask_collection(data: object) -> bool:
    """Whether this is one of Dask's lazy collections. Where Dask is not imported there is none."""
    dask = sys.modules.get("dask")
    return dask is not None and bool(dask.is_dask_collection(data))


def to_frame(embeddings: Embeddings, source: Source, *, with_errors: bool = False) -> pd.DataFrame:
    """Return the source's columns plus ``embedding``, and ``error`` where wanted.

    Returns
    -------
    DataFrame
        Index and other columns as in the source. Cells of ``embedding`` are read-only float32 views,
        ``(dimension,)``, into one matrix; ``attrs`` hold the provenance.
    """
    frame = source.frame
    frame[EMBEDDING_COLUMN] = column_of(embeddings.matrix, frame.index)
    if with_errors:
        reasons = [embeddings.errors.get(row) for row in range(len(embeddings))]
        frame[ERROR_COLUMN] = pd.Series(reasons, index=frame.index, dtype="object")
    state_provenance(frame, EMBEDDING_COLUMN, embeddings.provenance)
    return frame


def column_of(matrix: NDArray[np.float32], index: pd.Index[Any]) -> pd.Series[Any]:
    """Return an object Series of row views into the matrix, which is closed for writing."""
    matrix.setflags(write=False)
    cells = np.empty(len(matrix), dtype=object)
    for row, vector in enumerate(matrix):
        cells[row] = vector
    return pd.Series(cells, index=index, name=EMBEDDING_COLUMN, copy=False)


def matrix_of(column: pd.Series[Any]) -> NDArray[np.float32]:
    """Return the vectors of a column as one matrix, float32 ``(rows, dimension)``.

    No copy is made while the cells are consecutive views into one matrix; cells that were filtered or sorted, or are
    of any other making (from Parquet, pickle, concat), are put together in one step.

    Raises
    ------
    InputError
        When a cell is not a vector, or they differ in length; names the row.
    """
    cells = column.to_numpy()
    if len(cells) == 0:
        return np.empty((0, 0), dtype=np.float32)
    _check_vectors(cells, column.name)
    behind = _matrix_behind(cells)
    if behind is not None:
        return behind
    return np.concatenate(cells).reshape(len(cells), -1).astype(np.float32, copy=False)


def noted_columns(frame: pd.DataFrame | pd.Series[Any]) -> Mapping[str, Any]:
    """Return the columns whose vectors' provenance is stated, with what is stated."""
    known = frame.attrs.get(ATTRS_KEY)
    return known if isinstance(known, Mapping) else {}


def provenance_of(frame: pd.DataFrame | pd.Series[Any], column: str) -> Provenance:
    """Return the stated provenance of a column of vectors.

    Raises
    ------
    ProvenanceError
        When it is lost, with the way to state it.
    """
    known = noted_columns(frame)
    if column not in known:
        raise ProvenanceError(
            f"It is not known where the vectors of {column!r} come from: pandas drops that note (attrs) when it joins "
            "frames whose notes differ, or it was never there.\n"
            "Next: if you know that all rows are of one kind, state it: df.vec.provenance = other_df.vec.provenance"
        )
    return Provenance.from_json(known[column])


def state_provenance(frame: pd.DataFrame | pd.Series[Any], column: str, provenance: Provenance) -> None:
    """Note where the vectors of a column come from."""
    frame.attrs[ATTRS_KEY] = {**noted_columns(frame), column: provenance.as_json()}


def is_vector_column(column: pd.Series[Any]) -> bool:
    """Whether the first cell that is not missing is a one-dimensional array of floats."""
    if column.dtype != object:
        return False
    # A merge marks what is missing by NaN, a float.
    first = next((cell for cell in column.array if cell is not None and not isinstance(cell, float)), None)
    return isinstance(first, np.ndarray) and first.ndim == 1 and first.dtype.kind == "f"


def _check_container(data: object, column: str | None) -> None:
    if is_dask_collection(data):
        raise InputError(
            f"A Dask {_kind(data)} is embedded by workers, and a session does not travel to them: it has a token.\n"
            "Next: vn_magic.embed(…) or %embed; workers look for a token in their environment."
        )
    if column is not None and not isinstance(data, pd.DataFrame):
        raise InputError(f"A column ({column!r}) can be named for a DataFrame only, and this is a {_kind(data)}.")


def _from_frame(data: pd.DataFrame, column: str | None) -> Source:
    if column is None:
        raise InputError(
            f"A DataFrame needs the column of its texts; it has {_listed(data.columns)}.\n"
            "Next: %embed df -c COLUMN, or embed df['COLUMN']."
        )
    if data.columns.nlevels > 1:
        raise InputError(
            f"The frame's columns have {data.columns.nlevels} levels; the result adds one without. Nothing was sent.\n"
            "Next: embed one column by itself, e.g. df['upper', 'lower'], or flatten the columns first."
        )
    if column not in data.columns:
        # A magic's line knows only text: -c 0 names the column 0.
        column = next((name for name in data.columns if str(name) == column), column)
    if column not in data.columns:
        raise InputError(f"There is no column {column!r}; the frame has {_listed(data.columns)}.")
    texts = data[column]
    if texts.ndim != 1:
        raise InputError(f"There are several columns called {column!r}.\nNext: rename them apart.")
    return Source(texts.tolist(), _free_of_results(data.copy()))


def _held(values: Sequence[object], dtype: str | None = None) -> pd.Series[Any]:
    """Return values as pandas holds them by itself, or as they are where it cannot."""
    try:
        return pd.Series(list(values), dtype=dtype).infer_objects()
    except UnicodeEncodeError:  # its own type of text is UTF-8, which has no half of a surrogate pair
        return pd.Series(list(values), dtype="object")


def _free_of_results(frame: pd.DataFrame) -> pd.DataFrame:
    for name in (EMBEDDING_COLUMN, ERROR_COLUMN):
        if name in frame.columns:
            raise InputError(
                f"There is a column {name!r} already, and the result would replace it. Nothing was sent.\n"
                f"Next: df.drop(columns={name!r}) or rename it."
            )
    return frame


def _check_vectors(cells: NDArray[np.object_], name: Hashable) -> None:
    dimension: int | None = None
    for row, cell in enumerate(cells):
        if not isinstance(cell, np.ndarray) or cell.ndim != 1 or cell.dtype.kind != "f":
            raise InputError(
                f"Row {row} of {name!r} is not a vector but {_kind(cell)}.\n"
                "Next: drop it, or load the frame with vn_magic.load if a CSV saver spoiled it."
            )
        dimension = dimension if dimension is not None else len(cell)
        if len(cell) != dimension:
            raise InputError(f"Row {row} of {name!r} has {len(cell)} values, the first row has {dimension}.")


def _matrix_behind(cells: NDArray[np.object_]) -> NDArray[np.float32] | None:
    """Return the matrix of which the cells are the rows, one after the other, or None where there is none.

    Where it would begin is told by the first cell. Whether it is the one is told by the values, bit for bit and a
    chunk at a time: numpy takes longer to say where a cell lies than to copy its values, and values cannot be stale.
    """
    owner = cells[0].base
    if not isinstance(owner, np.ndarray) or owner.dtype != np.float32 or not owner.flags.c_contiguous:
        return None
    count, dimension = len(cells), len(cells[0])
    start = (_address(cells[0]) - _address(owner)) // owner.itemsize
    values = owner.reshape(-1)[start : start + count * dimension]
    if values.size != count * dimension:
        return None
    matrix: NDArray[np.float32] = values.reshape(count, dimension)
    for chunk in row_chunks(count, dimension):
        # As integers: NaN is not equal to itself, and -0.0 is not 0.0.
        seen, expected = np.concatenate(cells[chunk]), matrix[chunk].reshape(-1)
        if seen.dtype != np.float32 or not np.array_equal(seen.view(np.uint32), expected.view(np.uint32)):
            return None
    matrix.setflags(write=False)  # the owner may be open for writing, and the frame would change with it
    return matrix


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _listed(names: pd.Index[Any]) -> str:
    return ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "") or "no columns"


def _kind(value: object) -> str:
    return type(value).__name__
