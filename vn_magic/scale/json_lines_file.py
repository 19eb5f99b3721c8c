"""Files of JSON lines, read and written in groups: an object a line."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import InputError
from vn_magic.frames import EMBEDDING_COLUMN, ERROR_COLUMN
from vn_magic.scale.tables import Group, GroupSize, Kind, Table, Write, check_names, digits_of, errors_of, refuse

# Bytes of a line; a file of one array would be read as one line.
_LONGEST_LINE = 64_000_000
_MARK = b"\xef\xbb\xbf"
_KINDS: Mapping[type, Kind] = MappingProxyType(
    {str: "text", int: "integer", float: "number", bool: "boolean", list: "nested", dict: "nested"}
)
_NULL = msgspec.Raw(b"null")


class JsonLinesGroup:
    """Rows of a file of JSON lines."""

    def __init__(
        self, names: Sequence[str], column: str, lines: Sequence[bytes], objects: Sequence[Mapping[str, Any]]
    ) -> None:
        self._names = names
        self._lines = lines
        self._objects = objects
        self.texts = [each.get(column) for each in objects]

    def columns(self) -> Mapping[str, Sequence[object]]:
        """Return all columns, None where a line has no such value."""
        return {name: [each.get(name) for each in self._objects] for name in self._names}

    def records(self) -> Iterator[Mapping[str, object]]:
        """Yield the rows with their values as they are spelled."""
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        return map(decode, self._lines)


class JsonLinesTable:
    """A file of JSON lines. Columns are all names that occur; blank lines are passed over.

    Parameters
    ----------
    path
        UTF-8; a byte order mark is not a part of it.
    column
        The column of the texts.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._types: dict[str, set[type]] = {}
        self._read_once = False

    @property
    def names(self) -> Sequence[str]:
        """The names that occur; see `Table`."""
        return [*self._types] or [self._column]

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What the columns hold; see `Table`."""
        return {name: _kind_of(types) for name, types in self._types.items()}

    def groups(self, most: GroupSize, *, texts_only: bool = False) -> Iterator[JsonLinesGroup]:  # noqa: ARG002 - all are read
        """Yield the rows; see `Table.groups`."""
        lines: list[bytes] = []
        objects: list[dict[str, Any]] = []
        size = 0
        for number, line in self._lines():
            try:
                # All of it, not the text alone: what is broken is to be found before anything is sent.
                found = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise InputError(
                    f"Line {number} of {self._path.name!r} is not a JSON object: {error}.\n"
                    "Next: correct it; each line is an object by itself."
                ) from None
            lines.append(line)
            objects.append(found)
            size += len(line)
            if len(lines) >= most.rows or size >= most.size:
                yield self._group(lines, objects)
                lines, objects, size = [], [], 0
        if lines:
            yield self._group(lines, objects)
        if not self._read_once:
            check_names(self.names, self._column)
            self._read_once = True

    def _group(self, lines: Sequence[bytes], objects: Sequence[dict[str, Any]]) -> JsonLinesGroup:
        if not self._read_once:
            for each in objects:
                for name, value in each.items():
                    self._types.setdefault(name, set()).add(type(value))
        return JsonLinesGroup(self.names, self._column, lines, objects)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as file:
            if file.read(len(_MARK)) != _MARK:
                file.seek(0)
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise InputError(
                        f"Line {number} of {self._path.name!r} is longer than {_LONGEST_LINE / 1e6:.0f} MB.\n"
                        "Next: write an object a line; one array of all is not JSON lines."
                    )
                if stripped := line.strip():
                    yield number, stripped


def _kind_of(types: set[type]) -> Kind:
    kinds = {_KINDS[each] for each in types if each in _KINDS}
    if "nested" in kinds:
        return "nested"
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else "text"


class JsonLinesWriter:
    """A file of JSON lines with vectors as lists of numbers, null where a row has failed."""

    def check(self, table: Table) -> None:
        """Refuse what is no JSON; see `Writer.check`."""
        refuse(table, ".jsonl", "binary")

    def learn(self, group: Group) -> None:
        """Learn nothing: every line stands for itself."""

    @contextmanager
    def writing(
        self,
        file: io.BufferedWriter,
        table: Table,
        provenance: Provenance,  # noqa: ARG002 - there is no place for it
        *,
        with_errors: bool,
    ) -> Iterator[Write]:
        """Write groups; see `Writer.writing`."""
        numbers = [name for name, kind in table.kinds.items() if kind == "number"]
        encode = msgspec.json.Encoder(enc_hook=str).encode
        row = 0

        def write(group: Group, embeddings: Embeddings) -> None:
            nonlocal row
            for record, digits, error in zip(
                group.records(), digits_of(embeddings), errors_of(embeddings), strict=True
            ):
                _refuse_infinity(record, numbers, row)
                vector = _NULL if error else msgspec.Raw(digits.encode())
                told = {ERROR_COLUMN: error} if with_errors else {}
                file.write(encode({**record, EMBEDDING_COLUMN: vector, **told}) + b"\n")
                row += 1

        yield write


def _refuse_infinity(record: Mapping[str, object], numbers: Iterable[str], row: int) -> None:
    for name in numbers:
        value = record.get(name)
        if isinstance(value, float) and math.isinf(value):
            raise InputError(
                f"Row {row} has {value} in the column {name!r}, and JSON has no such number.\n"
                "Next: replace it, or write a .parquet file."
            )
