"""CSV files, read and written in groups: UTF-8, a header, and texts in every cell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from types import MappingProxyType

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import InputError
from vn_magic.files import SAVED_KEY
from vn_magic.frames import EMBEDDING_COLUMN, ERROR_COLUMN
from vn_magic.scale.tables import (
    Group,
    GroupSize,
    Kind,
    Table,
    Write,
    check_names,
    digits_of,
    errors_of,
    listed,
    note_of,
    refuse,
)

# Characters in a cell, 128 times what the module allows by itself; not without end, for a quote may never be closed.
_LONGEST_CELL = 16_000_000
# What pandas reads the cells back as. Those that allow a gap, for only the last group tells whether there is one.
_DTYPES: Mapping[Kind, str] = MappingProxyType({"integer": "Int64", "number": "float64", "boolean": "boolean"})


class CsvGroup:
    """Rows of a CSV file."""

    def __init__(self, names: Sequence[str], column: str, records: Sequence[Sequence[str]]) -> None:
        self._names = names
        self._records = records
        place = names.index(column)
        self.texts = [record[place] for record in records]

    def columns(self) -> Mapping[str, Sequence[object]]:
        """Return all columns, as texts."""
        return dict(zip(self._names, zip(*self._records, strict=True), strict=True))

    def records(self) -> Iterator[Mapping[str, object]]:
        """Yield the rows, as texts by name."""
        return (dict(zip(self._names, record, strict=True)) for record in self._records)


class CsvTable:
    """A CSV file. Cells stay the texts that they are; blank lines are passed over.

    Parameters
    ----------
    path
        UTF-8, with a header; a byte order mark is not a part of it.
    column
        The column of the texts.
    separator
        Between cells.

    Raises
    ------
    InputError
        When its header cannot be read, or has no such column.
    """

    def __init__(self, path: Path, column: str, separator: str) -> None:
        if len(separator) != 1 or separator in '\r\n"':
            raise InputError(f"--sep is {separator!r}, expected one character, e.g. --sep ';' or --sep '\\t'.")
        self._path, self._column, self._separator = path, column, separator
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(self._records(file), ([], 0))[0]
        if not names:
            raise InputError(f"{path.name!r} is empty, without as much as a header.\nNext: give a file with rows.")
        if column not in names and len(names) == 1:
            raise InputError(
                f"There is no column {column!r}; the header is one cell, {listed(names)}.\n"
                "Next: name it with -c, or the separator with --sep, e.g. --sep ';'."
            )
        check_names(names, column)
        self.names: Sequence[str] = names
        self.kinds: Mapping[str, Kind] = dict.fromkeys(names, "text")

    def groups(self, most: GroupSize, *, texts_only: bool = False) -> Iterator[CsvGroup]:  # noqa: ARG002 - all are read
        """Yield the rows; see `Table.groups`."""
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            records = self._records(file)
            next(records)
            group: list[list[str]] = []
            size = 0
            for record, line in records:
                if len(record) != len(self.names):
                    raise InputError(
                        f"Line {line} of {self._path.name!r} has {len(record)} cells, its header has {len(self.names)}."
                        f"\nNext: put cells that contain {self._separator!r} in double quotes, or name another --sep."
                    )
                group.append(record)
                size += sum(map(len, record))
                if len(group) >= most.rows or size >= most.size:
                    yield CsvGroup(self.names, self._column, group)
                    group, size = [], 0
            if group:
                yield CsvGroup(self.names, self._column, group)

    def _records(self, file: io.TextIOWrapper) -> Iterator[tuple[list[str], int]]:
        """Yield the cells of every line that is not blank, and the number of the line that they begin in."""
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
        reader = csv.reader(file, delimiter=self._separator, strict=True)
        line = 1
        try:
            for record in reader:
                if record:
                    yield record, line
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"{self._path.name!r} cannot be read as csv from line {line} on: {error}.\n"
                "Next: look there for a double quote that is not closed; inside quotes it is written twice."
            ) from None
        except UnicodeDecodeError:
            raise InputError(
                f"Line {_first_broken_line(self._path)} of {self._path.name!r} is not UTF-8.\n"
                "Next: save it as UTF-8, e.g. iconv -f WINDOWS-1252 -t UTF-8."
            ) from None


def _first_broken_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0  # somebody has mended it meanwhile


class CsvWriter:
    """A CSV file with vectors, as `vn_magic.load` reads it: in quotes throughout, a missing value is an empty cell."""

    def check(self, table: Table) -> None:
        """Refuse what is no cell; see `Writer.check`."""
        refuse(table, ".csv", "nested", "binary")
        if SAVED_KEY in table.names:
            raise InputError(f"The column {SAVED_KEY!r} is in the way of the note of where vectors come from.")

    def learn(self, group: Group) -> None:
        """Learn nothing: all is told by the kinds of the columns."""

    @contextmanager
    def writing(
        self, file: io.BufferedWriter, table: Table, provenance: Provenance, *, with_errors: bool
    ) -> Iterator[Write]:
        """Write the header, then groups; see `Writer.writing`."""
        others = [*table.names, *([ERROR_COLUMN] if with_errors else [])]
        names = {"dtype": "str", "json": False, "gap": None}
        kinds = [{**names, "dtype": _DTYPES.get(table.kinds.get(name, "text"), "str")} for name in others]
        layout = {"levels": [[], names], "names": [others, names], "kinds": kinds}
        # In a column of its own, so that it travels with every part of the file.
        note = _cell(json.dumps({**note_of(provenance), "place": len(table.names), "layout": layout}))

        def write(group: Group, embeddings: Embeddings) -> None:
            columns = [map(_cell, values) for values in group.columns().values()]
            errors = (map(_cell, errors_of(embeddings)),) if with_errors else ()
            rows = zip(*columns, digits_of(embeddings), *errors, repeat(note, len(embeddings)), strict=True)
            file.writelines(map(_line, rows))

        file.write(_line(map(_cell, [*table.names, EMBEDDING_COLUMN, *others[len(table.names) :], SAVED_KEY])))
        yield write


def _line(cells: Iterable[str]) -> bytes:
    # All in quotes: unquoted, a lone carriage return in a text would end the row. Not by the csv module: it would look
    # at each character of the vector and of the note for what is known not to be there.
    return ('"' + '","'.join(cells) + '"\n').encode()


def _cell(value: object) -> str:
    """Return what stands between a cell's quotes."""
    if not isinstance(value, str):
        return "" if value is None else str(value)
    return value.replace('"', '""')
