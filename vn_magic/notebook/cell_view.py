"""A cell to look at and to copy."""

from __future__ import annotations

from pathlib import Path

import anywidget
from traitlets import Unicode

_HERE = Path(__file__).parent


class CellView(anywidget.AnyWidget):
    """Shows the source of a cell with a button that copies it; ipywidgets has none that reaches the clipboard."""

    _esm = (_HERE / "cell_view.js").read_text(encoding="utf-8")

    code = Unicode(help="The source, exactly as it would be typed.").tag(sync=True)
