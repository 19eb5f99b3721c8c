"""``%load_ext vn_magic`` and ``%unload_ext vn_magic``: what is registered, and how it is taken back."""

from __future__ import annotations

import re
from typing import cast

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Configurable

from vn_magic.api import SESSION
from vn_magic.notebook.completion import make_matcher
from vn_magic.notebook.config import VnMagic
from vn_magic.notebook.magics import EmbedMagics
from vn_magic.session import Session

_MAGICS = {"line": ("embed", "vn"), "cell": ("embed",)}
_EMPTY_CELL_MAGIC = re.compile(r"^%%embed(\s[^\n]*)?$")


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
    shell.input_transformers_cleanup.insert(0, give_empty_cell_a_body)


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
    if give_empty_cell_a_body in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(give_empty_cell_a_body)
    magics.session.close()


def give_empty_cell_a_body(lines: list[str]) -> list[str]:
    """Give ``%%embed`` without a body a blank line, so that ``%%embed -h`` shows help.

    IPython refuses a cell magic whose body is empty before the magic hears of it.
    """
    first, *body = lines or [""]
    if _EMPTY_CELL_MAGIC.match(first.rstrip("\n")) and not "".join(body).strip():
        return [first.rstrip("\n") + "\n", "\n"]
    return lines
