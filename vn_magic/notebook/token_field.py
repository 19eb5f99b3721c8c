"""A field for a token, which travels from the browser to the session once and is held by neither browser nor widget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Unicode

_HERE = Path(__file__).parent


class TokenField(anywidget.AnyWidget):
    """A password field whose input is never a trait.

    ipywidgets' ``Password`` echoes every keystroke to every client of the kernel and leaves the value in the
    notebook's widget state.

    Parameters
    ----------
    on_token
        Called with what was typed and with the origin that the field named at that moment.
    """

    _esm = (_HERE / "token_field.js").read_text(encoding="utf-8")

    origin = Unicode(help="Whom the token is for; shown in the label.").tag(sync=True)

    def __init__(self, on_token: Callable[[str, str], None], **traits: object) -> None:
        super().__init__(**traits)
        self._on_token = on_token
        self.on_msg(self._hear)

    def _hear(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        token, origin = content.pop("token", None), content.get("origin")
        if isinstance(token, str) and isinstance(origin, str):
            self._on_token(token, origin)
