"""Tokens in notebooks and other files: found, told by their masks, and taken out of what was not typed."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vn_magic.classroom.disguises import Spot, Spotter, with_replaced
from vn_magic.classroom.json_strings import JsonPath, as_written, json_strings
from vn_magic.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLES, Token, token_from_environment
from vn_magic.exceptions import InputError
from vn_magic.explore.labels import shortened

_NAME_WIDTH = 40
# Below them are the mime types, by which people know an output.
_BUNDLES = ("data", "metadata")


@dataclass(frozen=True, slots=True)
class Leak:
    """A token in a file.

    Parameters
    ----------
    where
        As people say it: ``cell 3 (In [2]), output (text/html)``. Cells are counted from 1, all kinds of them.
    masked
        The token's mask: ``sk-…3f9a``.
    removable
        Whether it can be masked in the file: what was typed is never rewritten.
    count
        How often it stands there.
    """

    where: str
    masked: str
    removable: bool
    count: int = 1

    def __str__(self) -> str:
        return f"{self.where}: {self.masked}" + (f", {self.count:,} times" if self.count > 1 else "")

    @property
    def cure(self) -> str:
        """What helps. The token was seen by whoever has the file, or its history."""
        if self.removable:
            return "rotate the token, then `vn-magic scrub --write` masks it"
        return f"rotate the token, then edit the {'cell' if self.where.startswith('cell') else 'file'}"


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in one file.

    Parameters
    ----------
    name
        The file's name, with tokens in it masked; its number, when there is no such file: what was typed instead
        may be anything.
    path
        Where it is.
    leaks
        What was found, from the front to the back.
    trouble
        Why it could not be checked, else ``""``.
    clean
        The file without the leaks that can be removed; None when there are none.
    """

    name: str
    path: Path
    leaks: tuple[Leak, ...] = ()
    trouble: str = ""
    clean: bytes | None = field(default=None, repr=False)

    def write(self) -> None:
        """Replace the file by its clean form, complete or not at all; nothing happens when there is none.

        Raises
        ------
        InputError
            When it cannot be written there.
        """
        if self.clean is None:
            return
        target = self.path.resolve()  # a link stays one
        beside = target.with_name(f".{target.name}.part")
        try:
            beside.touch(mode=0o600)  # the sources may still hold a token
            beside.write_bytes(self.clean)
            shutil.copymode(target, beside)
            beside.replace(target)
        except OSError as error:
            raise InputError(
                f"{self.name} cannot be rewritten: {error.strerror}.\nNext: see to its folder's permissions."
            ) from None
        finally:
            with suppress(OSError):
                beside.unlink()


def known_tokens(environ: Mapping[str, str]) -> list[Token]:
    """Return the tokens that an environment holds, of whatever shape, also those that no session would take.

    Raises
    ------
    TokenError
        When one cannot be read or sent: whoever cannot look for it must not say that it is not there.
    """
    variables = (*TOKEN_VARIABLES, TOKEN_FILE_VARIABLE)
    found = [token_from_environment({variable: environ.get(variable, "")}) for variable in variables]
    return [each.token for each in found if each is not None]


def scans(names: Sequence[str], tokens: Iterable[Token]) -> Iterator[Scan]:
    """Look for tokens in files, and yield what was found in each.

    In a notebook (``.ipynb``) every string is searched, wherever it is, keys included. A file that is no notebook is
    searched as text, and passed over when it is binary.

    Parameters
    ----------
    names
        The files.
    tokens
        Those known, which may have any shape; what is token-shaped is found without.
    """
    spotter = Spotter(tokens)
    for number, name in enumerate(names, 1):
        readable = os.fsencode(name).decode(errors="replace")
        shown = spotter.masked(readable) if os.path.lexists(name) else f"file {number} of {len(names)}"
        scan = Scan(shown, Path(name))
        try:
            data = scan.path.read_bytes()
        except (OSError, ValueError) as error:  # the latter for a name that no file can have
            yield replace(scan, trouble=f"it cannot be read: {getattr(error, 'strerror', None) or error}")
            continue
        yield (_notebook if scan.path.suffix.lower() == ".ipynb" else _text)(scan, data, spotter)


