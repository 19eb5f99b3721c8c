"""The strings of a JSON text, where they are and what leads to them: whoever edits one leaves the rest as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from vn_magic.classroom.escapes import Escapes

JsonPath = tuple[str | int, ...]

_LEXEME = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"|[{}\[\],]')
# A pair of surrogates is one character.
_ESCAPE = re.compile(r"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[\da-fA-F]{4}|\\.")


@dataclass(frozen=True, slots=True)
class JsonString:
    """A string, also one that is a key.

    Parameters
    ----------
    path
        The keys and indices that lead to it; to a key, those that lead to its object.
    start
        Where it begins in the text, behind the quotation mark.
    written
        How it is written between the marks.
    """

    path: JsonPath
    start: int
    written: str

    @property
    def value(self) -> str:
        """What it says."""
        return _value(self.written)

    def escapes(self) -> Escapes:
        """Return where in `written` the parts of `value` are."""
        return Escapes(self.written, _ESCAPE, _value)


def json_strings(text: str) -> Iterator[JsonString]:
    """Yield every string of a text that is known to be JSON, in its order."""
    path: list[str | int | None] = []  # None where an object's next key is due
    for lexeme in _LEXEME.finditer(text):
        match lexeme[0]:
            case "{":
                path.append(None)
            case "[":
                path.append(0)
            case "}" | "]":
                path.pop()
            case ",":
                path[-1] = path[-1] + 1 if isinstance(path[-1], int) else None
            case _:
                found = JsonString(tuple(part for part in path if part is not None), lexeme.start(1), lexeme[1])
                if path and path[-1] is None:
                    path[-1] = found.value
                yield found


def as_written(value: str, *, only_ascii: bool) -> str:
    """Return how a string is written between its quotation marks."""
    return json.dumps(value, ensure_ascii=only_ascii)[1:-1]


def _value(written: str) -> str:
    value: str = json.loads(f'"{written}"') if "\\" in written else written
    return value
