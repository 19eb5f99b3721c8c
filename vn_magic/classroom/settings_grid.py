"""What is to be compared: texts, settings and labels, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from vn_magic.candidates import text_columns
from vn_magic.exceptions import InputError
from vn_magic.frames import source_of
from vn_magic.models import serves_prefixes
from vn_magic.request import Request
from vn_magic.session import Session

FEWEST_ROWS = 3
"""Two rows are one pair, and one pair has no ranks."""


@dataclass(frozen=True, slots=True)
class GridJob:
    """A request that is sent, and the lines of the grid that its vectors serve.

    Parameters
    ----------
    carrier
        The line whose request is sent, and on which its cost stands.
    lines
        All lines that it serves, the carrier among them.
    """

    carrier: int
    lines: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class SettingsGrid:
    """The settings to compare on one list of texts.

    Parameters
    ----------
    requests
        One a setting, in the order of the lines; the others are compared with the first.
    labels
        A label a row, None where a row has none; None where nobody gave labels.
    k
        How many neighbours of a row are looked at.
    """

    requests: Sequence[Request]
    labels: Sequence[Hashable | None] | None
    k: int

    def jobs(self) -> list[GridJob]:
        """Return what has to be sent, in the order of the lines.

        One job serves all dimensions of a model and a task where their vectors are the beginnings of the largest one's.
        """
        together: dict[Hashable, list[int]] = {}
        for line, request in enumerate(self.requests):
            recipe = request.recipe
            kind = replace(recipe, dimension=0) if serves_prefixes(recipe) else recipe
            together.setdefault(kind, []).append(line)
        return [
            GridJob(max(lines, key=lambda line: self.requests[line].recipe.dimension), lines)
            for lines in together.values()
        ]


def settings_grid(
    data: object,
    session: Session,
    *,
    column: str | None = None,
    models: str | Iterable[str] | None = None,
    task_types: str | Iterable[str] | None = None,
    dimensions: int | Iterable[int] | None = None,
    labels: object = None,
    k: int = 10,
) -> SettingsGrid:
    """Return every combination of the settings, checked: models × tasks × dimensions, each in the order given.

    Parameters
    ----------
    data, column, models, task_types, dimensions, labels, k
        As in `vn_magic.classroom.comparison.compare`.
    session
        Whose settings hold where none are given.

    Raises
    ------
    InputError
        When texts, labels or ``k`` are of no use, or a model does not have a dimension or tasks.
    SettingsError
        When a value is impossible by itself.
    """
    neighbors = _checked_k(k)
    texts = _texts_of(data, column)
    if len(texts) < FEWEST_ROWS:
        raise InputError(
            f"A comparison needs {FEWEST_ROWS} texts at least, for it is about what is near to what; this is "
            f"{len(texts)}.\nNext: give a list, a column or a frame of texts."
        )
    settings: list[tuple[Any, Any, Any]] = list(
        product(
            _distinct("models", models, str),
            _distinct("task_types", task_types, str),
            _distinct("dimensions", dimensions, int),
        )
    )
    source = source_of(list(texts))  # once: every setting has the same texts
    requests = [
        replace(session.prepare([], model=model, task_type=task, dimension=dimension), source=source)
        for model, task, dimension in settings
    ]
    return SettingsGrid(requests, None if labels is None else _labels_of(data, labels, len(texts)), neighbors)


def _checked_k(k: object) -> int:
    if not isinstance(k, bool) and isinstance(k, Integral) and int(k) >= 1:
        return int(k)
    raise InputError(f"k is {k!r}, expected a whole number from 1 on.\nNext: -k 10 looks at ten neighbours a row.")


def _distinct(name: str, given: object, kind: type) -> Sequence[object]:
    """Return the options of one kind without repetitions; None, the session's setting, where none are given."""
    if given is None or isinstance(given, kind):
        return [given]
    options = list(dict.fromkeys(given)) if isinstance(given, Iterable) else [given]
    if not options:
        raise InputError(f"{name} is empty.\nNext: leave it out for the session's setting, or name one.")
    return options


def _texts_of(data: object, column: str | None) -> Sequence[object]:
    if isinstance(data, pd.DataFrame):
        return _column(data, _only_column(data) if column is None else column).tolist()
    if isinstance(data, pd.Series) and column is None:
        return data.tolist()
    return source_of(data, column).values  # noqa: PD011 - of a Source, which is no frame


def _only_column(frame: pd.DataFrame) -> str:
    columns = text_columns(frame)
    if len(columns) == 1:
        return columns[0]
    have = f"several columns of texts ({', '.join(columns)})" if columns else "no column of texts"
    raise InputError(f"The frame has {have}.\nNext: name the one to compare, -c COLUMN (column=…).")


def _column(frame: pd.DataFrame, name: object) -> pd.Series[Any]:
    # A magic's line knows only text: -c 0 names the column 0.
    places = [place for place, column in enumerate(frame.columns) if column == name]
    places = places or [place for place, column in enumerate(frame.columns) if str(column) == name]
    if len(places) == 1:
        return frame.iloc[:, places[0]]
    there = ", ".join(map(str, frame.columns[:12])) + (", …" if frame.shape[1] > 12 else "")
    raise InputError(
        f"There {'are several columns' if places else 'is no column'} {name!r}; the frame has {there or 'no columns'}."
    )


def _labels_of(data: object, labels: object, rows: int) -> Sequence[Hashable | None]:
    if isinstance(labels, list | tuple | np.ndarray | pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        values = list(labels)
        told = "The label"
    elif isinstance(data, pd.DataFrame):
        values = _column(data, labels).tolist()
        told = f"The label {labels!r}"
    else:
        raise InputError(
            f"The label {labels!r} would be a column, and this is a {type(data).__name__}.\n"
            "Next: give a frame and its columns, or (in Python) a list with a label a text."
        )
    if len(values) != rows:
        raise InputError(f"There are {len(values):,} labels for {rows:,} texts.\nNext: give one for each text.")
    held = [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in values]
    try:
        groups = {value for value in held if value is not None}
    except TypeError as error:
        raise InputError(
            f"{told} cannot be compared with others ({error}).\nNext: use texts or numbers as labels."
        ) from None
    present = len(held) - held.count(None)
    if not 2 <= len(groups) < present:
        why = "is different for every row" if len(groups) > 1 else "is the same for every row"
        raise InputError(
            f"{told} {why if present else 'is missing in every row'}, so there are no groups to look for.\n"
            "Next: choose labels of which at least two are shared by several rows."
        )
    return held
