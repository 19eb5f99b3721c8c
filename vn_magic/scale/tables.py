"""Table files as rows in groups, of which no more than one is in memory; what all kinds of them have in common."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal, Protocol

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import InputError
from vn_magic.frames import EMBEDDING_COLUMN, ERROR_COLUMN

# What a column holds, as far as another kind of file has to know.
Kind = Literal["text", "integer", "number", "boolean", "nested", "binary"]


@dataclass(frozen=True, slots=True)
class GroupSize:
    """The most that a group holds: rows, and about so many bytes of what the file has for them."""

    rows: int
    size: int


class Group(Protocol):
    """Some consecutive rows of a table."""

    @property
    def texts(self) -> Sequence[object]:
        """The column of the texts, a row each; anything but a text cannot be embedded."""

    def columns(self) -> Mapping[str, Sequence[object]]:
        """Return all columns as Python's own values, None where one is missing; days and times as texts."""

    def records(self) -> Iterable[Mapping[str, object]]:
        """Return the rows as objects that JSON can hold."""


class Table(Protocol):
    """A file that is read in groups, as often as wanted. Of JSON lines nothing is known before they were read once."""

    @property
    def names(self) -> Sequence[str]:
        """The columns, in their order."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What the columns hold, as far as it is known."""

    def groups(self, most: GroupSize, *, texts_only: bool = False) -> Iterator[Group]:
        """Yield the rows, in the order of the file; with ``texts_only`` other columns may be left out.

        Raises
        ------
        InputError
            When the file cannot be read further; names the line or row.
        """


Write = Callable[[Group, Embeddings], None]


class Writer(Protocol):
    """Writes a table with its vectors."""

    def check(self, table: Table) -> None:
        """Refuse columns that such a file cannot hold.

        Raises
        ------
        InputError
        """

    def learn(self, group: Group) -> None:
        """Look at a group before anything is sent; all are seen before the first is written."""

    def writing(
        self, file: io.BufferedWriter, table: Table, provenance: Provenance, *, with_errors: bool
    ) -> AbstractContextManager[Write]:
        """Return what writes groups, one after the other, to an open file; ``with_errors`` adds a column ``error``."""


def note_of(provenance: Provenance) -> dict[str, Any]:
    """Return what a file of vectors notes beside its columns, as `vn_magic.files` reads it."""
    return {
        "format": 1,
        "column": EMBEDDING_COLUMN,
        "provenance": provenance.as_json(),
        "version": version("vn_magic"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check_names(names: Sequence[str], column: str) -> None:
    """Refuse columns of which the texts cannot be told, or that are in the way of the result.

    Raises
    ------
    InputError
    """
    if column not in names:
        raise InputError(f"There is no column {column!r}; there are {listed(names)}.\nNext: name it with -c.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"There are two columns called {twice!r}.\nNext: rename one of them.")
    for name in (EMBEDDING_COLUMN, ERROR_COLUMN):
        if name in names:
            raise InputError(
                f"There is a column {name!r} already, and the result would replace it.\nNext: rename or drop it."
            )


def refuse(table: Table, ending: str, *kinds: Kind) -> None:
    """Refuse a table with columns of these kinds.

    Raises
    ------
    InputError
    """
    for name, kind in table.kinds.items():
        if kind in kinds:
            what = {"nested": "lists or objects", "binary": "bytes"}.get(kind, kind)
            raise InputError(
                f"The column {name!r} holds {what}, which a {ending} file cannot.\n"
                "Next: drop or convert that column, or write a .parquet file."
            )


def errors_of(embeddings: Embeddings) -> list[str | None]:
    """Return why each row failed, None where it has not."""
    return [embeddings.errors.get(row) for row in range(len(embeddings))]


def digits_of(embeddings: Embeddings) -> Iterator[str]:
    """Yield each vector as a list of decimal numbers; nine significant digits give back every float32."""
    line = "[" + ",".join(["%.9g"] * embeddings.provenance.dimension) + "]"
    return (line % tuple(row.tolist()) for row in embeddings.matrix)


def listed(names: Iterable[str]) -> str:
    """Return names on one line that is not long."""
    told = ", ".join(map(repr, names)) or "none"
    return told if len(told) <= 160 else f"{told[:159]}…"
