"""Text to vectors in a notebook: ``%load_ext vn_magic``, then ``%%embed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vn_magic.accessor import register_accessors
from vn_magic.api import aembed, embed
from vn_magic.classroom.requirements import require
from vn_magic.current import current_session
from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import VnMagicError
from vn_magic.session import Session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from vn_magic.files import load
    from vn_magic.notebook.panel.panel import EmbedPanel

__all__ = [
    "EmbedPanel",
    "Embeddings",
    "Provenance",
    "Session",
    "VnMagicError",
    "__version__",
    "aembed",
    "current_session",
    "embed",
    "load",
    "load_ipython_extension",
    "require",
    "unload_ipython_extension",
]

__version__ = "0.1.0"

register_accessors()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics and their completions: ``%load_ext vn_magic``."""
    from vn_magic.notebook.extension import load  # noqa: PLC0415 - IPython is imported by those who use it

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take everything back: ``%unload_ext vn_magic``. The session is parked on the shell for a reload."""
    from vn_magic.notebook.extension import unload  # noqa: PLC0415 - as above

    unload(shell)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module has differs in type
    if name == "EmbedPanel":
        from vn_magic.notebook.panel.panel import EmbedPanel  # noqa: PLC0415 - ipywidgets waits until it is used

        return EmbedPanel
    if name == "load":
        from vn_magic.files import load  # noqa: PLC0415 - formats wait until there is a file

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
