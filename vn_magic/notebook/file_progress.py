"""What `vn-magic embed` says meanwhile: one line rewritten in a terminal, a line now and then in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from vn_magic.notebook.phrases import progress_line, progress_text
from vn_magic.progress import ProgressEvent

# A terminal's line lives; a log, which is read afterwards, gets a line in half a minute.
_SECONDS_BETWEEN_REWRITES = 0.15
_SECONDS_BETWEEN_LINES = 30.0


class FileProgress:
    """Shows on stderr how a job on a file stands.

    Parameters
    ----------
    name
        What the output is called.
    quiet
        Whether to show nothing but errors.

    Attributes
    ----------
    latest
        The last that was noted; None before anything was embedded.
    """

    def __init__(self, name: str, *, quiet: bool) -> None:
        self.latest: ProgressEvent | None = None
        self._name = name
        self._quiet = quiet
        self._in_terminal = sys.stderr.isatty()
        self._between = _SECONDS_BETWEEN_REWRITES if self._in_terminal else _SECONDS_BETWEEN_LINES
        self._shown = time.monotonic()
        self._width = 0

    def checked(self, rows: int) -> None:
        """Show how many rows were looked at; in a log that is soon done, and not worth a line."""
        if self._in_terminal and self._is_due():
            self._rewrite(f"{self._name}   checking: {rows:,} rows")

    def note(self, event: ProgressEvent) -> None:
        """Take note of progress. Called on the session's loop: shows nothing."""
        self.latest = event

    def tell(self, notices: Sequence[str]) -> None:
        """Show notices that stay."""
        if notices:
            self.say(notices)

    def draw(self) -> None:
        """Show the latest progress, where it is time to."""
        if self.latest is None or not self._is_due():
            return
        if self._in_terminal:
            self._rewrite(progress_line(self._name, self.latest))
        else:
            self._write(f"{self._name}   {progress_text(self.latest)}\n")

    def say(self, lines: Sequence[str]) -> None:
        """Show lines that stay, unless it is to be quiet."""
        if not self._quiet:
            self.insist(lines)

    def insist(self, lines: Sequence[str]) -> None:
        """Show lines that stay, in any case."""
        self.clear()
        self._write("\n".join(lines) + "\n")

    def clear(self) -> None:
        """Take back the line that is rewritten."""
        self._rewrite("")

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._quiet or now - self._shown < self._between:
            return False
        self._shown = now
        return True

    def _rewrite(self, line: str) -> None:
        # A line that the terminal breaks could not be rewritten.
        line = line[: shutil.get_terminal_size().columns - 1]
        if line or self._width:
            self._write("\r" + line.ljust(self._width) + ("" if line else "\r"))
        self._width = len(line)

    def _write(self, text: str) -> None:
        encoding = sys.stderr.encoding or "utf-8"
        with suppress(OSError):  # the terminal has been closed, and the job goes on, or is to be ended in order
            sys.stderr.write(text.encode(encoding, "replace").decode(encoding))
            sys.stderr.flush()