def _text(scan: Scan, data: bytes, spotter: Spotter) -> Scan:
    text = _decoded(data)
    leaks = [
        Leak(f"line {line:,}", mask, removable=False)
        for line, spot in _with_lines(text, spotter.spots(text))
        for mask in spot.masks
    ]
    return replace(scan, leaks=_counted(leaks))


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        return ""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _notebook(scan: Scan, data: bytes, spotter: Spotter) -> Scan:
    try:
        text = data.decode()
        notebook = json.loads(text)
        cells = notebook["cells"]
    except (ValueError, TypeError, KeyError, RecursionError):
        cells = None
    if not isinstance(cells, list):
        return replace(scan, trouble="it is no notebook of format 4 (JSON in UTF-8), so it was not checked")
    leaks: list[Leak] = []
    edits: list[Spot] = []
    for string in json_strings(text):
        value = string.value
        if not (spots := spotter.spots(value)):
            continue
        escapes = string.escapes()
        path = tuple(spotter.masked(part) if isinstance(part, str) else part for part in string.path)
        for line, spot in _with_lines(value, spots):
            where, removable = _place(path, cells, line)
            leaks += [Leak(where, mask, removable) for mask in spot.masks]
            if removable:
                start, end = (string.start + position for position in escapes.origin(spot.start, spot.end))
                edits.append(Spot(start, end, (), as_written(spot.clean, only_ascii=text.isascii())))
    return replace(scan, leaks=_counted(leaks), clean=with_replaced(text, edits).encode() if edits else None)


def _with_lines(text: str, spots: Iterable[Spot]) -> Iterator[tuple[int, Spot]]:
    """Yield each spot with the number of its line, from 1."""
    line, position = 1, 0
    for spot in spots:
        line += text.count("\n", position, spot.start)
        position = spot.start
        yield line, spot


def _place(path: JsonPath, cells: Sequence[Any], line: int) -> tuple[str, bool]:
    """Return how people call a place in a notebook, and whether what stands there may be masked."""
    match path:
        case ("cells", int(at), *rest):
            part, removable = _part(rest, line)
            return f"{_cell(at, cells)}, {part}", removable
        case ("metadata", "widgets", *rest):
            return "widget state" + _which(name for name in reversed(rest) if isinstance(name, str)), True
        case ("metadata", *_):
            return "notebook metadata", True
        case _:
            return "outside of cells and metadata", False


def _part(path: Sequence[str | int], line: int) -> tuple[str, bool]:
    """Return the same for a part of a cell."""
    match path:
        case ["source", *rest]:
            before = rest[0] if rest and isinstance(rest[0], int) else 0
            return f"source line {before + line:,}", False
        case ["outputs", *rest]:
            return "output" + _which(name for name in rest if isinstance(name, str) and name not in _BUNDLES), True
        case ["metadata" | "attachments" as kind, *_]:
            return str(kind).removesuffix("s"), True
        case _:
            return "outside of source, outputs and metadata", False


def _which(names: Iterator[str]) -> str:
    """Return the first name as what follows the name of a place."""
    name = next(names, None)
    return "" if name is None else f" ({shortened(name, _NAME_WIDTH)})"


def _cell(at: int, cells: Sequence[Any]) -> str:
    count = cells[at].get("execution_count") if isinstance(cells[at], dict) else None
    return f"cell {at + 1}" + (f" (In [{count}])" if isinstance(count, int) else "")


def _counted(leaks: Iterable[Leak]) -> tuple[Leak, ...]:
    return tuple(replace(leak, count=count) for leak, count in Counter(leaks).items())
