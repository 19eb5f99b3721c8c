"""Texts as pictures show them: on one line, short, and of characters that every format can hold."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from html import escape

TEXT_WIDTH = 120
"""Characters of a text that appear on hovering."""

NO_TEXT = "(no text)"

CAPTION_WIDTH = 41
"""Characters of a line below a headline, so that it fits a panel of 400 pixels."""

# What XML 1.0 (section 2.2, Char) does not allow, and lone surrogates, which UTF-8 has no bytes for.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_HARMFUL = re.compile(r"[^\w ,.;:()%/…·]|_")


def one_line(text: str) -> str:
    """Return a text on one line, with ``�`` for what XML or UTF-8 cannot hold."""
    return " ".join(_UNPRINTABLE.sub("\ufffd", text).split())


def shortened(text: str | None, width: int = TEXT_WIDTH) -> str:
    """Return the beginning of a text on one line of ``width`` characters at most; ``(no text)`` for None or blank."""
    line = one_line(text[: 50 * width]) if text is not None else ""
    line = line or NO_TEXT
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def wrapped(sentences: Iterable[str]) -> list[str]:
    """Return sentences as lines that fit below the title of a small picture."""
    return [line for sentence in sentences for line in textwrap.wrap(one_line(sentence), CAPTION_WIDTH)]


def entities(text: str) -> str:
    """Return a text for an attribute in HTML within Markdown: every sign that could mean something is an entity."""
    return _HARMFUL.sub(lambda found: f"&#{ord(found[0])};", one_line(text))


def inert_html(text: str) -> str:
    """Return HTML that shows a text and is nothing else, neither to Markdown nor to MathJax.

    MathJax looks behind entities too, but it never reads across a tag: so the signs that begin a formula, dollar and
    backslash, stand in elements of their own.
    """
    return re.sub("&#(?:36|92);", r"<span>\g<0></span>", entities(text))


def xml(text: str) -> str:
    """Return a text as the content or an attribute of an XML element."""
    return escape(one_line(text))
