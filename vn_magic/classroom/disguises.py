"""Where tokens stand in a text: plainly, cut by colours, escaped, or in base64."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from vn_magic.classroom.escapes import Escapes
from vn_magic.credentials import TOKEN_SHAPE, Token, scrub

# The style sheets with which scikit-learn draws its estimators are full of names like sk-container-id-1.
_STYLE_NAME = re.compile(
    r"sk-(?:container|dashed|estimator|global|hidden|item|label|parallel|serial|text|toggleable|top)"
    r"(?:[-_]+[a-z]+)*(?:-\d{1,5})?"
)
# Colours of a terminal; HTML; URL; Python, JavaScript or JSON within a text.
_ESCAPE = re.compile(
    r"\x1b\[[\d;:]*[A-Za-z]|&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]{2,8});|%[\da-fA-F]{2}"
    r"|\\u[\da-fA-F]{4}|\\x[\da-fA-F]{2}|\\."
)
_LAYERS = 3  # JSON within a string of JSON within a string is where people stop
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_BASE64 = re.compile(r"[A-Za-z0-9+/]{15,}={0,2}")  # the shortest token makes fifteen


@dataclass(frozen=True, slots=True)
class Spot:
    """A place from ``start`` to ``end`` that holds a token, or several in base64: their masks, and what hides them."""

    start: int
    end: int
    masks: tuple[str, ...]
    clean: str


class Spotter:
    """Finds everything token-shaped, and known tokens of any shape.

    Parameters
    ----------
    tokens
        The known ones.
    """

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._tokens = tuple(tokens)

    def spots(self, text: str) -> list[Spot]:
        """Return where tokens stand, from the front to the back; no two places overlap.

        Not seen are tokens in compressed or encrypted data, in base64 that is cut by line breaks or has something
        else of its alphabet in front, and those that markup cuts into pieces.
        """
        found = chain(self._plain(text), self._escaped(text), self._encoded(text))
        spots: list[Spot] = []
        for spot in sorted(found, key=lambda spot: spot.start):
            if spots and spot.start < spots[-1].end:
                longest = max(spots[-1], spot, key=lambda spot: spot.end - spot.start)
                spots[-1] = replace(longest, start=spots[-1].start, end=max(spots[-1].end, spot.end))
            else:
                spots.append(spot)
        return spots

    def masked(self, text: str) -> str:
        """Return a text with a mask in the place of every token."""
        return with_replaced(text, self.spots(text))

    def _plain(self, text: str) -> Iterator[Spot]:
        for found in TOKEN_SHAPE.finditer(text):
            if not _STYLE_NAME.fullmatch(found[0]):
                mask = scrub(found[0])
                yield Spot(found.start(), found.end(), (mask,), mask)
        for token in self._tokens:
            for start, end in token.places_in(text):
                yield Spot(start, end, (token.masked,), token.masked)

    def _escaped(self, text: str) -> Iterator[Spot]:
        views = [text]
        while (
            len(views) <= _LAYERS and (meant := _ESCAPE.sub(lambda found: _meaning(found[0]), views[-1])) != views[-1]
        ):
            if spots := list(self._plain(meant)):
                layers = [Escapes(view, _ESCAPE, _meaning) for view in reversed(views)]
                for spot in spots:
                    start, end = spot.start, spot.end
                    for layer in layers:
                        start, end = layer.origin(start, end)
                    yield replace(spot, start=start, end=end)
            views.append(meant)

    def _encoded(self, text: str) -> Iterator[Spot]:
        for run in _BASE64.finditer(text):
            characters = run[0].rstrip("=")
            if len(characters) % 4 == 1:  # no number of bytes makes so many
                continue
            data = base64.b64decode(characters + "=" * (-len(characters) % 4))
            try:
                decoded = data.decode()
                spots = self.spots(decoded)
                clean = with_replaced(decoded, spots).encode()
            except UnicodeDecodeError:  # binary: whatever counts its bytes has to find as many
                decoded = data.decode("latin-1")
                spots = self.spots(decoded)
                stars = [replace(spot, clean="*" * (spot.end - spot.start)) for spot in spots]
                clean = with_replaced(decoded, stars).encode("latin-1")
            if spots:
                encoded = base64.b64encode(clean).decode()
                masks = tuple(mask for spot in spots for mask in spot.masks)
                yield Spot(run.start(), run.end(), masks, encoded.rstrip("=") if len(run[0]) % 4 else encoded)


def with_replaced(text: str, spots: Sequence[Spot]) -> str:
    """Return a text with what is clean in the place of its spots."""
    pieces, position = [], 0
    for spot in spots:
        pieces += [text[position : spot.start], spot.clean]
        position = spot.end
    return "".join([*pieces, text[position:]])


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda escape: _meaning(escape[0]), text)


def _meaning(escape: str) -> str:
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[0] == "\x1b":
        return ""
    if escape[0] == "\\" and len(escape) == 2:
        return _CONTROL.get(escape[1], escape[1])
    return chr(int(escape.lstrip("%\\ux"), 16))
