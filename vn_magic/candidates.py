"""Which of a user's variables hold texts that can be embedded, and in which columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from keyword import iskeyword
from typing import Any
from unicodedata import normalize

import numpy as np
import pandas as pd

# Cells looked at before a column or a list is taken for something else; missing values may come first.
_LOOKED_AT = 50
# numpy's letters for what is never a text; told before a cell is looked at, for a frame may have thousands of columns.
_NUMBERS = "biufcmM"
# IPython's own lists and dicts of what was typed and shown.
_HIDDEN = ("In", "Out")


def text_variables(variables: Mapping[str, Any]) -> Iterator[tuple[str, list[str] | None]]:
    """Yield the public names that hold texts; with the columns of texts where it is a frame, else with None."""
    for name, value in list(variables.items()):  # a copy: a cell may bind names meanwhile
        if not _is_public(name):
            continue
        if isinstance(value, pd.DataFrame):
            columns = text_columns(value)
            if columns:
                yield name, columns
        elif holds_texts(value):
            yield name, None


def _is_public(name: object) -> bool:
    """Whether a key of a namespace is a name that code can use; ``globals()`` takes any other key as well."""
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name) or name in _HIDDEN:
        return False
    return not name.startswith("_") and normalize("NFKC", name) == name  # Python looks for the normal form alone


def text_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold texts, as a magic's line would name them; those with the longest texts first.

    People who embed a frame mean its reviews, not its product names.
    """
    dtypes = list(frame.dtypes)
    columns = {name: frame.iloc[:, at] for name, at in _named_columns(frame).items() if dtypes[at].kind not in _NUMBERS}
    columns = {name: column for name, column in columns.items() if _series_holds_texts(column)}
    return sorted(columns, key=lambda name: -sum(len(str(text)) for text in columns[name].iloc[:_LOOKED_AT]))


def label_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns whose values may be labels, as a magic's line would name them: all but those of vectors."""
    first = frame.head(1)
    return [
        name for name, at in _named_columns(frame).items() if all(isinstance(of, Hashable) for of in first.iloc[:, at])
    ]


def _named_columns(frame: pd.DataFrame) -> dict[str, int]:
    """Return the columns that a magic's line can name, and where they are."""
    names = [str(name) for name in frame.columns]
    times = Counter(names)
    return {name: at for at, name in enumerate(names) if times[name] == 1 and name.isprintable()}


def holds_texts(value: object) -> bool:
    """Whether a value is a Series, Index, list, tuple or one-dimensional array that begins with texts."""
    if isinstance(value, pd.Series):
        return _series_holds_texts(value)
    if isinstance(value, pd.Index) and not isinstance(value, pd.MultiIndex):
        return _series_holds_texts(value[:_LOOKED_AT].to_series())
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "OU" and _are_texts(value[:_LOOKED_AT].tolist())
    return isinstance(value, list | tuple) and _are_texts(value[:_LOOKED_AT])


def kind_of(value: object) -> str:
    """Return what a value is and how much of it there is, in two words: ``DataFrame, 310 rows``."""
    size = f", {len(value):,} rows" if isinstance(value, pd.DataFrame | pd.Series) else ""
    return f"{type(value).__name__}{size}"


def _series_holds_texts(series: pd.Series[Any]) -> bool:
    if series.dtype.kind in _NUMBERS:
        return False
    return _are_texts(series.iloc[:_LOOKED_AT].tolist())


def _are_texts(values: list[Any] | tuple[Any, ...]) -> bool:
    present = [value for value in values if not _is_missing(value)]
    return bool(present) and all(isinstance(value, str) for value in present)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
