"""``%vn cache`` and ``%vn debug``."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.notebook.card import show_lines
from vn_magic.notebook.phrases import size_text
from vn_magic.session import Session


def cache(words: Sequence[str], session: Session, _shell: InteractiveShell) -> None:
    """Show the cache, its path alone, or empty it."""
    what = words[0] if words else "info"
    if what == "clear":
        show_lines([f"{session.runtime.cache.clear():,} rows forgotten; they will be sent again when they are needed."])
        return
    info = session.runtime.cache.info()
    path = str(info.path) if info.path else "in memory only, lost with the kernel"
    if what == "path":
        show_lines([path])
    else:
        show_lines([f"cache   {info.rows:,} rows, {size_text(info.size)}", path, f"journal mode: {info.journal_mode}"])


def debug(words: Sequence[str], session: Session, _shell: InteractiveShell) -> None:
    """Show full tracebacks, or short errors again."""
    session.debug = (words[0] if words else "on") == "on"
    shown = "with their full traceback, scrubbed of the token" if session.debug else "in one to three lines"
    show_lines([f"Errors are shown {shown}."])
