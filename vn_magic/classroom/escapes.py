"""Escaped texts: what they mean, and where in them a part of the meaning is written."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable


class Escapes:
    """The escapes of a text.

    Parameters
    ----------
    text
        The text as it is written.
    pattern
        What an escape looks like.
    meaning
        What an escape stands for; ``""`` where it stands for nothing, as a colour does.
    """

    def __init__(self, text: str, pattern: re.Pattern[str], meaning: Callable[[str], str]) -> None:
        self._starts: list[int] = []  # in the meaning
        self._ends: list[int] = []
        self._longer = [0]  # by how much the text is longer than its meaning, after so many escapes
        for escape in pattern.finditer(text):
            start = escape.start() - self._longer[-1]
            end = start + len(meaning(escape[0]))
            self._starts.append(start)
            self._ends.append(end)
            self._longer.append(escape.end() - end)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return where that is written which stands from ``start`` to ``end`` in the meaning."""
        before, until = bisect_right(self._ends, start), bisect_left(self._starts, end)
        return start + self._longer[before], end + self._longer[until]
