"""``%load_ext vn_magic`` and ``%unload_ext vn_magic``: what is registered, and how it is taken back."""

from __future__ import annotations

import re
from itertools import dropwhile
from typing import cast

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Configurable

from vn_magic.current import SESSION
from vn_magic.notebook.completion import make_matcher
from vn_magic.notebook.config import VnMagic
from vn_magic.notebook.magics import EmbedMagics
from vn_magic.notebook.panel import PANEL
from vn_magic.session import Session

_MAGICS = {"line": ("embed", "vn"), "cell": ("embed",)}
_EMBED_CELL = re.compile(r"^%%embed(?:\s([^\n]*))?$")


def load(shell: InteractiveShell) -> None:
    """Register magics, settings and completions. Opens, reads and starts nothing."""
    if "EmbedMagics" in shell.magics_manager.registry:
        return
    parked = shell.meta.get(SESSION)
    session = parked if isinstance(parked, Session) else Session()
    # What was set by %config is newer than the file, so a parked session is not configured again. First of all,
    # because it is the one thing here that can fail.
    settings = VnMagic(session, None if parked is session else shell.config)
    shell.meta[SESSION] = session
    shell.register_magics(EmbedMagics(shell, session))
    configurables = cast("list[Configurable]", shell.configurables)  # typed by IPython as a list of shells
    configurables.append(settings)
    if shell.Completer is not None:
        shell.Completer.custom_matchers.append(make_matcher(shell))
    shell.input_transformers_cleanup.insert(0, body_as_typed)


def unload(shell: InteractiveShell) -> None:
    """Take back all that `load` registered, and close threads and connections."""
    magics = shell.magics_manager.registry.pop("EmbedMagics", None)
    if magics is None:
        return
    for kind, names in _MAGICS.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    shell.configurables[:] = [item for item in shell.configurables if not isinstance(item, VnMagic | EmbedMagics)]
    if shell.Completer is not None:
        matchers = shell.Completer.custom_matchers
        matchers[:] = [item for item in matchers if getattr(item, "__module__", "") != make_matcher.__module__]
    if body_as_typed in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(body_as_typed)
    panel = shell.meta.get(PANEL)
    if panel is not None:
        panel.close()
    magics.session.close()


def body_as_typed(lines: list[str]) -> list[str]:
    """Hand the body of ``%%embed`` to the magic as it was typed, and a blank line where there is none.

    IPython would take prompts (``>>>``) and the blanks of blank lines out of it, and refuses a cell magic whose body
    is empty before the magic hears of it: ``%%embed -h`` shows help.
    """
    first, *body = [*dropwhile(str.isspace, lines)] or [""]
    found = _EMBED_CELL.match(first.rstrip("\n"))
    if found is None:
        return lines
    line, text = (found[1] or "").rstrip(), "".join(body)
    if not text.strip():
        text = "\n"
    return [f"get_ipython().run_cell_magic('embed', {line!r}, {text!r})\n"]


# Not for a terminal that asks whether a cell is complete: it waits for a blank line after `%%`, which is gone by then.
body_as_typed.has_side_effects = True  # type: ignore[attr-defined]  # IPython looks for this mark
