"""What a session has embedded, so that it can be recorded in a pack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vn_magic.lookup import Origin
from vn_magic.settings import Recipe

# Remembered at most: a lesson has hundreds of texts. Beyond that a session would hold on to what its user has let go.
MOST_TEXTS = 20_000
MOST_CHARACTERS = 50_000_000


class History:
    """The texts of a session by recipe and origin, each once, in the order they came; not their vectors.

    Attributes
    ----------
    overflowed
        Whether there were more than `MOST_TEXTS`, or longer ones than `MOST_CHARACTERS`; then none is remembered.
    """

    def __init__(self) -> None:
        self.overflowed = False
        self._texts: dict[tuple[Origin, Recipe], dict[str, bool]] = {}
        self._count = self._characters = 0

    def add(self, origin: Origin, recipe: Recipe, texts: Sequence[str | None], *, kept: bool) -> None:
        """Remember the texts of a job, and whether its vectors were kept in the cache."""
        if self.overflowed:
            return
        known = self._texts.setdefault((origin, recipe), {})
        for text in texts:
            if text is None:
                continue
            if text in known:
                known[text] |= kept
                continue
            known[text] = kept
            self._count += 1
            self._characters += len(text)
            if self._count > MOST_TEXTS or self._characters > MOST_CHARACTERS:
                self.overflowed = True
                self._texts.clear()
                return

    def __iter__(self) -> Iterator[tuple[Origin, Recipe, Mapping[str, bool]]]:
        """Yield every recipe at every origin with its texts, and for each whether it was kept."""
        for (origin, recipe), texts in list(self._texts.items()):
            yield origin, recipe, dict(texts)
