"""Layout: sections, parts that stand beside each other where there is room for it, and all that is in a part."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import ipywidgets as widgets


def section(title: str, *parts: widgets.Widget) -> widgets.VBox:
    """Return parts under a heading."""
    heading = widgets.HTML(f'<div class="vn-heading" role="heading" aria-level="3">{escape(title)}</div>')
    return widgets.VBox([heading, *parts], layout={"min_width": "0", "width": "auto"})


def side_by_side(*parts: widgets.Widget) -> widgets.GridBox:
    """Return a box of parts in one line; where the page is narrow, some or all of them stand below the others."""
    columns = "repeat(auto-fit, minmax(min(100%, 280px), 1fr))"
    return widgets.GridBox(parts, layout={"grid_template_columns": columns, "grid_gap": "8px 28px", "width": "100%"})


def tree(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """Yield a widget, all that is in it, and how they look."""
    for child in getattr(widget, "children", ()):
        yield from tree(child)
    yield from (part for name in ("layout", "style") if (part := getattr(widget, name, None)) is not None)
    yield widget
