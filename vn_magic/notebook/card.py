"""The card: one small block that follows a job and stays in the notebook when it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from html import escape
from typing import Any
from uuid import uuid4

from IPython.display import display, update_display

from vn_magic.embeddings import Embeddings
from vn_magic.explore.labels import shortened
from vn_magic.notebook.phrases import final_lines, progress_line
from vn_magic.notebook.strip import strip_html, strip_text
from vn_magic.portal import POLL_SECONDS
from vn_magic.progress import ProgressEvent

SHOWN_ROWS = 3
_TEXT_WIDTH = 60
# Between one tick of the portal and two: a tick that comes a hair early is not to cost a whole one.
_SECONDS_BETWEEN_UPDATES = 1.5 * POLL_SECONDS


class Card:
    """Shows a job's progress in one place: a display of a front end, or one line of a terminal.

    Called in the thread that runs the cell; from any other, output would land in whatever cell runs just then.

    Parameters
    ----------
    name
        What the result will be called.
    in_kernel
        Whether displays can be updated in place; else a terminal's line is rewritten.
    quiet
        Whether to show nothing at all.
    kept
        Whether rows that arrive are kept in the cache, which is worth saying when a job fails.
    """

    def __init__(self, name: str, *, in_kernel: bool, quiet: bool, kept: bool) -> None:
        self._name = name
        self._in_kernel = in_kernel
        self._quiet = quiet
        self._kept = kept
        self._display_id = uuid4().hex
        self._shown = False
        self._updated = 0.0
        self._width = 0
        self._latest: ProgressEvent | None = None

    def note(self, event: ProgressEvent) -> None:
        """Take note of progress. Called on the session's loop: draws nothing."""
        self._latest = event

    def draw(self) -> None:
        """Draw the latest progress, a few times a second at most."""
        now = time.monotonic()
        if self._quiet or self._latest is None or now - self._updated < _SECONDS_BETWEEN_UPDATES:
            return
        self._updated = now
        line = progress_line(self._name, self._latest)
        if self._in_kernel:
            self._show(line, html_lines([line]))
        elif sys.stdout.isatty():
            self._rewrite(line)

    def finish(self, embeddings: Embeddings) -> None:
        """Draw the final form."""
        bundle = card_bundle(self._name, embeddings)
        self._finish(bundle["text/plain"], bundle["text/html"])

    def finish_with(self, lines: Sequence[str]) -> None:
        """Draw lines as the final form of work that brings no vectors to show."""
        self._finish("\n    ".join(lines), html_lines(lines))

    def fail(self) -> None:
        """Leave the last known numbers standing above the error."""
        event = self._latest
        if self._quiet or event is None:
            return
        kept = "; what arrived is in the cache" if self._kept else ""
        line = f"{self._name}   stopped at {event.done:,} of {event.rows:,} rows{kept}"
        if self._in_kernel:
            self._show(line, html_lines([line]))
        else:
            self._rewrite("")
            _write(line + "\n")

    def _finish(self, text: str, html: str) -> None:
        if self._quiet:
            return
        if self._in_kernel:
            self._show(text, html)
        else:
            self._rewrite("")
            _write(text + "\n")

    def _show(self, text: str, html: str) -> None:
        bundle: dict[str, Any] = {"text/plain": text, "text/html": html}
        if self._shown:
            update_display(bundle, display_id=self._display_id, raw=True)
        else:
            display(bundle, display_id=self._display_id, raw=True)
            self._shown = True

    def _rewrite(self, line: str) -> None:
        if line or self._width:
            _write("\r" + line.ljust(self._width) + ("" if line else "\r"))
        self._width = len(line)


def _write(text: str) -> None:
    """Write to stdout, with a question mark for what its encoding lacks (Windows' has few characters)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def card_bundle(name: str, embeddings: Embeddings) -> dict[str, str]:
    """Return a finished job's card, as HTML and as text."""
    lines = final_lines(name, embeddings)
    return {"text/plain": _text_card(lines, embeddings), "text/html": _html_card(lines, embeddings)}


def show_lines(lines: Sequence[str]) -> None:
    """Show a few lines as a card that does not change."""
    display({"text/plain": "\n".join(lines), "text/html": html_lines(lines)}, raw=True)


def _first_rows(embeddings: Embeddings) -> list[tuple[str, int]]:
    return [(shortened(text, _TEXT_WIDTH), row) for row, text in enumerate(embeddings.texts[:SHOWN_ROWS])]


def _text_card(lines: Sequence[str], embeddings: Embeddings) -> str:
    indent = " " * 4
    rows = [f"{indent}{strip_text(embeddings.matrix[row])}  {text}" for text, row in _first_rows(embeddings)]
    return "\n".join([lines[0], *(indent + line for line in lines[1:]), *rows])


def _html_card(lines: Sequence[str], embeddings: Embeddings) -> str:
    cell = 'style="text-align:left;padding:1px 8px 1px 0;border:none;background:none"'
    rows = "".join(
        f'<tr style="background:none"><td {cell}>{strip_html(embeddings.matrix[row])}</td>'
        f"<td {cell}>{escape(text)}</td></tr>"
        for text, row in _first_rows(embeddings)
    )
    table = f'<table style="border:none;margin:2px 0 0 0;background:none">{rows}</table>' if rows else ""
    return html_lines(lines, table)


def html_lines(lines: Sequence[str], more: str = "") -> str:
    """Return lines as HTML in the colours of the page, light or dark, the first one strong."""
    first, *others = (escape(line) for line in lines)
    rest = "".join(f'<div style="opacity:.8">{line}</div>' for line in others)
    head = f'<div style="font-weight:600;white-space:pre-wrap">{first}</div>'
    return f'<div style="font-size:90%;line-height:1.5">{head}{rest}{more}</div>'
