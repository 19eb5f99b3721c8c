"""Columns of a frame to texts and back, for files without types: whatever would not come back is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

_TEXT_DTYPE = pd.Series([""]).dtype
# By the kind of dtype, numpy's letters: how a text is read back. All others are texts themselves.
_READERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {"f": float, "i": int, "u": int, "b": "True".__eq__, "M": pd.Timestamp, "m": pd.Timedelta}
)
Note = dict[str, Any]
Cells = Sequence[str | None]


def as_texts(frame: pd.DataFrame) -> tuple[Note, list[Cells]]:
    """Return the layout of a frame as JSON, and every index level and column as texts, None where missing.

    Raises
    ------
    ValueError
        When a part would not come back as it was.
    """
    levels = [frame.index.get_level_values(level).to_series() for level in range(frame.index.nlevels)]
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    names = ["the index", *(f"the column {name!r}" for name in frame.columns)]
    names[:1] *= len(levels)
    parts = [_as_checked_texts(part, name) for part, name in zip([*levels, *columns], names, strict=True)]
    layout = {
        "levels": _as_checked_texts(pd.Series(list(frame.index.names), dtype=object), "the names of the index"),
        "names": _as_checked_texts(frame.columns.to_series(), "the list of columns"),
        "kinds": [kind for _, kind in parts],
    }
    return layout, [cells for cells, _ in parts]


def from_texts(layout: Note, cells: Sequence[Cells]) -> pd.DataFrame:
    """Return the frame that `as_texts` took apart."""
    parts = [series_of(part, kind) for part, kind in zip(cells, layout["kinds"], strict=True)]
    levels = series_of(*layout["levels"]).tolist()
    count = len(levels)
    frame = pd.DataFrame(dict(enumerate(parts[count:])), index=pd.RangeIndex(len(parts[0])))
    frame.columns = pd.Index(series_of(*layout["names"]), name=None)
    if count == 1:
        frame.index = pd.Index(parts[0], name=levels[0])
    elif count:  # without a level, the rows are numbered
        frame.index = pd.MultiIndex.from_arrays(parts[:count], names=levels)
    return frame


def _as_checked_texts(values: pd.Series[Any], name: str) -> tuple[Cells, Note]:
    try:
        cells, kind = texts_of(values)
        back = series_of(cells, kind)
        same = str(back.dtype) == str(values.dtype) and back.astype(object).equals(
            values.astype(object).reset_index(drop=True)
        )
    except (ValueError, TypeError, NotImplementedError):
        same = False
    if not same:
        raise ValueError(f"{name} ({values.dtype}) would not come back from it as it is")
    return cells, kind


def texts_of(values: pd.Series[Any]) -> tuple[Cells, Note]:
    """Return values as texts, None where missing, and what `series_of` needs to know to undo it."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        texts, kind = texts_of(dtype.categories.to_series())
        cells = [None if code < 0 else texts[code] for code in values.cat.codes]
        return cells, {"dtype": "category", "ordered": bool(dtype.ordered), "texts": texts, "kind": kind}
    found = [None if missing else cell for cell, missing in zip(values.tolist(), values.isna(), strict=True)]
    texts = [cell for cell in found if cell is not None]
    plain = all(type(cell) is str and "\0" not in cell for cell in texts)  # pandas reads a cell up to a NUL
    blanks, gaps = plain and "" in texts, len(texts) < len(found)
    # JSON where plain texts would not do: cells of other types among them, or both empty and missing ones.
    as_json = dtype.kind == "O" and (not plain or (blanks and gaps))
    write = json.dumps if as_json else str
    kind = {"dtype": str(dtype), "json": as_json, "gap": "" if blanks and not gaps else None}
    return [None if cell is None else write(cell) for cell in found], kind


def series_of(cells: Cells, kind: Note) -> pd.Series[Any]:
    """Return the values that `texts_of` wrote down."""
    if kind["dtype"] == "category":
        codes = {text: code for code, text in enumerate(kind["texts"])}
        categories = pd.Index(series_of(kind["texts"], kind["kind"]))
        places = [-1 if cell is None else codes[cell] for cell in cells]
        return pd.Series(pd.Categorical.from_codes(places, categories, ordered=kind["ordered"]))
    read = json.loads if kind["json"] else _READERS.get(pd.api.types.pandas_dtype(kind["dtype"]).kind, str)
    found = [kind["gap"] if cell is None else read(cell) for cell in cells]
    # "str" is pandas' own type of text from version 3 on; before, it would turn a missing text into "None".
    return pd.Series(found, dtype=_TEXT_DTYPE if kind["dtype"] == "str" else kind["dtype"])
