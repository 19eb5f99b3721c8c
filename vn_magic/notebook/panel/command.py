"""``%vn panel``."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from vn_magic.session import Session


def show_panel(_words: Sequence[str], _session: Session, _shell: InteractiveShell) -> None:
    """Show a panel of the shell's session: ``%vn panel``."""
    from vn_magic.notebook.panel.panel import EmbedPanel  # noqa: PLC0415 - ipywidgets waits until it is used

    display(EmbedPanel())
