"""The body of a cell to rows of text. Pure; the body is literal, nothing in it is expanded here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from vn_magic.exceptions import InputError

Split = Literal["lines", "paragraphs", "cell", "csv", "jsonl"]

DEFAULT_COLUMN = "text"
# Atomic (?>…), or a line break of two characters would be taken for two line breaks.
_BLANK_LINES = re.compile(r"(?>\r\n|\r|\n)(?:[ \t]*(?>\r\n|\r|\n))+")
_VARIABLE = re.compile(r"\{\{([^{}]*)\}\}")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a cell: the texts, and for csv and jsonl the columns that come along.

    Parameters
    ----------
    values
        A row each; anything but text is a row that cannot be embedded.
    column
        What the column of texts is called.
    columns
        The other columns, each as long as ``values``.
    """

    values: Sequence[object]
    column: str = DEFAULT_COLUMN
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)

    def filled_in(self, variables: Mapping[str, Any]) -> Rows:
        """Return the rows with every ``{{name}}`` in a text replaced by the variable of that name; see `filled_in`."""
        values = [filled_in(value, variables) if isinstance(value, str) else value for value in self.values]
        return Rows(values, self.column, self.columns)


def split_rows(body: str, split: Split, *, column: str = DEFAULT_COLUMN, separator: str = ",") -> Rows:
    """Split the body of a cell into rows.

    Parameters
    ----------
    body
        As it was typed.
    split
        ``lines``: a row a non-blank line, trimmed. ``paragraphs``: separated by blank lines. ``cell``: all of it
        is one row. ``csv``: with a header. ``jsonl``: an object a line.
    column
        Names the texts of ``csv`` and ``jsonl``.
    separator
        Of ``csv``.

    Raises
    ------
    InputError
        When there are no rows, or ``csv`` and ``jsonl`` cannot be read; says in which line.
    """
    if not body.strip():
        rows = Rows([])
    elif split == "csv":
        rows = _csv_rows(body, column, separator)
    elif split == "jsonl":
        rows = _jsonl_rows(body, column)
    else:
        rows = Rows(_SPLITTERS[split](body))
    if not rows.values:
        raise InputError("The cell has no text below its first line.\nNext: write one text a line, and run it again.")
    return rows


def filled_in(body: str, variables: Mapping[str, Any]) -> str:
    """Replace every ``{{name}}`` by the variable of that name, for ``--vars``.

    Raises
    ------
    InputError
        When a name is unknown. A value is inserted as it is and not looked at again.
    """

    def value_of(found: re.Match[str]) -> str:
        name = found[1].strip()
        if name not in variables:
            raise InputError(
                f"--vars: there is no variable {_listed([name])!r} for {_listed([found[0]])}. Nothing was sent.\n"
                "Next: define it, correct its name, or leave out --vars to send the braces as they are."
            )
        return str(variables[name])

    return _VARIABLE.sub(value_of, body)


def _lines(body: str) -> list[str]:
    # Not str.splitlines: that one also breaks at form feeds and at U+2028, which are part of a text.
    return [line.strip() for line in re.split(r"\r\n|\r|\n", body) if line.strip()]


def _paragraphs(body: str) -> list[str]:
    return [part.strip() for part in _BLANK_LINES.split(body) if part.strip()]


def _whole(body: str) -> list[str]:
    return [body.strip("\r\n")] if body.strip() else []


_SPLITTERS: Mapping[str, Callable[[str], list[str]]] = {"lines": _lines, "paragraphs": _paragraphs, "cell": _whole}


def _csv_rows(body: str, column: str, separator: str) -> Rows:
    if len(separator) != 1 or separator in '\r\n"':
        raise InputError(f"--sep is {separator!r}, expected one character, e.g. --sep ';' or --sep '\\t'.")
    reader = csv.reader(io.StringIO(body.strip("\r\n"), newline=""), delimiter=separator, strict=True)
    try:
        records = [record for record in reader if record]
    except csv.Error as error:
        raise InputError(
            f"The csv cannot be read in line {reader.line_num}: {error}. Nothing was sent.\n"
            "Next: look there for a double quote that is not closed; inside quotes it is written twice."
        ) from None
    if not records:
        return Rows([], column)
    header, *records = records
    if len(set(header)) != len(header):
        raise InputError(f"The csv's header names a column twice: {_listed(header)}. Nothing was sent.")
    for number, record in enumerate(records, start=1):
        if len(record) != len(header):
            raise InputError(
                f"Row {number} of the csv has {len(record)} fields, its header has {len(header)}. Nothing was sent.\n"
                f"Next: put fields that contain {separator!r} in double quotes, or choose another --sep."
            )
    return _with_columns({name: [record[i] for record in records] for i, name in enumerate(header)}, column)


def _listed(names: Iterable[str]) -> str:
    """Return names on one line that is not long: where a cell is no csv, its first line of text stands for them."""
    listed = " ".join(", ".join(names).split())
    return listed if len(listed) <= 160 else f"{listed[:159]}…"  # by characters: a long word may be all there is


def _jsonl_rows(body: str, column: str) -> Rows:
    records: list[dict[str, Any]] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", body), start=1):
        if not line.strip():
            continue
        try:
            records.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise InputError(f"Line {number} is not a JSON object: {error}. Nothing was sent.") from None
    names = dict.fromkeys(name for record in records for name in record)
    return _with_columns({name: [record.get(name) for record in records] for name in names}, column)


def _with_columns(columns: dict[str, list[Any]], column: str) -> Rows:
    if not columns:
        return Rows([], column)
    if column not in columns:
        raise InputError(
            f"There is no column {column!r}; there are {_listed(columns)}. Nothing was sent.\n"
            "Next: name the column of texts with -c."
        )
    values = columns.pop(column)
    return Rows(values, column, columns)
